"""Time that costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Everything waits, and no timer will ever wake anything."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without I/O: when nothing is ready, its clock jumps to the next timer.

    Timers of the same moment run in no promised order, as on every loop; what runs is decided by the program alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = self  # what `BaseEventLoop` asks for I/O

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise Stuck
        self._now += timeout
        return ()

    def _process_events(self, events: tuple[()]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in `select`."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine with all of its waiting skipped. `asyncio.sleep(86400)` returns at once, and `loop.time()` is a day later.

    For code of one thread without sockets. What is still running at the end is cancelled.

    Raises:
        Stuck: it waits for something that no timer brings.
    """
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        while rest := asyncio.all_tasks(loop):
            for task in rest:
                task.cancel()
            loop.run_until_complete(asyncio.wait(rest))
        loop.close()
