"""What is read of the rooms on the engine's thread, in pieces. Synchronous.

Reads are generators: each `yield` is a place where a commit may come between, and no cursor is open there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgpack

from ..core.event import Event, decode_events
from ..core.turn import ScanAt
from .appended import RECORDS, Appended
from .base import RoomImage
from .damage import check, sum_of_row
from .keys import KeyRange
from .statements import SQL, bounds
from .trimming import SEQUENCES, Batch, Log, Read, floor_of, next_batch

HEADS: Final = 0
PIECE_ROWS, PIECE_BYTES = 64, 1 << 20  # of a scan, between two places to stop
LOAD_ROWS: Final = 256  # of a room that is loaded, likewise

T = TypeVar("T")


class Reads:
    """See `Engine`."""

    def __init__(self, sql: sqlite3.Connection, logs: Mapping[str, Log], appended: Appended) -> None:
        self._sql = sql
        self._logs = logs
        self._appended = appended

    def floor(self, room: str, max_bytes: int) -> Read[int]:
        return floor_of(self._sql, self._logs[room], max_bytes)

    def rooms(self) -> dict[str, int]:
        return {room: log.end for room, log in self._logs.items()}

    def rooms_with(self, prefix: str) -> list[str]:
        found = {id for (id,) in self._sql.execute(SQL["rooms_with"], bounds(KeyRange.of(prefix)))}
        return [room for room, log in self._logs.items() if log.folded < log.end or log.id in found]

    def load(self, room: str) -> Read[RoomImage | None]:
        log = self._logs.get(room)
        if log is None:
            return None
        seen, after = -1, ""
        heads: dict[str, bytes] = {}
        while True:
            if seen != log.writes:  # a commit came between. Who loads a room does not write to it, so this comes to an end.
                seen, after, heads = log.writes, "", {}
            rows = self._sql.execute(SQL["heads"], (log.id, after, LOAD_ROWS)).fetchall()
            for key, value, sum in rows:
                check(sum, sum_of_row(log.id, HEADS, key, value), f"the row {key!r} of the room {room!r}")
                heads[key] = value
            if len(rows) < LOAD_ROWS:
                return RoomImage(room, log.epoch, log.end, log.folded, log.first, heads)
            after = rows[-1][0]
            yield

    def events(self, room: str, after: int, limit: int, max_bytes: int) -> Read[list[Event]]:
        found: list[Event] = []
        size = 0
        log = self._logs.get(room)
        while log is not None and len(found) < limit and size < max_bytes:
            batch = self._batch(log, after)
            if batch is None:
                break
            for event in self._events_of(log, batch):
                if event.seq > after:
                    found.append(event)
                    size += len(event.encoded)
                    if len(found) >= limit or size >= max_bytes:
                        break
            after = found[-1].seq
            yield
        return found

    def _batch(self, log: Log, after: int) -> Batch | None:
        """The row of the log that holds the event after a sequence, or the first one after it where that is trimmed."""
        try:
            batch = next_batch(self._sql, log.id, after)
        except ValueError as error:
            raise ValueError(f"damaged: event {after + 1} of the room {log.room!r} can't be read") from error
        if (batch is None or batch[1] > after + 1) and log.first <= after + 1 <= log.end:
            raise ValueError(f"damaged: event {after + 1} of the room {log.room!r} is missing")
        return batch

    def _events_of(self, log: Log, batch: Batch) -> Iterator[Event]:
        """The events of a row, which must be those that its key promises: a damaged row is an error, not fewer or other events."""
        expected, end, cause = batch[1], _end(batch), None
        try:
            for event in decode_events(batch[2]):
                if event.seq != expected:
                    break
                yield event
                expected += 1
        except Exception as error:  # whatever decoding meets
            cause = error
        if expected != end + 1:
            raise ValueError(f"damaged: event {expected} of the room {log.room!r} can't be read") from cause

    def bodies(self, room: str, sequences: Sequence[int], max_bytes: int) -> Read[dict[int, tuple[bytes | None, str | None]]]:
        found: dict[int, tuple[bytes | None, str | None]] = {}
        size = 0
        log = self._logs.get(room)
        batch: Batch | None = None
        for sequence in sequences:
            if log is None:
                break
            if batch is None or not batch[1] <= sequence <= _end(batch):
                batch = self._batch(log, sequence - 1)
            if batch is not None and sequence >= batch[1]:
                found[sequence] = body, _ = _body(batch[2], sequence - batch[1])
                size += len(body or b"")
                if size >= max_bytes:
                    break
            yield
        return found

    def records(self, room: str, keys: Sequence[str], max_bytes: int) -> Read[dict[str, bytes]]:
        log = self._logs.get(room)
        if log is None:
            return {}

        def read() -> Read[dict[str, bytes]]:
            found: dict[str, bytes] = {}
            size = 0
            for key in keys:
                if (row := self._record(log, key)) is not None:
                    found[key] = row
                    size += len(row)
                    if size >= max_bytes:
                        break
                yield
            return found

        return (yield from self._undivided(log, read))

    def _record(self, log: Log, key: str) -> bytes | None:
        """Raises `ValueError` when it is damaged."""
        at = self._appended.at(log.id, key)
        row = self._sql.execute(*((SQL["record"], (log.id, key)) if at is None else (SQL["appended"], (at,)))).fetchone()
        if row is None and at is None:
            return None
        value, sum = row or (b"", 0)
        _check_record(log, key, value, sum)
        return value

    def scan(self, room: str, scan: ScanAt, max_bytes: int) -> Read[list[tuple[str, bytes | None]]]:
        log, keys = self._logs.get(room), KeyRange.of(scan.prefix, scan.after, scan.before)
        if log is None or keys.empty:
            return []

        def read() -> Read[list[tuple[str, bytes | None]]]:
            found: list[tuple[str, bytes | None]] = []
            rest, size = keys, 0
            while True:
                rows, end = self._piece(log, rest, scan, min(PIECE_ROWS, scan.limit - len(found)), max_bytes - size)
                found += rows
                size += _bytes(rows)
                if end or len(found) >= scan.limit or size >= max_bytes:
                    return found
                last = found[-1][0]
                rest = KeyRange(rest.low, last) if scan.reverse else KeyRange(last + "\0", rest.high)
                yield

        return (yield from self._undivided(log, read))

    def _piece(self, log: Log, keys: KeyRange, scan: ScanAt, limit: int, max_bytes: int) -> tuple[list[tuple[str, bytes | None]], bool]:
        """The first rows of a range, one at least, and whether that is all of it."""
        query = SQL[f"scan_{'' if scan.bodies else 'keys_'}{'down' if scan.reverse else 'up'}"]
        rows: dict[str, bytes | None] = {}
        size, end = 0, False
        cursor = self._sql.execute(query, (log.id, *bounds(keys), limit))
        for key, value, sum in cursor:
            if scan.bodies:
                _check_record(log, key, value, sum)
            rows[key] = value
            size += len(value or b"")
            if size >= min(PIECE_BYTES, max_bytes):
                break
        else:
            end = len(rows) < limit
        cursor.close()
        if not end:  # of what is not filed yet, as far as these rows reach
            last = next(reversed(rows))
            keys = KeyRange(last, keys.high) if scan.reverse else KeyRange(keys.low, last + "\0")
        if not (loose := self._appended.between(log.id, keys.low, keys.high)):
            return list(rows.items()), end
        found: list[tuple[str, bytes | None]] = []
        size = 0
        for key in sorted({*rows, *loose}, reverse=scan.reverse):
            if len(found) == limit or size >= min(PIECE_BYTES, max_bytes):
                return found, False
            value = rows[key] if key in rows and self._appended.at(log.id, key) is None else self._record(log, key) if scan.bodies else None
            found.append((key, value))
            size += len(value or b"")
        return found, end

    def _undivided(self, log: Log, read: Callable[[], Read[T]]) -> Read[T]:
        """A read of rows that change, as if it were one moment's: begun again when a commit changed the room's records between
        its pieces, and in the end not cut into pieces."""
        for _ in range(3):
            seen = log.changes
            pieces = read()
            while log.changes == seen:
                try:
                    next(pieces)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                yield
        return finish(read())


def finish(read: Read[T]) -> T:
    """Run a read to its end, without a stop."""
    while True:
        try:
            next(read)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def first_piece(read: Read[T]) -> T | None:
    """What a read that has one piece gives; None for a longer one, which is given up."""
    try:
        next(read)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    read.close()
    return None


def _check_record(log: Log, key: str, value: bytes, sum: int | None) -> None:
    check(sum, sum_of_row(log.id, RECORDS, key, value), f"the record {key!r} of the room {log.room!r}")


def _bytes(rows: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(value or b"") for _, value in rows)


def _end(batch: Batch) -> int:
    """The last sequence of a row of the log."""
    return batch[0] & SEQUENCES


def _body(events: bytes, index: int) -> tuple[bytes | None, str | None]:
    """Body and content type of one event of a batch; those before it are skipped, not decoded."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=0)
    unpacker.feed(events)
    for _ in range(index):
        unpacker.skip()
    wire = unpacker.unpack()
    return wire.get("body"), wire.get("ct")
