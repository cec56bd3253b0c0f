"""What tasks stand in until it is their turn: the first one may go on, on behalf of all; the others are parked."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from .task import Task


class Scarce(Protocol):
    """What those in a line share."""

    def free(self, wall: float) -> bool:
        """Whether one more may have it now."""


S = TypeVar("S", bound=Scarce)


class Line(Generic[S]):
    """Tasks that share something scarce, the highest priority first, then the oldest.

    Which one may go on is a function of which are here and of what is free, never of how they came: a room loaded again decides
    alike. So a task of higher priority that arrives while another only waits for a worker goes first.
    """

    __slots__ = ("_heap", "admitted", "count", "of")

    def __init__(self, of: S) -> None:
        self.of = of
        self.admitted: Task | None = None  # the one that may go on
        self.count = 0  # the admitted one among them
        self._heap: list[tuple[int, int, Task]] = []

    def add(self, task: Task) -> None:
        self.count += 1
        heappush(self._heap, (-task.priority, task.seq, task))

    def remove(self, task: Task) -> None:
        """The task does not stand here any more, as its own fields say already."""
        self.count -= 1
        if self.admitted is task:
            self.admitted = None
        if len(self._heap) > 2 * self.count + 64:
            self._heap = [(-there.priority, there.seq, there) for there in {entry[2] for entry in self._heap} if self._holds(there)]
            heapify(self._heap)

    def next(self, wall: float) -> Task | None:
        """The one that may go on now, if any."""
        if not self.of.free(wall):
            return None
        while self._heap and not self._holds(self._heap[0][2]):
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def _holds(self, task: Task) -> bool:
        return task.lane is self or task.rate is self
