"""SQL as data: statements read from `queries.sql`, and one execution for many rows.

Python's sqlite3 gives up the interpreter lock for every step of a statement and has to win it back afterwards, which
takes as long as the busy event loop pleases (up to `sys.getswitchinterval()`, 5 ms). `executemany` pays that for each
row: 200 rows took 190 ms beside a busy loop, and 38 ms as four statements of 50. So rows go in by the chunk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

from .keys import KeyRange

CHUNK: Final = 64  # rows of one execution; more gains nothing


def read_sql(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")


def _parse(text: str) -> dict[str, str]:
    """`-- name: x` begins a statement, the next one ends it."""
    parts = text.split("-- name: ")[1:]
    return {name.strip(): body.strip() for name, _, body in (part.partition("\n") for part in parts)}


SQL: Final = _parse(read_sql("queries.sql"))


@cache
def _for_rows(name: str, count: int, width: int) -> str:
    """The statement `name` for so many rows. At most CHUNK texts each, so that the connection keeps them all prepared."""
    row = "(" + ", ".join("?" * width) + ")"
    return SQL[name].replace(":rows", ", ".join([row] * count)).replace(":keys", ", ".join("?" * count))


def execute_rows(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute `name` for all rows, CHUNK rows at a time."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        connection.execute(_for_rows(name, len(chunk), len(chunk[0])), [value for row in chunk for value in row])


def execute_keys(connection: sqlite3.Connection, name: str, room: int, space: int, keys: Sequence[str]) -> None:
    """Execute `name` for all keys of one room and space, CHUNK keys at a time."""
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        connection.execute(_for_rows(name, len(chunk), 0), (room, space, *chunk))


def bounds(keys: KeyRange) -> tuple[str, str | bytes]:
    """The range for a statement: SQLite compares every text as less than every blob, so an empty one ends a range that has no end."""
    return keys.low, b"" if keys.high is None else keys.high
