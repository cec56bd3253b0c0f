"""How damage is noticed that SQLite does not see: a checksum in every row, and a witness of how far the logs went.

SQLite keeps no checksums of the database's pages, and takes the first damaged frame of its write-ahead log for the log's end: acknowledged
commits behind it would be gone without a word.
"""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from .base import StorageFailed

_WITNESS: Final = Struct("<QI")


def sum_of_room(id: int, name: str, epoch: str, folded: int) -> int:
    return crc32(f"{id} {folded} {epoch} {name}".encode())


def sum_of_batch(id: int, first: int, events: bytes) -> int:
    return crc32(events, crc32(b"%d %d" % (id, first)))


def sum_of_row(room: int, space: int, key: str, value: bytes) -> int:
    return crc32(value, crc32(key.encode(), room << 1 | space))


def check(kept: int | None, computed: int, what: str) -> None:
    """Raises `ValueError` when a row is not what was written; one without a checksum is of an older version."""
    if kept is not None and kept != computed:
        raise ValueError(f"damaged: {what} is not what was written")


class Witness:
    """A few bytes beside the database: how many events its logs have in all, written after each commit and never synced.

    So it never says more than what is on the disk, and after anything but a power cut it says all of it. A database with fewer events has
    lost some.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_suffix(".end")
        self._file: int | None = None
        self._events = 0

    def check(self, events: int) -> bool:
        """Whether there was a witness. Raises `StorageFailed` when the database has fewer events than it had."""
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            kept = os.pread(self._file, _WITNESS.size, 0)
        except OSError as error:
            self.close()
            raise StorageFailed(f"cannot open {self._path}: {error}") from error
        witnessed = False
        if len(kept) == _WITNESS.size:
            seen, sum = _WITNESS.unpack(kept)
            witnessed = sum == _sum(seen)
            if witnessed and events < seen:
                self.close()
                raise StorageFailed(
                    f"{self._path.with_suffix('.db')} has lost {seen - events} of {seen} events: it is damaged, or an older copy. "
                    f"Put a sound copy in its place, or remove {self._path} to go on without them."
                )
        self._events = events
        self._write()
        return witnessed

    def add(self, events: int) -> None:
        """So many more were stored."""
        if events:
            self._events += events
            self._write()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        assert self._file is not None
        os.pwrite(self._file, _WITNESS.pack(self._events, _sum(self._events)), 0)


def _sum(events: int) -> int:
    return crc32(b"%d" % events)
