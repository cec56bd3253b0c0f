"""Bodies and rows that are not at hand, read from the engine for the frames that hold their place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Final, TypeVar

from ..core.turn import BodyAt, RecordAt, ScanAt
from ..engine.base import UNBOUNDED, Engine
from .bodies import BodyCache

FETCH_BYTES: Final = 32 << 20  # of what is fetched at once, and of an answer: one that needs more is refused
FETCH_AT_ONCE: Final = 16  # bodies or rows of one read
SCAN_BYTES: Final = 8 << 20  # of values in the answer to one scan
SCANS_AT_ONCE: Final = FETCH_BYTES // SCAN_BYTES

K = TypeVar("K")


class Fetcher:
    """`limit`: bytes of what is fetched at once, and of an answer."""

    def __init__(self, engine: Engine, cache: BodyCache, max_body: int) -> None:
        self.limit = max(FETCH_BYTES, 2 * max_body)  # what was accepted can be read
        self._engine = engine
        self._cache = cache

    async def fetch(self, room: str, frames: Sequence[dict[str, Any]], whole: bool) -> dict[Any, Any]:
        """The values of the placeholders in these frames, in order: all of them, or as many as `limit` bytes take; with `whole`, all of the
        first frame's, which can't be asked for again."""
        found: dict[Any, Any] = {}
        for part in _parts(_placeholders(frames[0]) if whole else ()):
            found.update(await self._read(room, part, UNBOUNDED))
        size = sum(map(_size, found.values()))
        for part in _parts(item for frame in frames for item in _placeholders(frame) if item not in found):
            if size >= self.limit:
                break
            read = await self._read(room, part, self.limit - size)
            found.update(read)
            size += sum(map(_size, read.values()))
        return found

    async def _read(self, room: str, part: list[Any], max_bytes: int) -> dict[Any, Any]:
        """What is of one kind, in order; no more once it reaches `max_bytes`. Scans are all read, each bounded by itself; `_parts` bounds
        how many those are."""
        if isinstance(part[0], ScanAt):
            # Handed over together: each alone would wait for the thread that reads, and for its way back.
            pages = await asyncio.gather(*(self._engine.scan(room, scan, SCAN_BYTES) for scan in part))
            return dict(zip(part, pages, strict=True))
        if isinstance(part[0], RecordAt):
            keys = [item.key for item in part]
            records = await self._engine.records(room, keys, max_bytes)
            return {RecordAt(key): records.get(key) for key in _looked_for(keys, records, max_bytes)}
        return await self._bodies(room, [item.seq for item in part], max_bytes)

    def fetch_at_once(self, room: str, frames: Iterable[dict[str, Any]]) -> dict[Any, Any] | None:
        """The same without waiting; None where that can't be, or is too much."""
        wanted = list(dict.fromkeys(placeholder for frame in frames for placeholder in _placeholders(frame)))
        if len(wanted) > FETCH_AT_ONCE:
            return None
        found: dict[Any, Any] = {}
        keys = []
        for item in wanted:
            if isinstance(item, RecordAt):
                keys.append(item.key)
                continue
            if isinstance(item, BodyAt):
                found[item] = self._cache.get(room, item.seq)
            else:
                found[item] = self._engine.scan_at_once(room, item, SCAN_BYTES)
            if found[item] is None:
                return None
        records = self._engine.records_at_once(room, keys)
        if records is None:
            return None
        found.update((RecordAt(key), records.get(key)) for key in keys)
        return found

    async def at(self, room: str, sequences: Sequence[int]) -> dict[int, bytes | None]:
        """The bodies of stored events: of all, or of as many of the first as `limit` bytes take (one at least)."""
        return {found.seq: body for found, body in (await self._bodies(room, sequences, self.limit)).items()}

    async def _bodies(self, room: str, sequences: Sequence[int], max_bytes: int) -> dict[BodyAt, bytes | None]:
        found = {seq: self._cache.get(room, seq) for seq in sequences}
        if missing := [seq for seq, body in found.items() if body is None]:
            stored = {seq: body for seq, (body, _) in (await self._engine.bodies(room, missing, max_bytes)).items()}
            for seq, body in stored.items():
                found[seq] = body
                if body is not None:
                    self._cache.put(room, seq, body)
            if left := missing[len(_looked_for(missing, stored, max_bytes)) :]:
                found = dict(islice(found.items(), list(found).index(left[0])))
        return {BodyAt(seq): body for seq, body in found.items()}


def _looked_for(asked: list[K], found: Mapping[K, bytes | None], max_bytes: int) -> list[K]:
    """Of what an engine was asked for, all that it looked for: it stops at the one with which `max_bytes` are reached."""
    if sum(map(_size, found.values())) < max_bytes:
        return asked
    return asked[: asked.index(list(found)[-1]) + 1]


def _parts(wanted: Iterable[Any]) -> Iterator[list[Any]]:
    """What is read together: of one kind, and not too much of it."""
    for kind, items in groupby(dict.fromkeys(wanted), type):
        at_once = SCANS_AT_ONCE if kind is ScanAt else FETCH_AT_ONCE
        while part := list(islice(items, at_once)):
            yield part


def _size(value: Any) -> int:
    if isinstance(value, list):  # of a scan
        return sum(len(body or b"") for _, body in value)
    return len(value or b"")


def _placeholders(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, (BodyAt, RecordAt, ScanAt)):
            yield item
