"""How a process ends that is asked to: it hears of signals whatever its event loop waits for, and its end comes in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

SAID_WITHIN: Final = 0.5  # seconds
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class End:
    """The end of the process, whatever hangs. From any thread.

    Args:
        say: says why it is ended, told after how many seconds. It has half a second: nobody may read what is said.
    """

    def __init__(self, say: Callable[[float], object]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._watches: list[threading.Timer] = []
        self._given_up = False

    def within(self, seconds: float) -> None:
        """With code 1, unless it is `reached` before. The earliest counts."""
        watch = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._give_up, (seconds,))
        watch.daemon = True
        with self._lock:
            self._watches.append(watch)
        watch.start()

    def reached(self) -> None:
        with self._lock:
            for watch in self._watches:
                watch.cancel()

    def _give_up(self, seconds: float) -> None:
        with self._lock:
            if self._given_up:  # another one of us says it
                return
            self._given_up = True
        leave(1, lambda: self._say(seconds))


def leave(code: int, say: Callable[[], object]) -> None:
    """End the process at once, whatever its threads do, but for half a second to say the last words."""
    try:
        saying = threading.Thread(target=say, daemon=True)
        saying.start()
        saying.join(SAID_WITHIN)
    finally:
        os._exit(code)


@contextlib.contextmanager
def signals_taken(loop: asyncio.AbstractEventLoop, signalled: asyncio.Event, end: End, seconds: float) -> Iterator[None]:
    """The first signal sets `signalled`, and the process ends within so many seconds; a second one ends it at once. On the main thread.

    A thread hears of them: the loop may be waiting for a disk, for ever. The interpreter's own handler writes to the socket, on whichever
    thread the signal comes; where somebody else took that handler's socket (another loop on this thread), the main thread does it later.
    """
    heard, said = socket.socketpair()
    said.setblocking(False)
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        noted.append(number)
        with contextlib.suppress(OSError):
            said.send(b"\0")

    _before.update({number: signal.signal(number, note) for number in SIGNALS})
    woken_before = signal.set_wakeup_fd(said.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_take_signals, args=(heard, noted, loop, signalled, end, seconds), name="nolag-signals", daemon=True).start()
    try:
        yield
    finally:
        _give_back(woken_before)
        said.close()


_before: dict[signal.Signals, Any] = {}  # what handled the signals, while they are taken


def _give_back(wakeup: int = -1) -> None:
    """Also in a process that is forked off: the socket is its parent's, and would tell that of the child's signals."""
    if _before:
        signal.set_wakeup_fd(wakeup)
    while _before:
        signal.signal(*_before.popitem())


if hasattr(os, "register_at_fork"):  # a Unix
    os.register_at_fork(after_in_child=_give_back)


def _take_signals(
    heard: socket.socket, noted: list[int], loop: asyncio.AbstractEventLoop, signalled: asyncio.Event, end: End, seconds: float
) -> None:
    written: list[int] = []  # by the interpreter, as they come; what the main thread noted are the same ones, or those that were missed
    asked = False
    with heard:
        while number := heard.recv(1):
            if number[0] in SIGNALS:
                written.append(number[0])
            came = max(written, list(noted), key=len)
            if len(came) > 1:
                os._exit(128 + came[1])
            if came and not asked:
                asked = True
                end.within(seconds)
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    loop.call_soon_threadsafe(signalled.set)
