"""What comes on one connection: handed on as it comes, or kept while nobody can take more.

The library's `recv` costs a future, a task's turn and a round of the event loop for every message, which is more than reading it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

KEPT: Final = 4  # messages that wait to be handed on; with more of them the connection is not read


class Inlet:
    """The messages of a connection, in order.

    Args:
        pause, resume: the reading of the connection. It goes on while only a few messages are kept: heartbeats and the peer's close are to
            be heard. What was read before it pauses is kept, too: one piece of what the kernel had.
    """

    def __init__(self, pause: Callable[[], object], resume: Callable[[], object]) -> None:
        self._pause = pause
        self._resume = resume
        self._on_message: Callable[[bytes], None] | None = None
        self._on_hold = True
        self._kept: deque[bytes] = deque()
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        """It came."""
        if not self._on_hold and self._on_message is not None:
            self._on_message(message)
        else:
            self._kept.append(message)
            if len(self._kept) > KEPT:
                self._pause()
            self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def first(self) -> bytes | None:
        """Wait for the first message. None: the connection ended without one."""
        if not self._kept and not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._kept.popleft() if self._kept else None

    @property
    def empty(self) -> bool:
        """Everything that came was handed on."""
        return not self._kept

    def open(self, on_message: Callable[[bytes], None]) -> None:
        """Hand on what was kept, and from now on whatever comes. `on_message` must not raise; it may put us on hold."""
        self._on_message = on_message
        self.go_on()

    def hold(self) -> None:
        """Hand on nothing more for now."""
        self._on_hold = True

    def go_on(self) -> None:
        """The end of a hold."""
        self._on_hold = False
        while self._kept and not self._on_hold and self._on_message is not None:
            self._on_message(self._kept.popleft())
        if not self._on_hold:
            self._resume()
