"""A disk that a crash takes back to what was synced, and the engine on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy, deepcopy
from dataclasses import fields
from random import Random
from typing import Final, TypeVar

from nolag_broker.core.event import Event
from nolag_broker.core.turn import ScanAt, Turn
from nolag_broker.engine.base import MAX_SCAN, UNBOUNDED, RoomImage, SequenceConflict, StorageFailed
from nolag_broker.engine.blobs import Name, Spare
from nolag_broker.engine.memory import MemoryEngine

AT_ONCE: Final = 0.2  # of the commits

T = TypeVar("T")
Stored = Callable[[str, Turn], None]


class _Store(MemoryEngine):
    """Rows in memory, applied at once."""

    def __init__(self) -> None:
        super().__init__()
        self._open = True

    def apply(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None]:
        return [self._commit(room, turn) for room, turn in turns]

    def holds(self, room: str, hash: bytes) -> bool:
        return room in self._blobs and hash in self._blobs[room].held

    def readable(self, room: str) -> list[Event]:
        stored = self._rooms.get(room)
        return [] if stored is None else [*stored.pinned.values(), *stored.events]

    def copied(self) -> _Store:
        other = _Store()
        for name, stored in self._rooms.items():
            other._rooms[name] = twin = copy(stored)
            for field in fields(stored):
                setattr(twin, field.name, copy(getattr(stored, field.name)))
        other._blobs, other._last_blob = deepcopy(self._blobs), self._last_blob
        return other

    def image(self, room: str) -> RoomImage | None:
        stored = self._rooms.get(room)
        return None if stored is None else RoomImage(room, stored.epoch, stored.last, stored.folded, stored.first, dict(stored.heads))


class Disk:
    """Outlives the processes. What is written is read at once; what is not synced is gone after a crash.

    Args:
        stored: called for each turn that was synced.
    """

    def __init__(self, stored: Stored = lambda room, turn: None) -> None:
        self.written = _Store()
        self.synced = _Store()
        self._unsynced: list[tuple[str, Turn]] = []
        self._stored = stored

    def write(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None]:
        conflicts = self.written.apply(turns)
        self._unsynced.extend(turn for turn, conflict in zip(turns, conflicts, strict=True) if conflict is None)
        return conflicts

    def sync(self) -> None:
        turns, self._unsynced = self._unsynced, []
        self.synced.apply(turns)
        for room, turn in turns:
            self._stored(room, turn)

    def crash(self) -> int:
        """The number of turns that are lost."""
        lost, self._unsynced = len(self._unsynced), []
        if lost:
            self.written = self.synced.copied()
        return lost


class Weather:
    """How fast and how faithful a disk is, from one moment to the next; faults change it."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.slow = 1.0  # times the usual latency
        self.fails_next: str | None = None  # `before` or `after` the commit is on disk
        self.lost_commits = 0
        self.unsaid_commits = 0
        self.trims = 0

    def wait(self, typical: float) -> float:
        return self.slow * self.chance.expovariate(1 / typical)


class SimulatedEngine:
    """See `Engine` for the guarantees. One per life of a broker process; `alive` ends with it."""

    durability = "disk"
    write_takes, sync_takes, read_takes = 0.005, 0.02, 0.002  # seconds, usually

    def __init__(self, disk: Disk, weather: Weather) -> None:
        self.disk = disk
        self.weather = weather
        self.alive = True

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None]:
        weather = self.weather
        weather.lost_commits += 1
        await self._io(self.write_takes)
        fails, weather.fails_next = weather.fails_next, None
        if fails == "before":
            raise StorageFailed("no space left")
        await self._io(self.sync_takes)
        conflicts = self.disk.write(turns)
        self.disk.sync()
        weather.lost_commits -= 1
        weather.unsaid_commits += 1
        if fails == "after":
            raise StorageFailed("the sync failed, or did it?")
        await self._io(self.write_takes)
        weather.unsaid_commits -= 1
        return conflicts

    def commit_at_once(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None] | None:
        weather = self.weather
        if not self.alive or weather.chance.random() > AT_ONCE:
            return None
        fails, weather.fails_next = weather.fails_next, None
        if fails == "before":
            raise StorageFailed("no space left")
        conflicts = self.disk.write(turns)
        self.disk.sync()
        if fails == "after":
            raise StorageFailed("the sync failed, or did it?")
        return conflicts

    async def _io(self, typical: float) -> None:
        await asyncio.sleep(self.weather.wait(typical))
        if not self.alive:
            raise StorageFailed("the process is gone")

    async def _read(self) -> _Store:
        await self._io(self.read_takes)
        return self.disk.written

    async def rooms(self) -> dict[str, int]:
        return await (await self._read()).rooms()

    async def rooms_with(self, prefix: str) -> list[str]:
        return await (await self._read()).rooms_with(prefix)

    async def load(self, room: str) -> RoomImage | None:
        return await (await self._read()).load(room)

    async def create(self, room: str, epoch: str) -> None:
        store = await self._read()
        await store.create(room, epoch)
        await self.disk.synced.create(room, epoch)

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Event]:
        return await (await self._read()).events(room, after, limit, max_bytes)

    async def bodies(self, room: str, sequences: Sequence[int], max_bytes: int = UNBOUNDED) -> dict[int, tuple[bytes | None, str | None]]:
        return await (await self._read()).bodies(room, sequences, max_bytes)

    async def floor(self, room: str, max_bytes: int) -> int:
        return await (await self._read()).floor(room, max_bytes)

    async def trim(self, room: str, floor: int, pinned: Sequence[int]) -> None:
        await (await self._read()).trim(room, floor, pinned)
        await self.disk.synced.trim(room, floor, pinned)
        self.weather.trims += 1

    async def sweep(self, room: str, prefix: str) -> None:
        await (await self._read()).sweep(room, prefix)
        await self.disk.synced.sweep(room, prefix)

    async def records(self, room: str, keys: Sequence[str], max_bytes: int = UNBOUNDED) -> dict[str, bytes]:
        return await (await self._read()).records(room, keys, max_bytes)

    def records_at_once(self, room: str, keys: Sequence[str]) -> dict[str, bytes] | None:
        return None

    def scan_at_once(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]] | None:
        return None

    async def scan(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]]:
        return await (await self._read()).scan(room, scan, max_bytes)

    async def begin_blob(self, room: str) -> int:
        return await self._both(lambda store: store.begin_blob(room))

    async def add_piece(self, blob: int, number: int, piece: bytes, name: Name | None = None) -> bool:
        return await self._both(lambda store: store.add_piece(blob, number, piece, name))

    async def drop_blob(self, blob: int) -> None:
        await self._both(lambda store: store.drop_blob(blob))

    async def blob_size(self, room: str, hash: bytes) -> int | None:
        return await (await self._read()).blob_size(room, hash)

    async def piece(self, room: str, hash: bytes, number: int) -> bytes | None:
        return await (await self._read()).piece(room, hash, number)

    async def values_floor(self, room: str, max_bytes: int) -> int:
        return await (await self._read()).values_floor(room, max_bytes)

    async def collect_blobs(self, spare: Spare) -> int:
        return await self._both(lambda store: store.collect_blobs(spare))

    async def _both(self, call: Callable[[_Store], Awaitable[T]]) -> T:
        """Written and synced in one."""
        done = await call(await self._read())
        await call(self.disk.synced)
        return done
