"""The broker as a process of its own: how the interpreter is set up for it, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import Any, Final

from ..ending import End, signals_taken
from ..engine.base import DatabaseInUse, DatabaseTooNew, StorageFailed
from ..settings import Settings
from .broker import Broker
from .errors import CannotStart
from .logs import to_stderr

EXIT_WITHIN: Final = 10.0  # seconds; of a process whose storage hangs
OTHER_FILES: Final = 64  # open beside the connections


def run(settings: Settings) -> int:
    """Run a broker until SIGTERM or SIGINT; the exit code: 0, or 1 when it could not start or could not go on. It ends within 10 seconds of
    the signal, as a rule within 5; a second signal ends it at once.

    The first line printed is `listening on ws://HOST:PORT`; logs and what went wrong go to stderr, one line each.
    """
    _fill_standard_files()
    to_stderr()
    _tune()
    _allow_files(settings.max_connections + OTHER_FILES)
    end = End(lambda seconds: _say(f"did not stop within {seconds:g} s, and is ended: the storage hangs, perhaps"))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run(settings, end))
    except (CannotStart, DatabaseInUse, DatabaseTooNew, StorageFailed) as error:
        _say(str(error))
        return 1
    finally:
        end.reached()


async def _run(settings: Settings, end: End) -> int:
    signalled = asyncio.Event()
    with signals_taken(asyncio.get_running_loop(), signalled, end, EXIT_WITHIN):
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
