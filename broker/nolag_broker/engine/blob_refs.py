"""Which events and records refer to which blobs: written in the transaction that stores them, and gone in the one that drops them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from ..core.event import Event
from ..wire.blobs import referred, referred_by_record
from .statements import SQL, execute_rows


def refer(sql: sqlite3.Connection, room: int, events: Iterable[Event]) -> None:
    for event in events:
        if (hash := referred(event.body, event.ct)) is not None:
            sql.execute(SQL["refer"], (room, event.seq, room, hash))


def release(sql: sqlite3.Connection, room: int, low: int, high: int, pinned: Sequence[int]) -> None:
    """The events from `low` up to but without `high` refer to nothing any more, but for those that are pinned."""
    seqs = {seq for (seq,) in sql.execute(SQL["refs"], (room, low, high))}
    if seqs:
        execute_rows(sql, "release", [(room, seq) for seq in sorted(seqs.difference(pinned))])


class RecordRefs:
    """Of the records of all rooms. A room that has none with a reference costs nothing."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        self._rooms = {room for (room,) in sql.execute(SQL["rooms_with_blob_keys"])}

    def delete_range(self, room: int, low: str, high: str | bytes) -> None:
        if room in self._rooms:
            self._sql.execute(SQL["release_range"], (room, low, high))

    def write(self, room: int, records: Mapping[str, bytes | None]) -> None:
        if room in self._rooms:
            for key in records:
                self._sql.execute(SQL["release_key"], (room, key))
        for key, record in records.items():
            if record is not None and (hash := referred_by_record(record)) is not None:
                self._sql.execute(SQL["refer_key"], (room, key, room, hash))
                self._rooms.add(room)
