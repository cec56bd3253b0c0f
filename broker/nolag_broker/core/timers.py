"""What has to happen later: a heap of moments, each with what to do. Cancelling costs nothing and leaves nothing behind for long."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final

Action = Callable[[Any], None]
EARLY: Final = 0.001  # wall-clock moments may come this much early: a timer wakes by the other clock


class Timer:
    """One moment. `action` is None once it ran or was cancelled."""

    __slots__ = ("action", "target", "when")

    def __init__(self, when: float, action: Action, target: Any) -> None:
        self.when = when
        self.action: Action | None = action
        self.target = target


class Timers:
    """The timers of one clock."""

    __slots__ = ("_cancelled", "_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Timer]] = []
        self._numbers = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, when: float, action: Action, target: Any, order: int = 0) -> Timer:
        """Of what is due at the same moment, the lower `order` comes first: a room loaded again keeps to the order of the live one."""
        timer = Timer(when, action, target)
        heappush(self._heap, (when, order, next(self._numbers), timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        if timer is None or timer.action is None:
            return
        timer.action = timer.target = None
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[3].action is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next(self) -> float | None:
        while self._heap and self._heap[0][3].action is None:
            heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def run(self, until: float) -> None:
        """Carry out whatever is due, oldest first; what these put in for `until` or earlier too."""
        while (when := self.next()) is not None and when <= until:
            timer = heappop(self._heap)[3]
            action, target = timer.action, timer.target
            timer.action = timer.target = None
            assert action is not None
            action(target)
