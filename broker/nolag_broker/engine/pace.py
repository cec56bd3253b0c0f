"""Whether a disk is quick enough to be waited for on the event loop. Pure: the moment is an argument."""

from __future__ import annotations

from collections import deque
from typing import Final

QUICK: Final = 0.002  # seconds of a commit: most take 0.2, the largest ones 1
SOME, OF = 4, 16  # of the last ones may take longer: where all processors are busy, a commit waits for one as well as for the disk
STALL: Final = 0.05  # but not as long as this
PAUSE, LONGEST = 0.25, 60.0  # seconds without another try after that; twice as long each time,
RECOVERED: Final = 100  # unless so many in a row were quick


class Pace:
    """Told how long each commit on the loop took."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._pause = PAUSE
        self._slow: deque[bool] = deque(maxlen=OF)
        self._in_a_row = 0  # that were quick

    def allows(self, now: float) -> bool:
        """Whether the next one may be made there."""
        return now >= self._not_before

    def took(self, seconds: float, now: float) -> None:
        slow = seconds > QUICK
        self._slow.append(slow)
        self._in_a_row = 0 if slow else self._in_a_row + 1
        if seconds > STALL or self._slow.count(True) > SOME:
            self._slow.clear()
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST)
        elif self._in_a_row >= RECOVERED:
            self._pause = PAUSE
