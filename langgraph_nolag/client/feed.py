"""A bounded queue from the I/O thread to one consumer on any loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from .io import hand_back, settle

T = TypeVar("T")


class Feed(Generic[T]):
    """Filled on the I/O thread, read by one consumer.

    It never refuses: when it is fuller than `limit` it says so (`on_full`), and whoever fills it stops; when half of it is
    read it says that too (`on_room`).

    Args:
        limit: bytes.
        on_full: called on the I/O thread.
        on_room: called on either thread, perhaps twice.
    """

    def __init__(self, limit: int, on_full: Callable[[], None], on_room: Callable[[], None]) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._limit = limit
        self._on_full = on_full
        self._on_room = on_room
        self._size = 0  # written on the I/O thread
        self._taken = 0  # written by the consumer
        self._full = False
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def put(self, item: T, size: int) -> None:
        """On the I/O thread."""
        self._items.append((item, size))
        self._size += size
        self._wake()
        if not self._full and self._size - self._taken > self._limit:
            self._on_full()
            self._full = True
            self._check_room()  # the consumer may have read it all before it could see the flag

    def end(self, error: BaseException | None = None) -> None:
        """No more comes: after what is queued, reading raises `error`, or stops."""
        if not self._ended:
            self._error = error
            self._ended = True
            self._wake()

    @property
    def full(self) -> bool:
        """Seen on the I/O thread: where it is not any more, `on_room` was called."""
        return self._full

    @property
    def is_over(self) -> bool:
        return self._ended and not self._items

    async def get(self) -> T:
        """The next item.

        Raises:
            StopAsyncIteration: it ended.
            RuntimeError: another consumer waits already.
        """
        while not self._items:
            if self._ended and not self._items:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("one consumer at a time: open a second stream for a second reader")
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._waiter = (loop, future)
            try:
                if not self._items and not self._ended:  # looked at again: it may have come before the waiter stood there
                    await future
            finally:
                self._waiter = None
        item, size = self._items.popleft()
        self._taken += size
        self._check_room()
        return item

    def _check_room(self) -> None:
        if self._full and (self._size - self._taken) * 2 < self._limit:
            self._full = False
            self._on_room()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            loop, future = waiter
            hand_back(loop, settle, future, None, None)
