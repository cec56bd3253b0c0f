"""Drops what is older than the rooms' policies, from time to time, and unloads rooms that nobody uses.

To trim costs a look at everything the room keeps beside its log: what lives, the ended tasks that are still remembered, and every
approval there was. So nothing happens until a bound is exceeded by an eighth; then the log is cut down to the bound.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ..core.limits import Policy
from ..core.retention import of_record
from ..core.room import Room
from ..core.turn import ScanAt
from ..engine.base import StorageFailed
from .hosted import HostedRoom
from .logs import get_logger, trace
from .moments import first_since

if TYPE_CHECKING:
    from .node import Node
    from .unloading import Unloading

log = get_logger("retention")

SLACK: Final = 8  # a bound may be exceeded by this part of it
AT_ONCE: Final = 1000  # living entities looked at before the loop gets a turn
PAGE: Final = 500  # records
STORED_WITHIN: Final = 60.0  # seconds; a room that stores nothing for so long is looked at next time


class Retention:
    """Looks at the rooms that are open: one that nobody has used since the start does not grow."""

    def __init__(self, node: Node, unloading: Unloading, every: float) -> None:
        self._node = node
        self._engine = node.engine
        self._unloading = unloading
        self._every = every
        self._oldest: dict[str, tuple[int, float]] = {}  # by room: the first sequence and its time
        self._small: dict[str, tuple[int, Policy]] = {}  # by room: the last sequence, when its log had few bytes for its policy
        self._swept: dict[str, int] = {}  # by room: the first period whose records are there

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            for hosted in self._node.rooms():
                if hosted.room is None:
                    continue
                try:
                    await self._look(hosted, hosted.room)
                except StorageFailed:
                    raise
                except Exception as error:  # a defect here must not stop rooms: nothing was dropped that is needed, only too much is kept
                    log.error("a log could not be trimmed", room=hosted.name, trace=trace(error))
            for room in self._unloading.look():  # here, where none of them is being trimmed
                for known in (self._oldest, self._small, self._swept):
                    known.pop(room, None)

    async def _look(self, hosted: HostedRoom, room: Room) -> None:
        feed = hosted.feed
        await self._sweep(hosted.name, room.retention.period)
        floor = await self._floor(hosted, room)
        if floor <= feed.first:
            return
        pinned = await self._pinned(hosted, room, floor)
        if pinned is None or hosted.room is not room:
            return
        log.info("the log is trimmed", room=hosted.name, first=floor, pinned=len(pinned))
        feed.first = floor  # before anything goes: a replay that is under way sees it and says so
        await self._engine.trim(hosted.name, floor, pinned)

    async def _sweep(self, name: str, period: int) -> None:
        """Drop the records of periods that nobody looks into any more."""
        if self._swept.get(name) == period:
            return
        after = None
        while page := await self._engine.scan(name, ScanAt("kept/", after, limit=1, bodies=False)):
            number = page[0][0].split("/")[1]
            if int(number) < period:
                await self._engine.sweep(name, f"kept/{number}/")
            after = f"kept/{number}0"  # the least key after all of them: 0 comes after /
        self._swept[name] = period

    async def _floor(self, hosted: HostedRoom, room: Room) -> int:
        """Where the log is to begin: the highest that a bound asks for."""
        name, policy, engine = hosted.name, room.retention.policy, self._engine
        first, last = hosted.feed.first, hosted.feed.through
        floor = first
        if policy.count is not None and last + 1 - first > policy.count + policy.count // SLACK:
            floor = last + 1 - policy.count
        if policy.bytes is not None and self._small.get(name) != (last, policy):  # an idle room costs nothing
            most = policy.bytes + policy.bytes // SLACK
            large = await engine.floor(name, most) > first, await engine.values_floor(name, most) > first
            if large[0]:
                floor = max(floor, await engine.floor(name, policy.bytes))
            if large[1]:
                floor = max(floor, await engine.values_floor(name, policy.bytes))
            if not any(large):
                self._small[name] = last, policy
        if policy.age is not None and first <= last:
            now = time.time()
            if await self._time_of_first(name, first) < now - policy.age * (1 + 1 / SLACK):
                floor = max(floor, await first_since(engine, name, first, last, now - policy.age))
        return min(floor, last + 1)

    async def _time_of_first(self, name: str, first: int) -> float:
        known = self._oldest.get(name)
        if known is None or known[0] != first:
            events = await self._engine.events(name, first - 1, 1)
            known = self._oldest[name] = first, events[0].time
        return known[1]

    async def _pinned(self, hosted: HostedRoom, room: Room, floor: int) -> list[int] | None:
        """The sequences below the floor that are still referred to, rising. None: it could not be found out."""
        pinned: set[int] = set()
        for number, seq in enumerate(room.retention.living()):
            if seq < floor:
                pinned.add(seq)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        # What ended while we looked is a record now, if anything is left of it; records are read as they are stored.
        try:
            async with asyncio.timeout(STORED_WITHIN):
                await self._node.behind.written(hosted)
        except TimeoutError:
            return None
        for prefix in room.retention.records():
            after = None
            while page := await self._engine.scan(hosted.name, ScanAt(prefix, after, limit=PAGE)):
                for key, value in page:
                    pinned.update(seq for seq in of_record(key, value or b"") if seq < floor)
                after = page[-1][0]
        return sorted(pinned)
