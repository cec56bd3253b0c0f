"""What a worker says of its progress, on its way to the loop of whoever wants to hear it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..client.body import decode
from ..client.follow import Progress
from ..client.io import AT_ONCE, hand_back
from ..client.stream import LIMIT, OVERHEAD

log = logging.getLogger("langgraph_nolag")


class Telling:
    """Filled on the I/O thread. A loop that is busy is told later; of what waits for it beyond a bound, the oldest is left out, and the log
    says so: what comes last says most.
    """

    def __init__(self, on_progress: Callable[[Any], object], loop: asyncio.AbstractEventLoop) -> None:
        self._on_progress = on_progress
        self._loop = loop
        self._waiting: deque[Progress] = deque()
        self._size = 0
        self._lock = threading.Lock()  # for what waits
        self._awake = False  # the loop will look
        self._told = (0, 0)  # attempt, and n within it

    def put(self, progress: Progress) -> None:
        if progress.body is None:  # only a gap: the next one shows it
            return
        with self._lock:
            self._waiting.append(progress)
            self._size += _size(progress)
            while self._size > LIMIT and len(self._waiting) > 1:
                self._size -= _size(self._waiting.popleft())
            wakes, self._awake = not self._awake, True
        if wakes:
            hand_back(self._loop, self._tell_some)

    def catch_up(self) -> None:
        """Tell all that came by now, if this is the loop."""
        if asyncio.get_running_loop() is self._loop:
            while self._tell_one():
                pass

    def _tell_some(self) -> None:
        for _ in range(AT_ONCE):
            if not self._tell_one():
                return
        hand_back(self._loop, self._tell_some)

    def _tell_one(self) -> bool:
        with self._lock:
            if not self._waiting:
                self._awake = False
                return False
            progress = self._waiting.popleft()
            self._size -= _size(progress)
        attempt, n = self._told
        first = n + 1 if attempt == progress.attempt else 1
        if progress.n > first:
            log.warning("progress %d to %d of task %s is left out", first, progress.n - 1, progress.task)
        self._told = progress.attempt, progress.n
        try:
            self._on_progress(decode(progress.body, progress.ct))
        except Exception:
            log.exception("on_progress of task %s failed", progress.task)
        return True


def _size(progress: Progress) -> int:
    return OVERHEAD + len(progress.body or b"")
