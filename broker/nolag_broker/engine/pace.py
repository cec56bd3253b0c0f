"""Whether a disk is quick enough to be waited for on the event loop. Pure: the moment is an argument."""

from __future__ import annotations

from typing import Final

QUICK: Final = 0.002  # seconds of a commit: most take 0.2, the largest ones 1
PAUSE, LONGEST = 0.25, 60.0  # seconds without another try after one that took longer; twice as long each time,
RECOVERED: Final = 100  # unless so many in a row were quick


class Pace:
    """Told how long each commit on the loop took."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._pause = PAUSE
        self._in_a_row = 0  # that were quick

    def allows(self, now: float) -> bool:
        """Whether the next one may be made there."""
        return now >= self._not_before

    def took(self, seconds: float, now: float) -> None:
        if seconds > QUICK:
            self._in_a_row = 0
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST)
            return
        self._in_a_row += 1
        if self._in_a_row == RECOVERED:
            self._pause = PAUSE
