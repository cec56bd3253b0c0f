"""The tables of blobs: written and collected in steps that commits pass. Synchronous, on the engine's thread."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from .blobs import BlobDamaged, Name, Spare
from .statements import SQL
from .trimming import Log, Read

PIECE_BITS: Final = 20  # of the number of a piece
CHECKPOINT: Final = 2  # pieces: left to SQLite, the write-ahead log would be copied 16 MiB at once, and commits wait for that
ROWS: Final = 64  # read between two places to stop
GO_AT_ONCE: Final = 4  # pieces of one transaction of the collection


class BlobTables:
    """See `BlobStore`."""

    def __init__(self, sql: sqlite3.Connection, rooms: Mapping[str, Log]) -> None:
        self._sql = sql
        self._rooms = rooms
        self._last: int = sql.execute(SQL["last_blob"]).fetchone()[0]
        self._begun: dict[int, int] = {}  # blobs without a name, and their rooms
        self._bytes: Counter[int] = Counter(dict(sql.execute(SQL["bytes_of_blobs"]).fetchall()))  # by room

    # -- writes

    def begin(self, room: str) -> int:
        self._last += 1
        self._begun[self._last] = self._rooms[room].id
        return self._last

    def add_piece(self, blob: int, number: int, piece: bytes, name: Name | None) -> Read[bool]:
        yield  # after the commits that have come
        if blob not in self._begun:  # given up meanwhile
            return False
        self._sql.execute("BEGIN IMMEDIATE")
        if number == 0:
            self._sql.execute(SQL["begin_blob"], (blob, self._begun[blob]))
        row = blob << PIECE_BITS | number
        self._sql.execute(SQL["add_piece"], (row, piece, _sum(row, piece)))
        named = name is not None and self._sql.execute(SQL["name_blob"], (*name, blob)).rowcount
        self._sql.execute("COMMIT")
        if name is not None:
            room = self._begun.pop(blob)
            self._bytes[room] += name.size if named else 0
        if number % CHECKPOINT == CHECKPOINT - 1:
            yield
            self._sql.execute(SQL["checkpoint"]).fetchone()
        return True

    def drop(self, blob: int) -> None:
        self._begun.pop(blob, None)  # `collect` takes what is there of it

    # -- reads

    def _row(self, room: str, hash: bytes) -> tuple[int, int] | None:
        log = self._rooms.get(room)
        row: tuple[int, int] | None = None if log is None else self._sql.execute(SQL["blob"], (log.id, hash)).fetchone()
        return row

    def size(self, room: str, hash: bytes) -> int | None:
        row = self._row(room, hash)
        return None if row is None else row[1]

    def piece(self, room: str, hash: bytes, number: int) -> Read[bytes | None]:
        yield
        found = self._row(room, hash)
        if found is None:
            return None
        id = found[0] << PIECE_BITS | number
        row = self._sql.execute(SQL["piece"], (id,)).fetchone()
        if row is None or row[1] != _sum(id, row[0]):
            raise BlobDamaged(f"piece {number} of a large value of the room {room!r} is not what was written")
        return bytes(row[0])

    def values_floor(self, room: str, max_bytes: int) -> Read[int]:
        log = self._rooms[room]
        if self._bytes[log.id] <= max_bytes:
            return 0
        counted: set[int] = set()
        size, before = 0, log.end + 1
        while rows := self._sql.execute(SQL["refs_down"], (log.id, before, ROWS)).fetchall():
            for before, blob, its_size in rows:
                if blob not in counted:
                    counted.add(blob)
                    size += its_size
                if size > max_bytes:
                    return int(before) + 1
            yield
        return 0

    # -- the end

    def collect(self, spare: Spare) -> Read[int]:
        count, after = 0, 0
        while row := self._sql.execute(SQL["unreferred"], (after,)).fetchone():
            after, room, name, hash, size = row
            if hash is not None and not spare(name, hash):
                self._sql.execute(SQL["unname"], (after,))
                self._bytes[room] -= size
                hash = None
            yield
            if hash is None and after not in self._begun:
                yield from self._delete(after)
                count += 1
        return count

    def _delete(self, blob: int) -> Read[None]:
        low, high = blob << PIECE_BITS, (blob + 1) << PIECE_BITS
        while self._sql.execute(SQL["drop_pieces"], (low, high, GO_AT_ONCE)).rowcount:
            yield
            self._sql.execute(SQL["checkpoint"]).fetchone()
            yield
        self._sql.execute(SQL["drop_blob"], (blob,))


def _sum(id: int, piece: bytes) -> int:
    return crc32(piece, crc32(b"%d" % id))
