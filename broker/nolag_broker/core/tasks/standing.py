"""Where a task stands that nobody runs: waiting for a worker, delayed, or parked in a line of its concurrency key or its rate key.

That follows from the other tasks and from the time, so that it is neither logged nor stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lanes import Lane
from .lines import Line
from .matching import Market, Offer
from .rates import Rate, Rates
from .task import DELAYED, FAILED, PARKED, RUNNING, WAITING, Task

if TYPE_CHECKING:
    from ..room import Room


class Standing:
    """The tasks by their state, the lines they stand in, and the market for those whose turn has come."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.by_state: dict[str, dict[str, Task]] = {state: {} for state in (WAITING, DELAYED, PARKED, RUNNING, FAILED)}
        self.market = Market()
        self.rates = Rates(room.touch)
        self._lanes: dict[str, Lane] = {}
        self._unclaimed: dict[str, dict[Task, None]] = {}  # those that need a live server, by type, until one has them
        self._ready: dict[Task, None] = {}  # began to wait since the last `settle`; not in the market yet
        self._freed: list[Offer] = []  # have a free slot since the last `settle`

    def sharing(self, concurrency_key: str | None) -> list[Task]:
        """The tasks with this key that have not ended, oldest first."""
        lane = None if concurrency_key is None else self._lanes.get(concurrency_key)
        return [] if lane is None else sorted(lane.members.values(), key=lambda task: task.seq)

    def _set_state(self, task: Task, state: str) -> None:
        if task.state != state:
            by_state = self.by_state
            del by_state[task.state][task.id]
            task.state = state
            by_state[state][task.id] = task

    def _queue_or_delay(self, task: Task, wall: float | None = None) -> None:
        if task.due is not None and (wall is None or task.due > wall):
            self._set_state(task, DELAYED)
            task.due_timer = self._room.wall.at(task.due, self._came_due, task, task.seq)
        else:
            self._queue(task)

    def _queue(self, task: Task) -> None:
        if task.concurrency_key is None:
            self._pass_lane(task)
            return
        task.lane = line = self._lanes[task.concurrency_key].line
        self._set_state(task, PARKED)
        line.add(task)
        self._let_through(line)

    def _pass_lane(self, task: Task) -> None:
        """Its concurrency key, if it has one, lets the task go on."""
        if task.rate_key is None:
            self._wait(task)
            return
        rate = self.rates.of(task)
        self._set_state(task, PARKED)
        self._let_through(rate.add(task))
        self._wake_rate(rate)

    def _wait(self, task: Task) -> None:
        self._set_state(task, WAITING)
        self._ready[task] = None

    def _wait_no_more(self, task: Task) -> None:
        if task.queue is not None:
            self.market.remove(task)
        else:
            self._ready.pop(task, None)

    def _let_through(self, line: Line[Lane] | Line[Rate]) -> None:
        """Let the one task of the line go on whose turn it is."""
        following = line.next(self._room.env.wall)
        former, line.admitted = line.admitted, following
        if following is former:
            return
        if former is not None:
            self._wait_no_more(former)
            self._set_state(former, PARKED)
            if former.rate is not line:
                self._leave_rate(former)
        if following is not None:
            if following.rate is line:
                self._wait(following)
            else:
                self._pass_lane(following)

    def _leave_rate(self, task: Task) -> None:
        if (line := task.rate) is not None:
            line.of.remove(task)
            self._let_through(line)

    def _free_rate(self, task: Task) -> None:
        """Something of the task's rate changed: let others through, or no more."""
        self._rate_frees(self.rates.of(task))

    def _rate_frees(self, rate: Rate) -> None:
        for line in list(rate.lines.values()):
            self._let_through(line)
        self._wake_rate(rate)

    def _wake_rate(self, rate: Rate) -> None:
        """Come back when the rate is free again, if somebody waits for that."""
        monotonic, env = self._room.monotonic, self._room.env
        if not rate.lines or rate.free(env.wall):
            monotonic.cancel(rate.timer)
            return
        # A timer of the monotonic clock for a moment of the wall clock. Rounded, so that a room that is loaded again sets the same one.
        when = round(env.now + rate.free_at(env.wall) - env.wall, 3)
        if rate.timer is None or rate.timer.action is None or rate.timer.when != when:
            monotonic.cancel(rate.timer)
            rate.timer = monotonic.at(when, self._rate_frees, rate)

    def _unqueue(self, task: Task) -> None:
        """The task neither waits nor is delayed or parked any more; the lane and the rate it stood in have to let another through."""
        self._wait_no_more(task)
        if task.due_timer is not None:
            self._room.wall.cancel(task.due_timer)
            task.due_timer = None
        if task.require_live and (unclaimed := self._unclaimed.get(task.type)) is not None:
            unclaimed.pop(task, None)
            if not unclaimed:
                del self._unclaimed[task.type]
        if task.rate is not None:
            task.rate.of.remove(task)
        if (line := task.lane) is not None:
            task.lane = None
            line.remove(task)

    def _came_due(self, task: Task) -> None:
        task.due_timer = None
        self._queue(task)
