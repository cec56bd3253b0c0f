"""Concurrency keys: of the tasks that share one, at most one runs; the others are parked and let through in order."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from .task import Task


class Lane:
    """The tasks of one concurrency key.

    Which one may go is a function of which are here and which runs, never of how they came: a room loaded again decides
    alike. So a task of higher priority that arrives while another only waits for a worker goes first.
    """

    __slots__ = ("_heap", "admitted", "key", "live", "running")

    def __init__(self, key: str) -> None:
        self.key = key
        self.running: Task | None = None
        self.admitted: Task | None = None  # the one that waits for a worker, on behalf of all
        self.live = 0
        self._heap: list[tuple[int, int, Task]] = []

    def add(self, task: Task) -> None:
        task.lane = self
        self.live += 1
        heappush(self._heap, (-task.priority, task.seq, task))

    def remove(self, task: Task) -> None:
        task.lane = None
        self.live -= 1
        if self.admitted is task:
            self.admitted = None
        if len(self._heap) > 2 * self.live + 64:
            self._heap = [(*there.rank, there) for there in {entry[2] for entry in self._heap} if there.lane is self]
            heapify(self._heap)

    def next(self) -> Task | None:
        """The one that may go now, if any."""
        if self.running is not None:
            return None
        while self._heap and self._heap[0][2].lane is not self:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    @property
    def empty(self) -> bool:
        return self.running is None and not self.live
