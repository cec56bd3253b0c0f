"""Records as commits bring them: appended one after the other, and filed under their keys later, many at a time. Synchronous.

Keys come from everywhere, and a row put in its place changes a page of its own: twenty checkpoints of 5 KB were forty pages of 16 KiB,
written twice, and their commit took 5 ms. Appended they fill eight pages, and it takes 0.5. What is not filed yet is known in memory by its
key, and filed when the database is opened the next time; so there is never much of it.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .damage import sum_of_row
from .statements import SQL, execute_rows

RECORDS: Final = 1  # their space in the table of rows
MANY: Final = 1024  # not filed yet: now they are
AT_ONCE: Final = 64  # of them with one commit, or twice as many as came with it: each may change a page of its own, and take 0.1 ms


Name = tuple[int, str]
"""A room, and a key in it."""


class _Row(NamedTuple):
    id: int
    sum: int  # of the record, with its key


class Appended:
    """The records of all rooms that are not filed yet. What is written here is written in the caller's transaction."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        """Files what was left."""
        self._sql = sql
        self._rows: dict[Name, _Row] = {}
        self._names: list[Name] = []  # in order
        self._filing: list[Name] = []  # the next one last
        self._came = 0  # with the commit under way
        (self._last,) = sql.execute(SQL["filed"]).fetchone()
        self._through = self._last  # what is filed once `_filing` is empty
        for id, room, key, sum in sql.execute(SQL["loose"], (self._last,)).fetchall():
            self._add((room, key), _Row(id, sum))
            self._last = id
        sql.execute("BEGIN IMMEDIATE")
        while self._names:
            self._file(len(self._names))
        sql.execute("COMMIT")

    # -- reads

    def at(self, room: int, key: str) -> int | None:
        """The row of a record that is not filed yet."""
        row = self._rows.get((room, key))
        return None if row is None else row.id

    def between(self, room: int, low: str, high: str | None) -> list[str]:
        """Keys of those from `low` up to but without `high` (None: to the end), in order."""
        end = (room + 1, "") if high is None else (room, high)
        return [key for _, key in self._names[bisect_left(self._names, (room, low)) : bisect_left(self._names, end)]]

    # -- writes

    def put(self, room: int, records: Mapping[str, bytes]) -> None:
        rows, stale = [], []
        self._came += len(records)
        for key, value in records.items():
            self._last += 1
            sum = sum_of_row(room, RECORDS, key, value)
            rows.append((self._last, room, key, sum, value))
            if (before := self._add((room, key), _Row(self._last, sum))) is not None:
                stale.append((before.id,))
        execute_rows(self._sql, "append_record", rows)
        execute_rows(self._sql, "drop_record", stale)

    def drop(self, room: int, keys: Iterable[str]) -> None:
        """These go, as far as they are not filed."""
        execute_rows(self._sql, "drop_record", [(row.id,) for key in keys if (row := self._take((room, key))) is not None])

    def file(self) -> None:
        """Put a part of them in their places, if there are many by now."""
        came, self._came = self._came, 0
        if self._filing or len(self._names) >= MANY:
            self._file(max(AT_ONCE, 2 * came))

    def _file(self, count: int) -> None:
        if not self._filing:
            self._filing, self._through = self._names[::-1], self._last
        part, self._filing = self._filing[-count:], self._filing[:-count]
        found = [(*name, self._take(name)) for name in reversed(part)]
        execute_rows(self._sql, "file", [(room, RECORDS, key, b"", row.sum, row.id) for room, key, row in found if row is not None])
        if not self._filing:
            self._sql.execute(SQL["set_filed"], (self._through,))

    def _add(self, name: Name, row: _Row) -> _Row | None:
        """Returns the row whose place this one takes."""
        before = self._rows.get(name)
        self._rows[name] = row
        if before is None:
            insort(self._names, name)
        return before

    def _take(self, name: Name) -> _Row | None:
        row = self._rows.pop(name, None)
        if row is not None:
            del self._names[bisect_left(self._names, name)]
        return row
