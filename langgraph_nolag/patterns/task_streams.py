"""Streams that a handler writes: they belong to its task, and go on with the next attempt when this one is lost."""

from __future__ import annotations

from collections.abc import Awaitable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from ..client.body import encode
from ..client.failure import failure
from ..client.io import settled
from ..client.offer import Assigned
from ..client.outgoing import Outgoing
from .streams import WritableStream, opened


class TaskStream(WritableStream):
    """A stream of a task. It is not failed by an error of the handler: the next attempt may take it over."""

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await self.close()
        else:
            self._outgoing.let_go()


class BlockingStream:
    """The same in a sync handler: as `TaskStream`, without `await`."""

    def __init__(self, outgoing: Outgoing) -> None:
        self.id = outgoing.id
        self._outgoing = outgoing

    @property
    def n(self) -> int:
        return self._outgoing.n

    def write(self, chunk: Any) -> None:
        body = encode(chunk)
        while (room := self._outgoing.put(body)) is not None:
            room.result()

    def close(self) -> None:
        self._outgoing.close().result()

    def fail(self, error: BaseException) -> None:
        self._outgoing.close(failure(error)).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._outgoing.let_go()


class TaskStreams:
    """The streams of one attempt."""

    def __init__(self, assigned: Assigned) -> None:
        self._assigned = assigned
        self._open: list[Outgoing] = []

    def open(self, name: str, to: str | None, topic: str | None, keep: int | None) -> Awaitable[TaskStream]:
        return self._opened(self._ask(name, to, topic, keep))

    def open_blocking(self, name: str, to: str | None, topic: str | None, keep: int | None) -> BlockingStream:
        outgoing = self._ask(name, to, topic, keep).result()
        self._open.append(outgoing)
        return BlockingStream(outgoing)

    async def _opened(self, opening: Future[Outgoing]) -> TaskStream:
        outgoing = await opened(opening, Outgoing.let_go)
        self._open.append(outgoing)
        return TaskStream(outgoing)

    def _ask(self, name: str, to: str | None, topic: str | None, keep: int | None) -> Future[Outgoing]:
        assigned = self._assigned
        if to is None and topic is None:
            to = assigned.dispatcher
        lease = [assigned.task, assigned.token]
        return assigned.offer.link.open_stream(stream=f"{assigned.task}/{name}", to=to, topic=topic, keep=keep, lease=lease)

    # The handler has returned: its streams are complete, and are to be stored before its result is.

    async def close(self) -> None:
        for outgoing in self._open:
            await settled(outgoing.close())

    def close_blocking(self) -> None:
        for outgoing in self._open:
            outgoing.close().result()

    def let_go(self) -> None:
        """The attempt failed, or is lost."""
        for outgoing in self._open:
            outgoing.let_go()
