"""The memory engine: lists and dicts, for tests and throw-away notebooks. What it holds ends with the process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.event import Event
from ..core.turn import Turn
from .base import RoomImage, SequenceConflict, StorageFailed
from .keys import KeyRange


@dataclass(slots=True)
class _Stored:
    epoch: str
    events: list[Event] = field(default_factory=list)  # the event with sequence n is at n - 1
    heads: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # of records, sorted


class MemoryEngine:
    """See `Engine` for the guarantees; `durability` is `process`."""

    durability = "process"

    def __init__(self) -> None:
        self._rooms: dict[str, _Stored] = {}
        self._open = False

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def rooms(self) -> dict[str, int]:
        self._check()
        return {name: len(stored.events) for name, stored in self._rooms.items()}

    async def load(self, room: str) -> RoomImage | None:
        self._check()
        stored = self._rooms.get(room)
        return None if stored is None else RoomImage(room, stored.epoch, len(stored.events), 1, dict(stored.heads))

    async def create(self, room: str, epoch: str) -> None:
        self._check()
        self._rooms.setdefault(room, _Stored(epoch))

    async def commit(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None]:
        self._check()
        return [self._commit(room, turn) for room, turn in turns]

    def _commit(self, room: str, turn: Turn) -> SequenceConflict | None:
        stored = self._rooms.get(room)
        if stored is None or len(stored.events) != turn.expected_sequence:
            return SequenceConflict(f"room {room!r} does not end at {turn.expected_sequence}")
        stored.events.extend(turn.events)
        for key, value in turn.heads.items():
            if value is None:
                stored.heads.pop(key, None)
            else:
                stored.heads[key] = value
        for prefix in turn.deleted_prefixes:
            start, end = _span(stored.keys, KeyRange.of(prefix))
            for key in stored.keys[start:end]:
                del stored.records[key]
            del stored.keys[start:end]
        for key, value in turn.records.items():
            if value is not None:
                if key not in stored.records:
                    insort(stored.keys, key)
                stored.records[key] = value
            elif stored.records.pop(key, None) is not None:
                del stored.keys[bisect_left(stored.keys, key)]
        return None

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Event]:
        self._check()
        found: list[Event] = []
        size = 0
        for event in self._room_events(room)[after : after + limit]:
            found.append(event)
            size += len(event.encoded)
            if size >= max_bytes:
                break
        return found

    async def bodies(self, room: str, sequences: Sequence[int]) -> dict[int, tuple[bytes | None, str | None]]:
        self._check()
        events = self._room_events(room)
        return {seq: (events[seq - 1].body, events[seq - 1].ct) for seq in sequences if 0 < seq <= len(events)}

    async def records(self, room: str, keys: Sequence[str]) -> dict[str, bytes]:
        self._check()
        stored = self._rooms.get(room)
        return {} if stored is None else {key: stored.records[key] for key in keys if key in stored.records}

    async def scan(
        self,
        room: str,
        prefix: str,
        *,
        after: str | None = None,
        before: str | None = None,
        reverse: bool = False,
        limit: int = 100,
        bodies: bool = True,
        max_bytes: int = 16 << 20,
    ) -> list[tuple[str, bytes | None]]:
        self._check()
        stored = self._rooms.get(room)
        if stored is None:
            return []
        start, end = _span(stored.keys, KeyRange.of(prefix, after, before))
        keys = stored.keys[max(start, end - limit) : end][::-1] if reverse else stored.keys[start : min(end, start + limit)]
        if not bodies:
            return [(key, None) for key in keys]
        found: list[tuple[str, bytes | None]] = []
        size = 0
        for key in keys:
            found.append((key, stored.records[key]))
            size += len(stored.records[key])
            if size >= max_bytes:
                break
        return found

    def _room_events(self, room: str) -> list[Event]:
        stored = self._rooms.get(room)
        return [] if stored is None else stored.events

    def _check(self) -> None:
        if not self._open:
            raise StorageFailed("the memory engine is closed")


def _span(keys: list[str], wanted: KeyRange) -> tuple[int, int]:
    start = bisect_left(keys, wanted.low)
    end = len(keys) if wanted.high is None else bisect_left(keys, wanted.high)
    return start, max(start, end)
