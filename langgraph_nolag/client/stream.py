"""An async iterator over a room's log, from any loop, with bounded memory."""

from __future__ import annotations

import concurrent.futures
import weakref
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..errors import BadRequest, NoLagError
from .feed import Feed
from .io import settled
from .large import Body, refers
from .moment import moment
from .subscription import Gap, Subscription

if TYPE_CHECKING:
    from .link import RoomLink

T = TypeVar("T")

LIMIT = 8 << 20  # bytes that wait for a slow consumer; beyond, reading stops and is taken up again later
OVERHEAD = 200  # bytes an event counts beside its body


class Stream(Generic[T]):
    """`async for` over what comes. It begins when it is made, not when the loop begins; leave the loop and it ends.

    A consumer that is slow gets everything all the same: what does not fit is read from the log again later. Only QoS 0
    messages are lost meanwhile.
    """

    def __init__(self, link: RoomLink, feed: Feed[Any], convert: Callable[[Any], T | None], close: Callable[[], None]) -> None:
        self._link = link
        self._feed = feed
        self._fetching: tuple[Any, concurrent.futures.Future[None]] | None = None  # from the feed, and waits for its large value
        self._convert = convert
        self._finalizer = weakref.finalize(self, _quietly, close)
        self._finalizer.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next item. Raises what ended the stream: the refusal, `Disconnected`, or `StopAsyncIteration`; and `BlobNotFound` or
        `BlobDamaged` for an item whose large value can't be had, after which the stream goes on."""
        while True:
            item = self._convert(await self._next())
            if item is not None:
                return item

    async def _next(self) -> Any:
        """The next of the feed, with its value. A reader that is cancelled loses nothing: the next one waits for the same fetch."""
        if self._fetching is None:
            taken = await self._feed.get()
            if not refers(taken):
                return taken
            self._fetching = taken, self._link.connection.fetches.fetch(self._link.room, [Body(taken)])
        taken, fetched = self._fetching
        try:
            await settled(fetched)
        except NoLagError:
            self._fetching = None
            raise
        self._fetching = None
        return taken

    @property
    def closed(self) -> bool:
        """Nothing more comes from it."""
        return self._feed.is_over or not self._finalizer.alive

    def close(self) -> None:
        """Stop reading."""
        self._finalizer()
        self._feed.end()

    async def aclose(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except NoLagError:  # the connection did not survive a fork, or is over: there is nothing to close
        return


def log_stream(
    link: RoomLink,
    types: str,
    convert: Callable[[dict[str, Any] | Gap], T | None],
    *,
    subject: str | None = None,
    since: int | None = None,
    since_time: datetime | float | None = None,
    cursor: str | None = None,
    epoch: str | None = None,
    retained: bool = False,
    bodies: bool = True,
    limit: int = LIMIT,
) -> Stream[T]:
    """A stream of the room's events, QoS 0 messages and gaps. `convert` runs in the consumer, for each; None: left out. Raises `BadRequest`
    for two places to begin at."""
    if since is not None and since_time is not None:
        raise BadRequest("since_time stands in place of since: give one of them", detail={"field": "since_time"})
    holder: deque[Subscription] = deque()  # the subscription is made after the feed that it fills
    feed: Feed[dict[str, Any] | Gap] = Feed(limit, lambda: holder[0].pause(), lambda: holder[0].resume())

    def on_events(events: list[dict[str, Any]], through: int) -> None:
        for event in events:
            feed.put(event, OVERHEAD + len(event.get("body") or b""))

    subscription = link.subscribe(
        types,
        subject=subject,
        since=since,
        since_time=None if since_time is None else moment(since_time, "since_time"),
        cursor=cursor,
        epoch=epoch,
        retained=retained,
        bodies=bodies,
        on_events=on_events,
        on_gap=lambda gap: feed.put(gap, OVERHEAD),
        on_message=lambda message: feed.put(message, OVERHEAD + len(message["body"])),
        on_failed=feed.end,
    )
    holder.append(subscription)
    return Stream(link, feed, convert, subscription.close)
