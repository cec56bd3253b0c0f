"""One timer for the deadlines of all rooms."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from .hearing import Hearing
from .hosted import HostedRoom

STALE: Final = 64  # entries that stand for nothing any more, before they are looked for


class Alarms:
    """Calls `ring` with every room whose time has come, and with the moment up to which everybody was heard. A deadline that moved away
    rings once for nothing; the room is then set again: that is cheaper than following every renewal of a lease."""

    def __init__(self, ring: Callable[[list[HostedRoom], float], None]) -> None:
        self._ring = ring
        self._heap: list[tuple[float, int, HostedRoom]] = []
        self._order = count()
        self._stale = 0  # entries that will ring for nothing, about
        self._timer: Hearing | None = None

    def set(self, hosted: HostedRoom) -> None:
        """Look at the room's next deadline, and ring then at the latest."""
        deadline = None if hosted.room is None else hosted.room.next_deadline()
        if deadline is None or (hosted.alarm is not None and hosted.alarm <= deadline):
            return
        self.forget(hosted)
        hosted.alarm = deadline
        heappush(self._heap, (deadline, next(self._order), hosted))
        if self._heap[0][2] is hosted:
            self._arm()

    def forget(self, hosted: HostedRoom) -> None:
        """Nothing is to ring for the room as it is."""
        if hosted.alarm is not None:
            hosted.alarm = None
            self._stale += 1
            if self._stale > STALE and 2 * self._stale > len(self._heap):
                live = {entry[2].name: entry for entry in self._heap if entry[2].alarm == entry[0]}
                self._heap = list(live.values())
                heapify(self._heap)
                self._stale = 0

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Hearing(self._heap[0][0], self._due) if self._heap else None

    def _due(self, heard: float) -> None:
        due: list[HostedRoom] = []
        while self._heap and self._heap[0][0] <= heard:
            deadline, _, hosted = heappop(self._heap)
            if hosted.alarm == deadline:
                hosted.alarm = None
                due.append(hosted)
            else:  # an earlier one was set, and rang
                self._stale -= 1
        self._timer = None
        self._arm()
        if due:
            self._ring(due, heard)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()
