"""How the rows of a room's log are cut off at its old end, in pieces that commits pass. Synchronous, on the engine's thread."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import msgpack

from .blob_refs import release
from .damage import check, sum_of_batch
from .statements import SQL, execute_rows

SEQUENCE_BITS: Final = 40  # a trillion events a room, eight million rooms
SEQUENCES: Final = (1 << SEQUENCE_BITS) - 1
PIECE_ROWS, PIECE_BYTES = 64, 256 << 10  # of the log, between two places to stop

T = TypeVar("T")
Read = Generator[None, None, T]
Batch = tuple[int, int, bytes]  # first and last sequence, encoded events


@dataclass(slots=True)
class Log:
    """What is remembered of a room and its log: nobody else can write."""

    room: str
    id: int
    epoch: str
    folded: int  # the rows are the fold of the log up to here
    first: int  # the log is whole from here on; what is pinned lies below, and is not counted
    end: int  # the last event
    bytes: int  # of the events from the first on
    tail: int = 0  # of these bytes: beyond `folded`
    changes: int = 0  # commits that touched the room's records
    writes: int = 0  # all its commits


class Row(NamedTuple):
    """A row of the log, without what is in it."""

    first: int
    end: int
    size: int


def log_span(room: int, after: int) -> tuple[int, int]:
    """Ids of a room's batches that hold anything after a sequence, both ends exclusive."""
    return room << SEQUENCE_BITS | after, (room + 1) << SEQUENCE_BITS


def append(sql: sqlite3.Connection, rows: Sequence[Batch]) -> None:
    """Store rows of the log: (id, first sequence, events)."""
    execute_rows(sql, "append", [(id, first, events, sum_of_batch(id, first, events)) for id, first, events in rows])


def next_batch(sql: sqlite3.Connection, room: int, after: int) -> Batch | None:
    """The row (id, first sequence, events) that holds what comes after a sequence. Raises `ValueError` when it is damaged."""
    row = sql.execute(SQL["batch"], log_span(room, after)).fetchone()
    if row is None:
        return None
    id, first, events, sum = row
    check(sum, sum_of_batch(id, first, events), f"the row of the log that holds {after + 1}")
    return id, first, events


def floor_of(sql: sqlite3.Connection, log: Log, max_bytes: int) -> Read[int]:
    """See `Engine.floor`."""
    after, size = log.first - 1, log.bytes
    while size > max_bytes and (rows := _rows(sql, log.id, after)):
        for row in rows:
            if size > max_bytes:
                after, size = row.end, size - row.size
        yield
    return after + 1


def trim(sql: sqlite3.Connection, log: Log, floor: int, pinned: Sequence[int]) -> Read[None]:
    """See `Engine.trim`. Each piece is a transaction. It begins with what earlier trims left: that may not be pinned any more."""
    after = 0
    floor = min(floor, log.folded + 1)
    while rows := [row for row in _rows(sql, log.id, after) if row.first < floor]:
        _cut(sql, log, rows, floor, pinned)
        after = rows[-1].end
        yield


def _rows(sql: sqlite3.Connection, room: int, after: int) -> list[Row]:
    """The next rows: as many as one piece may take, one at least."""
    found: list[Row] = []
    size = 0
    for id, first, length in sql.execute(SQL["batches"], (*log_span(room, after), PIECE_ROWS)).fetchall():
        size += length
        if found and size > PIECE_BYTES:
            break
        found.append(Row(first, id & SEQUENCES, length))
    return found


def _cut(sql: sqlite3.Connection, log: Log, rows: Sequence[Row], floor: int, pinned: Sequence[int]) -> None:
    """These rows go, all of which begin below the floor, but for the events from the floor on and those that are pinned."""
    gone: list[int] = []
    stay: list[Batch] = []
    room, size = log.id, log.bytes
    for row in rows:
        needed = pinned[bisect_left(pinned, row.first) : bisect_left(pinned, min(row.end + 1, floor))]
        if row.first >= log.first:
            size -= row.size
        if len(needed) == row.end + 1 - row.first:
            continue  # it stays as it is
        gone.append(room << SEQUENCE_BITS | row.end)
        if needed or row.end >= floor:
            parts = _parts(sql, room, row, floor, frozenset(needed))
            size += sum(len(events) for first, _, events in parts if first >= floor)
            stay.extend(parts)
    end = min(rows[-1].end + 1, floor)
    first = max(log.first, end)
    if gone or first != log.first:
        sql.execute("BEGIN IMMEDIATE")
        release(sql, room, rows[0].first, end, pinned)
        execute_rows(sql, "trim", [(id,) for id in gone])
        append(sql, [(room << SEQUENCE_BITS | end, begin, events) for begin, end, events in stay])
        sql.execute(SQL["set_first"], (first, size - log.tail, room))
        sql.execute("COMMIT")
        log.first, log.bytes = first, size


def _parts(sql: sqlite3.Connection, room: int, row: Row, floor: int, needed: frozenset[int]) -> list[Batch]:
    """What stays of a row, as rows: runs of events without a hole, none across the floor."""
    batch = next_batch(sql, room, row.first - 1)
    assert batch is not None
    events = batch[2]
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(events)
    runs: list[tuple[int, int, int, int]] = []  # first and last sequence, where its bytes begin and end
    end = 0
    for seq in range(row.first, row.end + 1):
        begin = end
        unpacker.skip()
        end = unpacker.tell()
        if seq >= floor or seq in needed:
            if runs and runs[-1][1] == seq - 1 and seq != floor:
                runs[-1] = (runs[-1][0], seq, runs[-1][2], end)
            else:
                runs.append((seq, seq, begin, end))
    return [(first, last, events[begin:end]) for first, last, begin, end in runs]
