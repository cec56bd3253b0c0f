"""The memory engine: lists and dicts, for tests and throw-away notebooks. What it holds ends with the process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from ..core.event import Event
from ..core.turn import ScanAt, Turn
from .base import MAX_SCAN, UNBOUNDED, RoomImage, SequenceConflict, StorageFailed
from .keys import KeyRange
from .memory_blobs import MemoryBlobs

OVERHEAD: Final = 200  # bytes that an event counts beside its body


@dataclass(slots=True)
class _Stored:
    epoch: str
    folded: int = 0
    first: int = 1
    events: list[Event] = field(default_factory=list)  # the event with sequence n is at n - first
    pinned: dict[int, Event] = field(default_factory=dict)  # below `first`, rising
    size: int = 0  # of the events
    heads: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # of records, sorted

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1

    def after(self, sequence: int, limit: int) -> Iterator[Event]:
        if sequence + 1 < self.first:
            below = [event for seq, event in self.pinned.items() if seq > sequence]
            return islice(chain(below, self.events), limit)
        start = sequence + 1 - self.first
        return iter(self.events[start : start + limit])

    def at(self, sequence: int) -> Event | None:
        if self.first <= sequence <= self.last:
            return self.events[sequence - self.first]
        return self.pinned.get(sequence)

    def drop(self, keys: KeyRange) -> None:
        start, end = _span(self.keys, keys)
        for key in self.keys[start:end]:
            del self.records[key]
        del self.keys[start:end]


class MemoryEngine(MemoryBlobs):
    """See `Engine` for the guarantees; `durability` is `process`."""

    durability = "process"

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[str, _Stored] = {}
        self._open = False

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def rooms(self) -> dict[str, int]:
        self._check()
        return {name: stored.last for name, stored in self._rooms.items()}

    async def rooms_with(self, prefix: str) -> list[str]:
        self._check()
        rooms = self._rooms.items()
        return [name for name, room in rooms if room.folded < room.last or any(key.startswith(prefix) for key in room.heads)]

    async def load(self, room: str) -> RoomImage | None:
        self._check()
        stored = self._rooms.get(room)
        return None if stored is None else RoomImage(room, stored.epoch, stored.last, stored.folded, stored.first, dict(stored.heads))

    async def create(self, room: str, epoch: str) -> None:
        self._check()
        self._rooms.setdefault(room, _Stored(epoch))

    async def commit(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None]:
        self._check()
        return [self._commit(room, turn) for room, turn in turns]

    def commit_at_once(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None] | None:
        return None  # so that tests of what is said before a commit and after it need no disk

    def _commit(self, room: str, turn: Turn) -> SequenceConflict | None:
        stored = self._rooms.get(room)
        if stored is None or stored.last != turn.expected_sequence:
            return SequenceConflict(f"room {room!r} does not end at {turn.expected_sequence}")
        stored.events.extend(turn.events)
        self._refer(room, turn.events)
        stored.size += sum(map(_size, turn.events))
        for key, value in turn.heads.items():
            if value is None:
                stored.heads.pop(key, None)
            else:
                stored.heads[key] = value
        if turn.caught_up:
            stored.folded = turn.end
        for prefix in turn.deleted_prefixes:
            stored.drop(KeyRange.of(prefix))
        for key, value in turn.records.items():
            if value is not None:
                if key not in stored.records:
                    insort(stored.keys, key)
                stored.records[key] = value
            elif stored.records.pop(key, None) is not None:
                del stored.keys[bisect_left(stored.keys, key)]
        return None

    def _records_of(self, room: str) -> Iterable[bytes]:
        return self._rooms[room].records.values()

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Event]:
        self._check()
        found: list[Event] = []
        size = 0
        stored = self._rooms.get(room)
        for event in stored.after(after, limit) if stored is not None else ():
            found.append(event)
            size += len(event.encoded)
            if size >= max_bytes:
                break
        return found

    async def bodies(self, room: str, sequences: Sequence[int], max_bytes: int = UNBOUNDED) -> dict[int, tuple[bytes | None, str | None]]:
        self._check()
        found: dict[int, tuple[bytes | None, str | None]] = {}
        size = 0
        stored = self._rooms.get(room)
        for seq in sequences:
            if stored is not None and (event := stored.at(seq)) is not None:
                found[seq] = event.body, event.ct
                size += len(event.body or b"")
                if size >= max_bytes:
                    break
        return found

    async def floor(self, room: str, max_bytes: int) -> int:
        self._check()
        stored = self._rooms[room]
        sequence, size = stored.first, stored.size
        for event in stored.events:
            if size <= max_bytes:
                break
            size -= _size(event)
            sequence += 1
        return sequence

    async def trim(self, room: str, floor: int, pinned: Sequence[int]) -> None:
        self._check()
        stored = self._rooms[room]
        floor = min(floor, stored.folded + 1)
        stored.pinned = {seq: event for seq in pinned if seq < floor and (event := stored.at(seq)) is not None}
        count = max(0, floor - stored.first)
        stored.size -= sum(map(_size, stored.events[:count]))
        del stored.events[:count]
        stored.first += count
        self._release(room, floor, pinned)

    async def sweep(self, room: str, prefix: str) -> None:
        self._check()
        if (stored := self._rooms.get(room)) is not None:
            stored.drop(KeyRange.of(prefix))

    async def records(self, room: str, keys: Sequence[str], max_bytes: int = UNBOUNDED) -> dict[str, bytes]:
        self._check()
        found: dict[str, bytes] = {}
        size = 0
        stored = self._rooms.get(room)
        for key in keys:
            if stored is not None and (row := stored.records.get(key)) is not None:
                found[key] = row
                size += len(row)
                if size >= max_bytes:
                    break
        return found

    def records_at_once(self, room: str, keys: Sequence[str]) -> dict[str, bytes] | None:
        return None  # there is no waiting in `records`

    def scan_at_once(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]] | None:
        return None  # nor in `scan`

    async def scan(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]]:
        self._check()
        stored = self._rooms.get(room)
        if stored is None:
            return []
        start, end = _span(stored.keys, KeyRange.of(scan.prefix, scan.after, scan.before))
        if scan.reverse:
            keys = stored.keys[max(start, end - scan.limit) : end][::-1]
        else:
            keys = stored.keys[start : min(end, start + scan.limit)]
        if not scan.bodies:
            return [(key, None) for key in keys]
        found: list[tuple[str, bytes | None]] = []
        size = 0
        for key in keys:
            found.append((key, stored.records[key]))
            size += len(stored.records[key])
            if size >= max_bytes:
                break
        return found

    def _check(self) -> None:
        if not self._open:
            raise StorageFailed("the memory engine is closed")


def _size(event: Event) -> int:
    return OVERHEAD + len(event.body or b"")


def _span(keys: list[str], wanted: KeyRange) -> tuple[int, int]:
    start = bisect_left(keys, wanted.low)
    end = len(keys) if wanted.high is None else bisect_left(keys, wanted.high)
    return start, max(start, end)
