"""The broker as a process of its own: how the interpreter is set up for it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from ..engine.base import DatabaseInUse, DatabaseTooNew, StorageFailed
from ..settings import Settings
from .broker import Broker
from .errors import CannotStart
from .logs import to_stderr

EXIT_WITHIN: Final = 10.0  # seconds; of a process whose storage hangs
SAID_WITHIN: Final = 0.5  # seconds
OTHER_FILES: Final = 64  # open beside the connections
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings) -> int:
    """Run a broker until SIGTERM or SIGINT; the exit code: 0, or 1 when it could not start or could not go on. It ends within 10 seconds of
    the signal, as a rule within 5; a second signal ends it at once.

    The first line printed is `listening on ws://HOST:PORT`; logs and what went wrong go to stderr, one line each.
    """
    _fill_standard_files()
    to_stderr()
    _tune()
    _allow_files(settings.max_connections + OTHER_FILES)
    end = _End()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(settings, end))
    except (CannotStart, DatabaseInUse, DatabaseTooNew, StorageFailed) as error:
        _say(str(error))
        return 1
    finally:
        end.reached()


async def _run(settings: Settings, end: _End) -> int:
    signalled = asyncio.Event()
    with _signals_taken(asyncio.get_running_loop(), signalled, end):
        broker = Broker(settings)
        await broker.start()
        print(f"listening on {broker.url}", flush=True)  # noqa: T201 - the first line of the output is the address
        waiting = [asyncio.ensure_future(signalled.wait()), asyncio.ensure_future(broker.failed())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        end.within(EXIT_WITHIN)
        await broker.stop()
    if broker.failure is not None:
        _say(f"stopped: {broker.failure}")
        return 1
    return 0


@contextlib.contextmanager
def _signals_taken(loop: asyncio.AbstractEventLoop, signalled: asyncio.Event, end: _End) -> Iterator[None]:
    """The first signal stops the broker in good order, a second one ends the process. A thread hears of them: the loop may be waiting for a
    disk, for ever. The interpreter's own handler writes to the socket, on whichever thread the signal comes."""
    heard, said = socket.socketpair()
    said.setblocking(False)
    before = {number: signal.signal(number, _noted) for number in SIGNALS}
    woken_before = signal.set_wakeup_fd(said.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_take_signals, args=(heard, loop, signalled, end), name="nolag-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        said.close()


def _noted(number: int, frame: object) -> None:
    """It was written to the socket already."""


def _take_signals(heard: socket.socket, loop: asyncio.AbstractEventLoop, signalled: asyncio.Event, end: _End) -> None:
    with heard:
        if _next_signal(heard):
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(signalled.set)
            end.within(EXIT_WITHIN)
            if number := _next_signal(heard):
                os._exit(128 + number)


def _next_signal(heard: socket.socket) -> int | None:
    """One of ours; None: nothing more comes."""
    while number := heard.recv(1):
        if number[0] in SIGNALS:
            return number[0]
    return None


class _End:
    """The end of the process, in bounded time whatever hangs: what is acknowledged is on disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watch: threading.Timer | None = None

    def within(self, seconds: float) -> None:
        """The first call counts. From any thread."""
        with self._lock:
            if self._watch is None:
                self._watch = threading.Timer(seconds, _give_up, (seconds,))
                self._watch.daemon = True
                self._watch.start()

    def reached(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


def _give_up(seconds: float) -> None:
    try:
        message = f"did not stop within {seconds:g} s, and is ended: the storage hangs, perhaps"
        saying = threading.Thread(target=_say, args=(message,), daemon=True)
        saying.start()
        saying.join(SAID_WITHIN)  # nobody may read what is said
    finally:
        os._exit(1)


def _fill_standard_files() -> None:
    """Those that were closed lead nowhere: what is opened next would get their numbers, and what is said would be written into it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - as long as the process


def _tune() -> None:
    """Set up the interpreter for a process that does nothing else."""
    # The storage thread gives up the interpreter lock at every statement and must win it back from a busy event loop: with the
    # usual 5 ms that made commits ten times slower.
    sys.setswitchinterval(0.0005)
    # Rooms are many objects that live long and hold no cycles; looking through them for cycles again and again cost a tenth of all.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _allow_files(wanted: int) -> None:
    """Every connection is an open file, and the usual limit of a process is far below what it may have for the asking."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - for people, where a traceback would not help
