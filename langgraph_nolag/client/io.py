"""The process's I/O thread: one daemon thread with one asyncio loop, on which every connection lives.

User code that blocks its own loop can't starve heartbeats, and sync code needs no loop at all. What crosses a thread
border travels through a `Courier`: many calls for one wake-up of the loop, because waking a loop costs more than a call.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from ..errors import Disconnected, WrongThread

# Calls carried out before the loop looks around, which is where a busy thread lets the other one go on: what the first
# calls ask for is sent while the rest is worked on. All at once, a hundred tasks move as one block, and everybody waits for everybody.
AT_ONCE: Final = 64

T = TypeVar("T")
log = logging.getLogger("langgraph_nolag")


class Courier:
    """Carries calls from other threads to one loop, in order."""

    __slots__ = ("_awake", "_calls", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awake = False

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Run `call(*args)` on the loop, soon. From any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._calls.append((call, args))
        if not self._awake or self._loop.is_closed():  # it may have closed before it looked
            try:
                self._awake = True
                self._loop.call_soon_threadsafe(self._deliver)
            except BaseException:  # a Ctrl-C in between, too: else nobody would wake it ever again
                self._awake = False
                raise

    @property
    def idle(self) -> bool:
        """Nothing that was posted waits. Sure on the loop's own thread, for what was posted before."""
        return not self._calls

    def _deliver(self) -> None:
        # The flag falls before the first call is taken: whoever posts after that wakes the loop again.
        self._awake = False
        calls = self._calls
        for _ in range(min(len(calls), AT_ONCE)):
            call, args = calls.popleft()
            try:
                call(*args)
            except Exception:
                log.exception("a call handed over between threads failed")
        if calls and not self._awake:
            self._awake = True
            self._loop.call_soon(self._deliver)


_couriers: dict[asyncio.AbstractEventLoop, Courier] = {}
_couriers_lock = threading.Lock()


def courier_to(loop: asyncio.AbstractEventLoop) -> Courier:
    """The one courier of a user's loop. Those of closed loops go when one for a new loop is made: a process may use a loop a call."""
    courier = _couriers.get(loop)
    if courier is None:
        with _couriers_lock:
            for closed in [known for known in _couriers if known.is_closed()]:
                del _couriers[closed]
            courier = _couriers.setdefault(loop, Courier(loop))
    return courier


def hand_back(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> bool:
    """Run a call on a user's loop. False, and nothing happens, when that loop is closed: then nobody waits."""
    try:
        courier_to(loop).post(call, *args)
    except RuntimeError:
        return False
    return True


def wait_on(loop: asyncio.AbstractEventLoop, value: Awaitable[T]) -> T:
    """Await a value on a user's loop, and block for it here, on another thread."""

    async def wait() -> T:
        return await value

    return asyncio.run_coroutine_threadsafe(wait(), loop).result()


def settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    """Finish a future, on its own loop, unless its owner gave up on it."""
    if not future.done():
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


def settle_blocking(future: concurrent.futures.Future[Any], value: Any, error: BaseException | None) -> bool:
    """The same, once, for a future that a thread waits for. False: its owner gave up on it."""
    if not future.set_running_or_notify_cancel():
        return False
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
    return True


async def settled(future: concurrent.futures.Future[Any]) -> Any:
    """Await, from any loop, a future that the I/O thread settles."""
    loop = asyncio.get_running_loop()
    mine: asyncio.Future[Any] = loop.create_future()

    def on_done(done: concurrent.futures.Future[Any]) -> None:
        hand_back(loop, _copy, mine, done)

    future.add_done_callback(on_done)
    return await mine


def _copy(mine: asyncio.Future[Any], done: concurrent.futures.Future[Any]) -> None:
    if mine.done():
        return
    if done.cancelled():
        mine.cancel()
    elif (error := done.exception()) is not None:
        mine.set_exception(error)
    else:
        mine.set_result(done.result())


class IoThread:
    """The thread and its loop. One a process: see `io_thread`."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._courier = Courier(self.loop)
        self._over = ""  # why nothing runs here any more
        self._thread = threading.Thread(target=self._main, name="nolag-io", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @property
    def is_current(self) -> bool:
        return threading.get_ident() == self._thread.ident

    @property
    def idle(self) -> bool:
        """On the I/O thread: everything that was posted has run."""
        return self._courier.idle

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Run `call(*args)` on the I/O thread, in the order of posting, without waiting."""
        if self._over:
            raise Disconnected(self._over)
        self._courier.post(call, *args)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the I/O thread."""
        if self._over:
            work.close()
            raise Disconnected(self._over)
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the I/O thread and block until it is done.

        Raises:
            WrongThread: called on the I/O thread.
            TimeoutError: after `timeout` seconds; the coroutine is cancelled.
        """
        if self.is_current:
            work.close()
            self.check_may_block()
        future = self.submit(work)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def check_may_block(self) -> None:
        """Raises `WrongThread` on the I/O thread."""
        if self.is_current:
            raise WrongThread("a blocking call on the SDK's I/O thread would wait for itself; use the async form, or another thread")

    def abandon(self) -> None:
        """In a forked child: the thread did not come along."""
        self._over = "this connection belongs to the parent process; connect again after a fork"

    def stop(self) -> None:
        """At the end of the process, after what was posted. Whoever asks for something then is told, and does not wait for ever."""
        self._over = "the process is ending"
        with contextlib.suppress(RuntimeError):
            self._courier.post(self.loop.stop)
        self._thread.join(1.0)


def _new_loop() -> asyncio.AbstractEventLoop:
    """On uvloop where that is installed (`langgraph-nolag[fast]`): what waits for the broker has its answer about a tenth sooner."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_thread: IoThread | None = None
_thread_lock = threading.Lock()
_after_fork: list[Callable[[], None]] = []


def io_thread() -> IoThread:
    """The I/O thread of this process, started on first use."""
    global _thread
    if _thread is None:
        with _thread_lock:
            if _thread is None:
                _thread = IoThread()
    return _thread


def on_fork(forget: Callable[[], None]) -> None:
    """Have `forget` called in a forked child, after the I/O thread was abandoned."""
    _after_fork.append(forget)


def _in_child() -> None:
    global _thread, _thread_lock, _couriers_lock
    _thread_lock, _couriers_lock = threading.Lock(), threading.Lock()  # a parent's thread may have held them
    if _thread is not None:
        _thread.abandon()
        _thread = None
    for forget in _after_fork:
        forget()


@atexit.register
def _at_exit() -> None:
    if _thread is not None:
        _thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
