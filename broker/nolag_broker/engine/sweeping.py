"""How records that nobody looks for any more go, in pieces that commits pass. Synchronous, on the engine's thread."""

from __future__ import annotations

import sqlite3
from typing import Final

from .appended import Appended
from .keys import prefix_end
from .statements import SQL
from .trimming import Read

GO_AT_ONCE: Final = 256  # records of one transaction


def sweep(sql: sqlite3.Connection, appended: Appended, room: int, prefix: str) -> Read[None]:
    """See `Engine.sweep`. Reads that are under way need not begin again: they are not about what goes."""
    low, high = prefix, prefix_end(prefix)
    assert high is not None
    # First of all: if they were filed while this runs, they could land in the part that is swept already.
    appended.drop(room, appended.between(room, prefix, high))
    while low != high:
        yield
        rest = sql.execute(SQL["nth_key"], (room, low, high, GO_AT_ONCE)).fetchone()
        end: str = high if rest is None else rest[0]
        sql.execute(SQL["delete_range"], (room, low, end))
        low = end
