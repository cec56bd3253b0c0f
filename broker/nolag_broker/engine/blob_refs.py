"""Which events refer to which blobs: written in the transaction that stores an event, and gone in the one that drops it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from ..core.event import Event
from ..wire.blobs import referred
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
