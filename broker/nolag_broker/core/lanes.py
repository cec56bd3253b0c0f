"""Concurrency keys: of the tasks that share one, at most so many run; the others are parked and let through in order."""

from __future__ import annotations

from collections import Counter
from heapq import heapify, heappop, heappush

from ..wire.codec import pack
from .entity import Entity
from .task import Task


class Lane(Entity):
    """The tasks of one concurrency key.

    Which one may go is a function of which are here and which run, never of how they came: a room loaded again decides
    alike. So a task of higher priority that arrives while another only waits for a worker goes first, and where tasks of a key
    name different limits the lowest counts.

    One at a time waits for a worker, on behalf of all. It stands among the others of its priority as if it had come when the
    lane was last served, so that a key with many tasks takes turns with the others and does not keep them waiting. For that
    the lane has a row, from the first turn that leaves somebody behind.
    """

    __slots__ = ("_heap", "_limits", "_parked", "admitted", "members", "name", "running", "turn")

    def __init__(self, name: str, turn: int = 0) -> None:
        self.stored = False
        self.name = name
        self.turn = turn  # the sequence of the last hand-out that left others behind
        self.members = 0  # tasks that have not ended, delayed ones too
        self.running = 0
        self.admitted: Task | None = None  # the one that waits for a worker
        self._parked = 0  # the admitted one among them
        self._limits: Counter[int] = Counter()
        self._heap: list[tuple[int, int, Task]] = []

    @property
    def key(self) -> str:
        return "lane/" + self.name

    def head(self) -> bytes | None:
        if not self.members or not self.turn:
            return None
        row: bytes = pack((self.name, self.turn))
        return row

    def join(self, task: Task) -> None:
        """The task has this key and has not ended."""
        self.members += 1
        self._limits[task.concurrency_limit] += 1

    def leave(self, task: Task) -> None:
        self.members -= 1
        self._limits[task.concurrency_limit] -= 1
        if not self._limits[task.concurrency_limit]:
            del self._limits[task.concurrency_limit]

    def add(self, task: Task) -> None:
        """The task may go when its turn comes."""
        task.lane = self
        self._parked += 1
        heappush(self._heap, (-task.priority, task.seq, task))

    def remove(self, task: Task) -> None:
        task.lane = None
        self._parked -= 1
        if self.admitted is task:
            self.admitted = None
        if len(self._heap) > 2 * self._parked + 64:
            self._heap = [(-there.priority, there.seq, there) for there in {entry[2] for entry in self._heap} if there.lane is self]
            heapify(self._heap)

    def next(self) -> Task | None:
        """The one that may go now, if any."""
        if self.running >= min(self._limits, default=1):
            return None
        while self._heap and self._heap[0][2].lane is not self:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None
