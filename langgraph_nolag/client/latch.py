"""Something that happens once on the I/O thread, and that anybody may wait for: on any loop, on any thread, now or later."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Generic, TypeVar

from .io import hand_back, io_thread, settle
from .moment import check_seconds

T = TypeVar("T")


class Latch(Generic[T]):
    """Set once; waited for as often as one likes. Waiting can be given up without harm to other waiters."""

    __slots__ = ("_is_set", "_value", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._value: T | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | concurrent.futures.Future[None]] = []

    @property
    def is_set(self) -> bool:
        return self._is_set

    @property
    def value(self) -> T | None:
        """None before it is set."""
        return self._value

    def set(self, value: T) -> None:
        """The first call counts."""
        if self._is_set:
            return
        self._value = value
        self._is_set = True
        for waiter in tuple(self._waiters):
            if isinstance(waiter, tuple):
                hand_back(waiter[0], settle, waiter[1], None, None)
            elif not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> T:
        """Wait on the running loop. Raises `TimeoutError` after `timeout` seconds, and `BadRequest` for what is no number of them."""
        if timeout is not None:
            check_seconds(timeout, "timeout")
        if not self._is_set:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            waiter = (loop, future)
            self._waiters.append(waiter)
            try:
                if not self._is_set:  # looked at again: it may have been set before the waiter stood there
                    if timeout is None:
                        await future
                    else:
                        async with asyncio.timeout(timeout):
                            await future
            finally:
                self._waiters.remove(waiter)
        return self._value  # type: ignore[return-value]

    def wait_blocking(self, timeout: float | None = None) -> T:
        """Wait on this thread. Raises `TimeoutError`, and `WrongThread` on the I/O thread."""
        if not self._is_set:
            io_thread().check_may_block()
            future: concurrent.futures.Future[None] = concurrent.futures.Future()
            self._waiters.append(future)
            try:
                if not self._is_set:
                    future.result(timeout)
            finally:
                self._waiters.remove(future)
        return self._value  # type: ignore[return-value]
