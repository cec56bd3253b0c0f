"""Concurrency keys: of the tasks that share one, at most so many run."""

from __future__ import annotations

from collections import Counter

from ...wire.codec import pack
from ..entity import Entity
from .lines import Line
from .task import Task


class Lane(Entity):
    """The tasks of one concurrency key. Where they name different limits the lowest counts.

    The one that waits for a worker on behalf of all stands among the others of its priority as if it had come when the lane was
    last served, so that a key with many tasks takes turns with the others and does not keep them waiting. For that the lane has
    a row, from the first turn that leaves somebody behind.
    """

    __slots__ = ("_limits", "line", "members", "name", "running", "turn")

    def __init__(self, name: str, turn: int = 0) -> None:
        self.stored = False
        self.name = name
        self.turn = turn  # the sequence of the last hand-out that left others behind
        self.line = Line(self)
        self.members: dict[str, Task] = {}  # tasks that have not ended, delayed ones too
        self.running = 0
        self._limits: Counter[int] = Counter()

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
        self.members[task.id] = task
        self._limits[task.concurrency_limit] += 1

    def leave(self, task: Task) -> None:
        del self.members[task.id]
        self._limits[task.concurrency_limit] -= 1
        if not self._limits[task.concurrency_limit]:
            del self._limits[task.concurrency_limit]

    def free(self, wall: float) -> bool:
        return self.running < min(self._limits, default=1)
