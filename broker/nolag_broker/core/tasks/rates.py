"""Rate keys: of the tasks that share one, at most so many are handed out in any span of so many seconds."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Mapping

import msgpack

from ...wire.codec import pack
from ..entity import Entity
from ..timers import EARLY, Timer, Timers
from .lines import Line
from .task import Task

Requirement = tuple[str, str, frozenset[str]]


class Rate(Entity):
    """The tasks of one rate key, and when the last ones were handed out. Every attempt counts.

    They stand in one line for each thing that they require of a worker: what nobody serves keeps nobody else waiting. The row
    outlives the tasks for as long as those moments count, so that neither a restart nor a key that was empty for a while grants
    a fresh span. The limit that was named last holds for all.
    """

    __slots__ = ("_starts", "limit", "lines", "members", "name", "period", "timer", "vacant")

    def __init__(self, name: str, limit: int, period: float, starts: list[float] | None = None) -> None:
        self.stored = False
        self.name = name
        self.limit = limit
        self.period = period
        self.lines: dict[Requirement, Line[Rate]] = {}
        self.members = 0  # tasks that have not ended, delayed ones too
        self.timer: Timer | None = None  # set while a task waits: when the next one may start
        self.vacant: Timer | None = None  # set while no task has this key: when its last start no longer counts
        self._starts: list[float] = starts or []  # rising; what is too old is dropped when another is added

    @property
    def key(self) -> str:
        return "rate/" + self.name

    def head(self) -> bytes | None:
        if not self.members and self.vacant is None:
            return None
        row: bytes = pack((self.name, self.limit, self.period, self._starts))
        return row

    def add(self, task: Task) -> Line[Rate]:
        """The task may be handed out when its turn comes."""
        requirement = (task.kind, task.type, task.capabilities)
        line = self.lines.get(requirement)
        if line is None:
            line = self.lines[requirement] = Line(self)
        task.rate = line
        line.add(task)
        return line

    def remove(self, task: Task) -> None:
        assert task.rate is not None
        line, task.rate = task.rate, None
        line.remove(task)
        if not line.count:
            del self.lines[task.kind, task.type, task.capabilities]

    def started(self, wall: float) -> None:
        """A task of this key was handed out."""
        del self._starts[self._counting(wall) :]
        del self._starts[: bisect_right(self._starts, wall + EARLY, key=self._until)]
        insort(self._starts, wall)

    def free(self, wall: float) -> bool:
        return self.free_at(wall) <= wall + EARLY

    def free_at(self, wall: float) -> float:
        """When the next one may go; 0: now."""
        counting = self._counting(wall)
        return self._until(self._starts[counting - self.limit]) if counting >= self.limit else 0.0

    def _counting(self, wall: float) -> int:
        """How many of the moments count, or counted: not those which a clock that was set back will show in more than a span from now."""
        return bisect_right(self._starts, wall + self.period)

    def _until(self, start: float) -> float:
        return start + self.period + EARLY  # a timer may ring early, but a start must not be

    def empty_at(self) -> float:
        return self._until(self._starts[-1]) if self._starts else 0.0


class Rates:
    """The rate keys of a room, for as long as somebody belongs to them or their moments count."""

    def __init__(self, touch: Callable[[Entity], None]) -> None:
        self._touch = touch
        self._by_name: dict[str, Rate] = {}
        self._vacant = Timers()  # driven by the times of events, so that the rows can be folded from the log alone

    # The task has a rate key and is in this room.

    def of(self, task: Task) -> Rate:
        assert task.rate_key is not None
        return self._by_name[task.rate_key]

    def full(self, name: str, bound: int, wall: float) -> bool:
        """Whether another rate key would be one too many."""
        if name in self._by_name or len(self._by_name) < bound:
            return False
        gone = self._vacant.next()  # the next dispatch drops it, if its time has come
        return gone is None or gone > wall + EARLY

    def enter(self, task: Task) -> None:
        """The task has not ended."""
        assert task.rate_key is not None
        assert task.rate_limit is not None
        rate = self._by_name.get(task.rate_key)
        if rate is None:
            rate = self._by_name[task.rate_key] = Rate(task.rate_key, *task.rate_limit)
            self._touch(rate)
        rate.members += 1
        self._vacant.cancel(rate.vacant)
        rate.vacant = None

    def name_limit(self, task: Task, time: float) -> None:
        """The task is dispatched: its limit is the one that holds now."""
        rate = self.of(task)
        assert task.rate_limit is not None
        if (rate.limit, rate.period) != task.rate_limit:
            rate.limit, rate.period = task.rate_limit
            self._touch(rate)
        self._vacant.run(time + EARLY)

    def started(self, task: Task, time: float) -> None:
        """The task is handed out."""
        rate = self.of(task)
        rate.started(time)
        self._touch(rate)

    def leave(self, task: Task, time: float) -> None:
        """The task ends."""
        rate = self.of(task)
        rate.members -= 1
        if not rate.members:
            self._leave_vacant(rate)
            self._vacant.run(time + EARLY)

    def _leave_vacant(self, rate: Rate) -> None:
        rate.vacant = self._vacant.at(rate.empty_at(), self._drop, rate)

    def _drop(self, rate: Rate) -> None:
        rate.vacant = None
        del self._by_name[rate.name]
        self._touch(rate)

    def load(self, rows: Mapping[str, bytes]) -> None:
        """From the rows; before the tasks."""
        for key, row in rows.items():
            if key.startswith("rate/"):
                rate = Rate(*msgpack.unpackb(row))
                rate.stored = True
                self._by_name[rate.name] = rate
                self._leave_vacant(rate)
