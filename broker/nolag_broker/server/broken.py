"""Rooms that a defect broke. Each is loaded again from its rows, a few times; one that breaks all the same rests, and is tried again later.

So nothing is ever served from a state that may be wrong, and a room that can't go on takes no other with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..wire.codes import Refusal

MOST: Final = 3  # times that a room may break within the span; the last time it is given a rest
SPAN: Final = 60.0  # seconds
REST: Final = 60.0  # seconds


class Broken:
    """Args:
    load: called with a room that is to be loaded, soon after it broke or when it has rested.
    """

    def __init__(self, load: Callable[[str], None]) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._times: dict[str, list[float]] = {}
        self._resting: dict[str, Refusal] = {}
        self._timers: dict[str, asyncio.Handle] = {}

    def add(self, room: str, error: Exception) -> None:
        """It broke while it was decided in."""
        now = self._loop.time()
        times = [at for at in self._times.get(room, ()) if now - at < SPAN]
        if len(times) + 1 < MOST:
            self._times[room] = [*times, now]
            self._timers[room] = self._loop.call_soon(self._again, room)
        else:
            self.rest(room, error)

    def rest(self, room: str, error: Exception) -> Refusal:
        """It can't be loaded, or breaks whenever it is; what everybody is told who asks for it."""
        self._times.pop(room, None)
        why = f"a defect of the broker, or its rows are damaged: {type(error).__name__}"
        refusal = Refusal("internal", f"the room {room!r} can't go on ({why}); it is tried again every {REST:g} s", maybe_applied=True)
        self._resting[room] = refusal
        self._timers[room] = self._loop.call_later(REST, self._again, room)
        return refusal

    def refusal(self, room: str) -> Refusal | None:
        """Why nothing can be asked of this room now."""
        return self._resting.get(room)

    def _again(self, room: str) -> None:
        self._timers.pop(room, None)
        self._resting.pop(room, None)
        self._load(room)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
