"""A copy of the database while it is in use, and what a broker does that starts on one. Synchronous.

The copy is taken through the one connection there is, some pages at a time; what commits change meanwhile SQLite writes into both. So
the copy is the database as it was at the end of the copying, not at its beginning.

What happened after that is not in it: a broker that starts on a copy goes on differently, under sequences that some client may have seen
with other events. So a copy is marked, and the first start on it gives every room a new epoch, whereupon readers are told of a gap. It is
done at the start, because a copy may be copied, and started on more than once: no two of those go on alike.

Until it is whole, a copy has another name, by which a broker that is started on it knows that it is not.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from .base import BackupFailed, StorageFailed
from .damage import Witness, sum_of_room
from .statements import SQL
from .trimming import Log

PAGES: Final = 16  # of 16 KiB, between two places to stop: well under a millisecond
PART: Final = ".part"  # the suffix of a copy that is not whole
COPY: Final = 0x6E6C_6370  # the mark, in SQLite's `application_id`


def copy(sql: sqlite3.Connection, file: Path, between: Callable[[], None]) -> None:
    """Copy the database to the part of a file that is not there yet, calling `between` where commits may come between. Not synced; see
    `seal`.

    Raises:
        BackupFailed
        whatever `between` raises; then the part is of no use.
    """

    def progress(status: int, remaining: int, pages: int) -> None:
        if status != sqlite3.SQLITE_DONE:  # what is committed after the last page is not in the copy any more
            between()

    try:
        if file.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        part = file.with_suffix(PART)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        target = sqlite3.connect(part, isolation_level=None)
        try:
            target.execute("PRAGMA synchronous = OFF")  # a copy that was cut off is thrown away
            sql.backup(target, pages=PAGES, progress=progress)
        finally:
            target.close()
    except (sqlite3.Error, OSError) as error:
        raise BackupFailed(f"cannot write {file}: {error}") from error


def seal(file: Path, events: int) -> None:
    """Make the part of a file a copy that can be started on: marked, with its witness, on the disk, under its name. On any thread.

    Args:
        events: that the logs in it have.

    Raises:
        BackupFailed
    """
    part = file.with_suffix(PART)
    try:
        target = sqlite3.connect(part, isolation_level=None)
        try:
            target.execute(f"PRAGMA application_id = {COPY}")
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            target.close()
        witness = Witness(file)
        witness.check(events)
        witness.close()
        _sync(part)
        _sync(file.with_suffix(".end"))
        part.rename(file)
        _sync(file.parent)
    except (sqlite3.Error, OSError, StorageFailed) as error:
        raise BackupFailed(f"cannot write {file}: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_anew(sql: sqlite3.Connection, logs: Collection[Log], witnessed: bool) -> None:
    """Give the rooms new epochs where history may be lost: the database is a copy on which no broker was started yet, or no witness says
    how far its logs went. Takes the mark away."""
    copied = sql.execute("PRAGMA application_id").fetchone() == (COPY,)
    if not copied and (witnessed or not logs):
        return
    sql.execute("BEGIN IMMEDIATE")
    for log in logs:
        log.epoch = secrets.token_hex(8)
        sql.execute(SQL["set_epoch"], (log.epoch, sum_of_room(log.id, log.room, log.epoch, log.folded), log.id))
    sql.execute("PRAGMA application_id = 0")
    sql.execute("COMMIT")
