"""The timer of whoever judges silence.

A process that was stopped, or whose event loop waited for a disk, finds its timers due before it has read what came meanwhile: judged
then, everybody would have been silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

ROUNDS: Final = 3  # turns of the loop: each reads the sockets and then runs what was called; the last is for tasks that were woken


class Hearing:
    """Calls `judge` once, when it is time, with a moment up to which everybody was heard: everything that had come by then was read."""

    def __init__(self, when: float, judge: Callable[[float], object]) -> None:
        """`when`: on the loop's clock."""
        self.when = when
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        self._hear(self._loop.time(), ROUNDS)

    def _hear(self, moment: float, rounds: int) -> None:
        if rounds:
            self._next = self._loop.call_soon(self._hear, moment, rounds - 1)
        else:
            self._judge(moment)

    def cancel(self) -> None:
        self._next.cancel()
