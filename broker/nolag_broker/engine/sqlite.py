"""The SQLite engine: one file, one connection, one thread that writes and reads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Final, TypeVar

from ..core.event import Event
from ..core.turn import ScanAt, Turn
from .backup import seal
from .base import MAX_SCAN, UNBOUNDED, BackupFailed, RoomImage, SequenceConflict, StorageFailed
from .blobs import BlobDamaged, Name, Spare
from .pace import Pace
from .reading import PIECE_BYTES, finish, first_piece
from .tables import Tables, are_small, batches
from .trimming import Batch, Read

FILE: Final = "rooms.db"
BATCH_BYTES: Final = 256 << 10  # of a row of the log
AT_ONCE: Final = 64  # records read on the loop: as many as take less time there than handing them to the thread and back
PIECE: Final = 0.002  # seconds a read may keep a commit waiting

T = TypeVar("T")


class SqliteEngine:
    """See `Engine` for the guarantees; `durability` is `disk`.

    Args:
        folder: where `rooms.db` is; made (mode 0700) when it is absent.
    """

    durability = "disk"

    def __init__(self, folder: Path) -> None:
        self._thread = _Thread(folder / FILE)
        self._copying = False
        self._pace = Pace()
        self._copying_back = False

    async def open(self) -> None:
        await self._thread.start()

    async def close(self) -> None:
        await self._thread.stop()

    async def back_up(self, folder: Path) -> int:
        """Copy the database into a folder, which is there and has none, while it is in use: as it is when this returns. A broker that
        starts on the copy gives every room a new epoch.

        Returns:
            How many events the logs in the copy have.

        Raises:
            BackupFailed: what is in the folder is of no use.
            StorageFailed: of the database itself.
        """
        if self._copying:
            raise BackupFailed("a copy is being made already")
        self._copying = True
        try:
            events = await self._thread.copy(folder / FILE)
            await asyncio.to_thread(seal, folder / FILE, events)
        finally:
            self._copying = False
        return events

    async def rooms(self) -> dict[str, int]:
        return await self._thread.do(lambda tables: tables.reads.rooms())

    async def rooms_with(self, prefix: str) -> list[str]:
        return await self._thread.do(lambda tables: tables.reads.rooms_with(prefix))

    async def load(self, room: str) -> RoomImage | None:
        return await self._thread.read(lambda tables: tables.reads.load(room))

    async def create(self, room: str, epoch: str) -> None:
        await self._thread.do(lambda tables: tables.create(room, epoch))

    def commit(self, turns: Sequence[tuple[str, Turn]]) -> Awaitable[list[SequenceConflict | None]]:
        rows = _encoded(turns)
        committing = self._thread.do(lambda tables: tables.commit(rows))
        committing.add_done_callback(lambda _: self._copy_back())
        return committing

    def commit_at_once(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None] | None:
        begun = perf_counter()
        if not self._thread.is_free or not self._pace.allows(begun) or not are_small([turn for _, turn in turns]):
            return None
        rows = _encoded(turns)
        conflicts = self._thread.write_at_once(lambda tables: tables.commit(rows))
        now = perf_counter()
        self._pace.took(now - begun, now)
        self._copy_back()
        return conflicts

    def _copy_back(self) -> None:
        """Once the write-ahead log is long: on the thread, and after the commit that made it so was answered."""
        if self._thread.wants_to_copy_back and not self._copying_back:
            self._copying_back = True
            self._thread.do(lambda tables: tables.copy_back()).add_done_callback(self._copied_back)

    def _copied_back(self, copied: asyncio.Future[None]) -> None:
        self._copying_back = False
        if not copied.cancelled():
            copied.exception()  # whoever asks next is told

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Event]:
        return await self._thread.read(lambda tables: tables.reads.events(room, after, limit, max_bytes))

    async def bodies(self, room: str, sequences: Sequence[int], max_bytes: int = UNBOUNDED) -> dict[int, tuple[bytes | None, str | None]]:
        return await self._thread.read(lambda tables: tables.reads.bodies(room, sequences, max_bytes))

    async def floor(self, room: str, max_bytes: int) -> int:
        return await self._thread.read(lambda tables: tables.reads.floor(room, max_bytes))

    async def trim(self, room: str, floor: int, pinned: Sequence[int]) -> None:
        await self._thread.read(lambda tables: tables.trim(room, floor, pinned))

    async def sweep(self, room: str, prefix: str) -> None:
        await self._thread.read(lambda tables: tables.sweep(room, prefix))

    async def records(self, room: str, keys: Sequence[str], max_bytes: int = UNBOUNDED) -> dict[str, bytes]:
        return await self._thread.read(lambda tables: tables.reads.records(room, keys, max_bytes))

    def records_at_once(self, room: str, keys: Sequence[str]) -> dict[str, bytes] | None:
        if len(keys) > AT_ONCE:
            return None
        found = self._thread.at_once(lambda tables: finish(tables.reads.records(room, keys, PIECE_BYTES)))
        return found if found is not None and sum(map(len, found.values())) < PIECE_BYTES else None

    async def scan(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]]:
        return await self._thread.read(lambda tables: tables.reads.scan(room, scan, max_bytes))

    def scan_at_once(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]] | None:
        return self._thread.at_once(lambda tables: first_piece(tables.reads.scan(room, scan, max_bytes)))

    async def begin_blob(self, room: str) -> int:
        return await self._thread.do(lambda tables: tables.blobs.begin(room))

    async def add_piece(self, blob: int, number: int, piece: bytes, name: Name | None = None) -> bool:
        return await self._thread.read(lambda tables: tables.blobs.add_piece(blob, number, piece, name))

    async def drop_blob(self, blob: int) -> None:
        await self._thread.do(lambda tables: tables.blobs.drop(blob))

    async def blob_size(self, room: str, hash: bytes) -> int | None:
        return await self._thread.do(lambda tables: tables.blobs.size(room, hash))

    async def piece(self, room: str, hash: bytes, number: int) -> bytes | None:
        return await self._thread.read(lambda tables: tables.blobs.piece(room, hash, number))

    async def values_floor(self, room: str, max_bytes: int) -> int:
        return await self._thread.read(lambda tables: tables.blobs.values_floor(room, max_bytes))

    async def collect_blobs(self, spare: Spare) -> int:
        return await self._thread.read(lambda tables: tables.blobs.collect(spare))


def _encoded(turns: Sequence[tuple[str, Turn]]) -> list[tuple[str, Turn, list[Batch]]]:
    """On the loop: events share one packer with the rest of it."""
    return [(room, turn, batches(turn.events, BATCH_BYTES)) for room, turn in turns]


@dataclass(slots=True, eq=False)
class _Job:
    """Something to do on the thread: at once (`do`), or in pieces (`read`, begun when its turn comes)."""

    future: asyncio.Future[Any]
    do: Callable[[Tables], Any] | None = None
    read: Callable[[Tables], Read[Any]] | None = None
    pieces: Read[Any] | None = None


class _Thread:
    """The thread that owns the database. Jobs go in by one queue; results go back to the loop, several at a time.

    While it has no job, what is over in no time is done on the loop: all jobs come from there, so none comes between.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._delivering = False
        self._under_way = 0  # jobs, as the loop sees it
        self._tables: Tables | None = None
        self._failure: StorageFailed | None = None
        self._thread: threading.Thread | None = None
        self._reads: deque[_Job] = deque()  # under way
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Future[None]  # the thread has nothing left to do

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._over = self._loop.create_future()
        self._under_way += 1
        self._thread = threading.Thread(target=self._run, args=(opened,), name="nolag-storage", daemon=True)
        self._thread.start()
        await opened

    async def stop(self) -> None:
        if self._thread is None or self._tables is None:  # it was never opened, or is closed
            return
        self._tables = None
        self._jobs.put(None)
        await self._over  # not `to_thread`: at the end of a process there are no other threads to be had
        self._thread.join()

    def do(self, call: Callable[[Tables], T]) -> asyncio.Future[T]:
        return self._submit(_Job(self._loop.create_future(), do=call))

    def read(self, call: Callable[[Tables], Read[T]]) -> asyncio.Future[T]:
        return self._submit(_Job(self._loop.create_future(), read=call))

    def copy(self, file: Path) -> asyncio.Future[int]:
        return self.do(lambda tables: tables.back_up(file, partial(self._between, tables)))

    def at_once(self, call: Callable[[Tables], T]) -> T | None:
        """Do it here and now; None where the thread is at work, or it can't be done: then the thread is to be asked, and says why."""
        if self._tables is None or not self.is_free:
            return None
        try:
            return call(self._tables)
        except Exception:
            return None

    def write_at_once(self, call: Callable[[Tables], T]) -> T:
        """The same for a write, which is not to be tried twice. For a thread that `is_free`. Raises `StorageFailed`."""
        assert self._tables is not None
        try:
            return call(self._tables)
        except Exception as error:
            raise self._fail(error) from error

    @property
    def is_free(self) -> bool:
        """Open, sound, and without a job."""
        return self._tables is not None and not self._under_way and self._failure is None

    @property
    def wants_to_copy_back(self) -> bool:
        return self._tables is not None and self._failure is None and self._tables.is_copying_due

    def _submit(self, job: _Job) -> asyncio.Future[Any]:
        if self._tables is None or self._thread is None or not self._thread.is_alive():  # behind the stop nothing is done any more
            job.future.set_exception(self._failure or StorageFailed("the database is closed"))
        else:
            self._under_way += 1
            self._jobs.put(job)
        return job.future

    # -- on the thread

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            tables = Tables(self._file)
        except Exception as error:
            self._finish(opened, None, error)
            return
        self._tables = tables
        self._finish(opened, None, None)
        try:
            while self._take_jobs(tables, wait=not self._reads):
                if self._reads:
                    self._piece(tables)
        finally:
            try:
                tables.close()
            finally:
                self._failure = self._failure or StorageFailed("the database is closed")
                for job in self._reads:
                    self._finish(job.future, None, self._failure)
                self._finish(self._over, None, None)

    def _between(self, tables: Tables) -> None:
        """What is done between two pieces of a copy: all that has come, and a piece of a read."""
        if not self._take_jobs(tables, wait=False):
            self._jobs.put(None)  # once more, for who waits for the next job
            raise BackupFailed("the broker is stopping")
        if self._reads:
            self._piece(tables)
        if self._failure is not None:
            raise BackupFailed("the broker's own storage failed") from self._failure

    def _take_jobs(self, tables: Tables, wait: bool) -> bool:
        """Do what has come, writes at once. False: stop."""
        while True:
            try:
                job = self._jobs.get(block=wait)
            except Empty:
                return True
            if job is None:
                return False
            wait = False
            if job.do is None:
                self._reads.append(job)
            else:
                self._guard(job.future, partial(job.do, tables))

    def _piece(self, tables: Tables) -> None:
        """Some milliseconds of the read that has waited longest."""
        job = self._reads.popleft()
        until = perf_counter() + PIECE

        def advance() -> Any:
            if job.pieces is None:
                assert job.read is not None
                job.pieces = job.read(tables)
            while perf_counter() < until:
                try:
                    next(job.pieces)
                except StopIteration as end:
                    return end.value
            self._reads.append(job)
            return _UNDER_WAY

        self._guard(job.future, advance)

    def _guard(self, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        """Fail-stop: after the first error nothing is tried again, since what the file holds is not known any more."""
        if self._failure is not None:
            self._finish(future, None, self._failure)
            return
        try:
            result = call()
        except (BlobDamaged, BackupFailed) as error:  # of one value, or of a copy: what the file holds is as sound as before
            self._finish(future, None, error)
            return
        except Exception as error:
            self._finish(future, None, self._fail(error))
            return
        if result is not _UNDER_WAY:
            self._finish(future, result, None)

    def _fail(self, error: Exception) -> StorageFailed:
        self._failure = StorageFailed(f"{self._file}: {error}")
        self._failure.__cause__ = error
        return self._failure

    def _finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._done.append((future, result, error))
        if not self._delivering:
            self._delivering = True
            self._loop.call_soon_threadsafe(self._deliver)

    # -- on the loop

    def _deliver(self) -> None:
        self._delivering = False  # before the queue is emptied: what comes later asks for another delivery
        while self._done:
            future, result, error = self._done.popleft()
            self._under_way -= 1
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)


_UNDER_WAY: Final = object()
