"""Whether a disk is quick enough to be waited for on the event loop. Pure: the moment is an argument."""

from __future__ import annotations

from collections import deque
from typing import Final

QUICK: Final = 0.002  # seconds of a commit: most take 0.2, the largest ones 1
SOME, OF = 4, 16  # of the last ones may take longer: where all processors are busy, a commit waits for one as well as for the disk
IN_ALL: Final = OF * QUICK  # seconds of these
PAUSE, LONGEST = 0.25, 60.0  # seconds without another try after one that was too much; twice as long each time,
RECOVERED: Final = 100  # unless so many in a row were quick


class Pace:
    """Told how long each commit on the loop took."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._pause = PAUSE
        self._last: deque[float] = deque(maxlen=OF)
        self._in_a_row = 0  # that were quick

    def allows(self, now: float) -> bool:
        """Whether the next one may be made there."""
        return now >= self._not_before

    def took(self, seconds: float, now: float) -> None:
        slow = seconds > QUICK
        self._last.append(seconds)
        self._in_a_row = 0 if slow else self._in_a_row + 1
        if slow and (sum(took > QUICK for took in self._last) > SOME or sum(self._last) > IN_ALL):
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST)
        elif self._in_a_row >= RECOVERED:
            self._pause = PAUSE
