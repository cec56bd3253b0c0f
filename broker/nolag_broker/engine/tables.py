"""What the SQLite engine does on its thread: open the file, store turns, drop what is to go. Synchronous."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from ..core.event import Event
from ..core.turn import Turn
from .appended import RECORDS, Appended
from .backup import PART, begin_anew, copy
from .base import DatabaseInUse, DatabaseTooNew, SequenceConflict, StorageFailed
from .blob_refs import RecordRefs, refer
from .blob_tables import BlobTables
from .damage import Witness, check, sum_of_room, sum_of_row
from .keys import KeyRange
from .reading import HEADS, Reads
from .statements import SQL, bounds, execute_keys, execute_rows, read_sql
from .sweeping import sweep
from .trimming import SEQUENCE_BITS, SEQUENCES, Batch, Log, Read, append, log_span, trim

SCHEMAS: Final = tuple(
    f"schema{suffix}.sql" for suffix in ("", "-2", "-3", "-4", "-5", "-6", "-7")
)  # each makes the next version of the one before
VERSION: Final = len(SCHEMAS)  # kept in `PRAGMA user_version`
PAGE: Final = 16 << 10  # bytes; a row of the log is long: with SQLite's 4 KiB the same took 2 µs of CPU more a task, p99 a fifth more
COPIED_BACK: Final = 1 << 20  # bytes of the write-ahead log; commits wait meanwhile: twice as long with 2 MiB, which saves nothing
AT_THE_LATEST: Final = 4 << 20  # bytes; then SQLite does it by itself, within a commit
FEW: Final = 128  # rows, each in a page of its own at the worst
EVENTS: Final = 256
SMALL: Final = 256 << 10  # bytes of both
GONE: Final = 16 << 10  # bytes that a row counts which goes: where it was long, many pages are looked at


class Tables:
    """One open database file, owned by one thread."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it.

        Raises:
            DatabaseInUse, DatabaseTooNew, StorageFailed
        """
        self._file = file
        self._sql = self._connect()
        try:
            self._migrate()
            self._logs = self._rooms()
            self._appended = self._loose()
            self._witness = Witness(file)
            self._begin_anew(self._witness.check(self._events()))
        except BaseException:
            self._sql.close()
            raise
        self._ahead = 0  # bytes of the write-ahead log, about: what was written since, and two pages a commit
        self.reads = Reads(self._sql, self._logs, self._appended)
        self.blobs = BlobTables(self._sql, self._logs)
        self._record_refs = RecordRefs(self._sql)

    def _connect(self) -> sqlite3.Connection:
        # SQLite before 3.51.3 can corrupt the database when one connection resets the write-ahead log while another writes.
        # There is never a second connection here: this one is the process's only one, and the exclusive lock keeps
        # other processes out. (With it the log's index lives in this process's memory; there is no -shm file.)
        connection: sqlite3.Connection | None = None
        try:
            if (part := self._file.with_suffix(PART)).exists():
                raise StorageFailed(f"{part} is a copy that was not finished. Start on one that was, or remove it to begin with nothing.")
            _make_private(self._file)
            connection = sqlite3.connect(self._file, timeout=0.5, isolation_level=None, cached_statements=512, check_same_thread=False)
            connection.execute(f"PRAGMA page_size = {PAGE}")  # of a new file; an older one keeps its own
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()  # an error in it comes with its end, not before
            if mode != "wal":
                raise OSError(f"no write-ahead log can be kept there (journal mode {mode!r})")
            connection.execute("PRAGMA synchronous = FULL")  # a commit that returned is on the disk
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA wal_autocheckpoint = {AT_THE_LATEST // page}")
            connection.execute("BEGIN IMMEDIATE")  # takes the lock now; it is kept until the connection closes
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise DatabaseInUse(
                    f"{self._file} is in use by another broker. Stop that one, or start this one with another --path."
                ) from None
            raise StorageFailed(f"cannot open {self._file}: {error}") from error
        return connection

    def _migrate(self) -> None:
        try:
            (version,) = self._sql.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise DatabaseTooNew(
                    f"{self._file} was written by a newer version: its schema is {version}, this broker knows up to {VERSION}. "
                    "Install the newer langgraph-nolag, or start with another --path."
                )
            for number, schema in enumerate(SCHEMAS[version:], version + 1):
                for statement in ("BEGIN IMMEDIATE", *_statements(read_sql(schema)), f"PRAGMA user_version = {number}", "COMMIT"):
                    self._sql.execute(statement)
        except sqlite3.Error as error:
            raise StorageFailed(f"cannot read {self._file}: {error}") from error

    def _rooms(self) -> dict[str, Log]:
        try:
            return {name: self._log(name, *row) for name, *row in self._sql.execute(SQL["rooms"]).fetchall()}
        except (sqlite3.Error, ValueError) as error:
            raise StorageFailed(f"cannot read {self._file}: {error}") from error

    def _loose(self) -> Appended:
        try:
            return Appended(self._sql)
        except sqlite3.Error as error:
            raise StorageFailed(f"cannot read {self._file}: {error}") from error

    def _begin_anew(self, witnessed: bool) -> None:
        try:
            begin_anew(self._sql, self._logs.values(), witnessed)
        except sqlite3.Error as error:
            self._witness.close()
            raise StorageFailed(f"cannot write {self._file}: {error}") from error

    def _events(self) -> int:
        return sum(log.end for log in self._logs.values())

    def _log(self, name: str, id: int, epoch: str, folded: int, first: int, size: int, sum: int | None) -> Log:
        check(sum, sum_of_room(id, name, epoch, folded), f"the room {name!r}")
        end, tail = self._sql.execute(SQL["tail"], log_span(id, folded)).fetchone()
        return Log(name, id, epoch, folded, first, folded if end is None else end & SEQUENCES, size + tail, tail)

    def close(self) -> None:
        self._sql.close()
        self._witness.close()

    def back_up(self, file: Path, between: Callable[[], None]) -> int:
        """Copy the database, see `backup.copy`; how many events are in the copy."""
        copy(self._sql, file, between)
        return self._events()

    # -- writes

    def create(self, room: str, epoch: str) -> None:
        if room in self._logs:
            return
        self._sql.execute("BEGIN IMMEDIATE")
        self._sql.execute(SQL["create_room"], (room, epoch))
        (id,) = self._sql.execute(SQL["room"], (room,)).fetchone()
        self._sql.execute(SQL["sum_room"], (sum_of_room(id, room, epoch, 0), id))
        self._sql.execute("COMMIT")
        self._logs[room] = Log(room, id, epoch, folded=0, first=1, end=0, bytes=0)

    def commit(self, turns: Sequence[tuple[str, Turn, list[Batch]]]) -> list[SequenceConflict | None]:
        """One transaction for all rooms; each statement runs once for the rows of all."""
        conflicts: list[SequenceConflict | None] = []
        rows: list[Batch] = []
        puts: list[tuple[int, int, str, bytes, int]] = []
        stored: list[tuple[Log, Turn, int]] = []
        self._sql.execute("BEGIN IMMEDIATE")
        for room, turn, batches in turns:
            log = self._logs.get(room)
            if log is None or log.end != turn.expected_sequence:
                end = None if log is None else log.end
                conflicts.append(SequenceConflict(f"room {room!r} ends at {end}, not at {turn.expected_sequence}"))
                continue
            conflicts.append(None)
            rows.extend((log.id << SEQUENCE_BITS | end, first, events) for first, end, events in batches)
            for prefix in turn.deleted_prefixes:
                self._delete(log.id, KeyRange.of(prefix))
            self._rows(log.id, turn.heads, puts)
            self._records(log.id, turn)
            refer(self._sql, log.id, turn.events)
            self._record_refs.write(log.id, turn.records)
            stored.append((log, turn, sum([len(events) for _, _, events in batches])))
        execute_rows(self._sql, "put", puts)
        append(self._sql, rows)
        self._appended.file()
        caught_up = [
            (log.id, turn.end, log.bytes + size, sum_of_room(log.id, log.room, log.epoch, turn.end))
            for log, turn, size in stored
            if turn.caught_up
        ]
        execute_rows(self._sql, "set_folded", caught_up)
        self._sql.execute("COMMIT")
        self._ahead += 2 * PAGE + sum([size + _size_of_rows(turn) for _, turn, size in stored])
        self._witness.add(sum([len(turn.events) for _, turn, _ in stored]))
        for log, turn, size in stored:
            log.end = turn.end
            log.writes += 1
            log.bytes += size
            log.tail += size
            if turn.caught_up:
                log.folded, log.tail = turn.end, 0
            if turn.records or turn.deleted_prefixes:
                log.changes += 1
        return conflicts

    @property
    def is_copying_due(self) -> bool:
        """The write-ahead log is to be copied back into the database."""
        return self._ahead > COPIED_BACK

    def copy_back(self) -> None:
        self._ahead = 0
        self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _rows(self, id: int, rows: dict[str, bytes | None], puts: list[tuple[int, int, str, bytes, int]]) -> None:
        if rows:
            puts.extend((id, HEADS, key, value, sum_of_row(id, HEADS, key, value)) for key, value in rows.items() if value is not None)
            execute_keys(self._sql, "delete", id, HEADS, [key for key, value in rows.items() if value is None])

    def _records(self, id: int, turn: Turn) -> None:
        """Those that come with the rows are as many and as small as these, and filed with them; others are appended."""
        if not turn.records:
            return
        puts = {key: value for key, value in turn.records.items() if value is not None}
        gone = [key for key, value in turn.records.items() if value is None]
        execute_keys(self._sql, "delete", id, RECORDS, gone)
        self._appended.drop(id, gone)
        if turn.caught_up:
            self._appended.drop(id, list(puts))
            execute_rows(
                self._sql, "file", [(id, RECORDS, key, value, sum_of_row(id, RECORDS, key, value), None) for key, value in puts.items()]
            )
        else:
            self._appended.put(id, puts)

    def _delete(self, id: int, keys: KeyRange) -> None:
        low, high = bounds(keys)
        self._sql.execute(SQL["delete_range"], (id, low, high))
        self._appended.drop(id, self._appended.between(id, keys.low, keys.high))
        self._record_refs.delete_range(id, low, high)

    def trim(self, room: str, floor: int, pinned: Sequence[int]) -> Read[None]:
        return trim(self._sql, self._logs[room], floor, pinned)

    def sweep(self, room: str, prefix: str) -> Read[None]:
        return sweep(self._sql, self._appended, self._logs[room].id, prefix)


def _size_of_rows(turn: Turn) -> int:
    return sum([len(row) for row in (*turn.heads.values(), *turn.records.values()) if row is not None])


def _make_private(file: Path) -> None:
    """The folder 0700 if we make it, the file 0600: bodies are other people's data."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _statements(script: str) -> Iterable[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def batches(events: Sequence[Event], limit: int) -> list[Batch]:
    """Events as rows of the log: cut so that a row stays under `limit` bytes, unless one event alone is larger."""
    rows: list[Batch] = []
    parts: list[bytes] = []
    size = 0
    for event in events:
        encoded = event.encoded
        if parts and size + len(encoded) > limit:
            rows.append((event.seq - len(parts), event.seq - 1, b"".join(parts)))
            parts, size = [], 0
        parts.append(encoded)
        size += len(encoded)
    if parts:
        rows.append((events[-1].seq - len(parts) + 1, events[-1].seq, b"".join(parts)))
    return rows


def are_small(turns: Sequence[Turn]) -> bool:
    """Whether a commit of these takes about a millisecond, beside the disk's time."""
    if sum([1 + turn.caught_up + len(turn.heads) + len(turn.records) for turn in turns]) > FEW:
        return False
    if sum([len(turn.events) for turn in turns]) > EVENTS:
        return False
    rows = [row for turn in turns for row in (*turn.heads.values(), *turn.records.values())]
    size = sum([GONE if row is None else len(row) for row in rows]) + sum([len(event.encoded) for turn in turns for event in turn.events])
    return size <= SMALL and not any(turn.deleted_prefixes for turn in turns)
