"""Ctrl-C while nodes of a graph run elsewhere.

Only the main thread hears of it, and LangGraph then waits for the threads in which the other nodes are. Those here wait for workers, which
nobody can interrupt, and perhaps for one that never comes. So the nodes are told first.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interruption:
    """Ends the nodes of a run, and of the graphs inside it, that wait. Takes no lock: a signal handler may come at any moment."""

    def __init__(self) -> None:
        self._watchers: dict[int, Callable[[], None]] = {}

    def watch(self, number: int, on_interrupt: Callable[[], None]) -> None:
        self._watchers[number] = on_interrupt

    def unwatch(self, number: int) -> None:
        self._watchers.pop(number, None)

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Inside the block Ctrl-C ends the nodes, then does what it always does. Nothing else where somebody else handles it already, or in
        a thread that does not get to know."""
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def interrupted(number: int, frame: Any) -> None:
            for watcher in list(self._watchers.values()):
                watcher()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGINT) is interrupted and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
