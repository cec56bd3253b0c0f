"""How things are, then what becomes of them: a listing, and the log from there on."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from .stream import Stream
from .subscription import Gap

T = TypeVar("T")

Look = Callable[[], Awaitable[tuple[Iterable[T], Stream[T | Gap]]]]
"""Asks how things are: gives what of it is news, and the changes after it."""


class Watch(Generic[T]):
    """`async for` over what is there, then over every change. Leave the loop and it ends.

    Nothing is missed over reconnects and restarts of the broker, or by a reader that is cancelled. What can't be had any more of the log is
    made up for by another look.
    """

    def __init__(self, look: Look[T]) -> None:
        self._look = look
        self._news: deque[T] = deque()
        self._changes: Stream[T | Gap] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._closed:
            if self._news:
                return self._news.popleft()
            if self._changes is None:
                news, self._changes = await self._look()
                self._news.extend(news)
                continue
            change = await anext(self._changes)
            if not isinstance(change, Gap):
                return change
            self._changes.close()
            self._changes = None
        self.close()  # what began meanwhile
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop watching. Whoever waits for a change, in another task or thread, comes to the end."""
        self._closed = True
        if (changes := self._changes) is not None:
            changes.close()

    async def aclose(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
