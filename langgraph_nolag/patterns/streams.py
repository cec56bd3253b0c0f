"""Streams: chunks, as they come, from one writer to one agent or to the subscribers of a topic. For tokens of a model, for example."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from ..client.body import encode, read
from ..client.failure import failure
from ..client.feed import Feed
from ..client.incoming import Incoming
from ..client.io import settled
from ..client.link import RoomLink
from ..client.outgoing import Outgoing
from ..client.stream import LIMIT, Stream, log_stream
from ..client.subscription import Gap
from ..client.watching import Watch
from ..errors import BadRequest, NoLagError, StreamAborted, StreamFailed

OVERHEAD: Final = 60  # bytes a chunk counts beside itself
INBOX: Final = "inbox/"  # how the subject of a stream to an actor begins


@dataclass(frozen=True, slots=True)
class Rewind:
    """The stream is written anew from here: of the chunks read so far the first `n` hold, and the next one is number `n + 1`."""

    n: int


@dataclass(frozen=True, slots=True)
class StreamGap:
    """Chunks that can't be had any more: those with the numbers `from_n` to `to_n`."""

    from_n: int
    to_n: int


class WritableStream:
    """A stream that we write: `async with`, or `close()`. What was written is in the readers' hands at once, and in the room's log soon.

    Attributes:
        id: names it in the room; whoever opens the same one takes it over.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        self.id = outgoing.id
        self._outgoing = outgoing

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, n={self.n})"

    @property
    def n(self) -> int:
        """The number of the last chunk; of a stream that was taken over, what is kept of it counts."""
        return self._outgoing.n

    async def write(self, chunk: Any) -> None:
        """Write one chunk. It is sent over reconnects and restarts of the broker, once; while 1 MiB of what was written is not in the
        room's log yet, this waits.

        Args:
            chunk: plain values; 1 MiB at most, encoded.

        Raises:
            StaleLease: another writer took the stream over, or the task it belongs to is another worker's by now: stop.
            StreamEnded: it is closed, or aborted because we were silent for longer than our lease.
            NotEncodable, MessageTooLarge, Disconnected.
        """
        body = encode(chunk)
        while (room := self._outgoing.put(body)) is not None:
            await settled(room)

    async def close(self) -> None:
        """It is complete. Returns when all of it is in the room's log, however long that takes; may be called again. Raises as `write`."""
        await settled(self._outgoing.close())

    async def fail(self, error: BaseException) -> None:
        """It ends here, and is not complete: readers get `StreamFailed` with the type and text of the error. Raises as `write`."""
        await settled(self._outgoing.close(failure(error)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await self.close()
        elif not self._outgoing.is_closing:
            failed = self._outgoing.close(failure(error))
            if isinstance(error, Exception):  # else cancelled: there is no time to wait
                await settled(failed)


async def opened(opening: Future[Outgoing], give_up: Callable[[Outgoing], object]) -> Outgoing:
    """The stream, once it is open. Whoever is cancelled before that can't end it: then it is given up as soon as it is there."""

    def on_open(done: Future[Outgoing]) -> None:
        if done.exception() is None:
            give_up(done.result())

    try:
        stream: Outgoing = await settled(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(on_open)
        raise
    return stream


class IncomingStream:
    """A stream that we read: `async for chunk in stream`, from the first chunk on and then as they come.

    A `Rewind` among the chunks says that a new writer goes on from an earlier one, a `StreamGap` what is gone. The loop ends when the
    writer has closed the stream. Leave the loop, and it goes on there later.

    Attributes:
        id: the stream's.
        n: the number of the last chunk handed out.
        writer: the actor who writes it, where it is known.
        task: the task it belongs to, or None.
    """

    def __init__(
        self, link: RoomLink, id: str, *, after: int = 0, token: int = 0, writer: str | None = None, task: str | None = None
    ) -> None:
        self.id = id
        self.n = after
        self.writer = writer
        self.task = task
        self.ended = False
        self._link = link
        self._token = token
        self._items: Stream[Any] | None = None

    def __repr__(self) -> str:
        return f"IncomingStream({self.id!r}, n={self.n})"

    @property
    def token(self) -> int:
        """What `n` belongs to: give both to `room.stream` to go on in another process."""
        return self._token

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next chunk, `Rewind` or `StreamGap`.

        Raises:
            StreamFailed: the writer said that it failed.
            StreamAborted: the writer is gone.
            StreamNotFound: there is no such stream, or it is forgotten.
            NotAuthorized, Disconnected.
        """
        if self._items is None:
            self._items = self._open()
        self._token, ct, item = await anext(self._items)
        match item:
            case Rewind(n):
                self.n = n
            case StreamGap(_, n):
                self.n = n
            case Mapping():
                self.ended = True
                self._link.note("stream.ack", streams=[self.id], tokens=[self._token])
                self.close()
                if (error := _error(self.id, item)) is not None:
                    raise error
                raise StopAsyncIteration
            case _:
                self.n += 1
                return read(item, ct)
        return item

    async def collect(self) -> list[Any]:
        """All its chunks, rewinds applied; waits for its end. Not for one that was begun to be read.

        Raises:
            StreamFailed: it did not come to its end, or chunks of it are gone. Otherwise as reading it.
        """
        if self.n or self._items is not None:
            raise BadRequest("the stream is read already: collect() gives all of it, from the first chunk on")
        chunks: list[Any] = []
        async for item in self:
            if isinstance(item, Rewind):
                del chunks[item.n :]
            elif isinstance(item, StreamGap):
                raise StreamFailed(f"chunks {item.from_n} to {item.to_n} of the stream {self.id} are gone", stream=self.id)
            else:
                chunks.append(item)
        return chunks

    def close(self) -> None:
        """Read no more."""
        if self._items is not None:
            self._items.close()

    def _open(self) -> Stream[Any]:
        feed: Feed[Any] = Feed(LIMIT, lambda: incoming.pause(), lambda: incoming.resume())

        def put(item: Any, size: int = 0) -> None:
            feed.put((incoming.token, incoming.ct, item), OVERHEAD + size)

        def on_chunks(first: int, chunks: list[bytes]) -> None:
            for chunk in chunks:
                put(chunk, len(chunk))

        incoming = Incoming(
            self._link,
            self.id,
            self.n,
            self._token,
            on_chunks=on_chunks,
            on_rewind=lambda n: put(Rewind(n)),
            on_gap=lambda first, last: put(StreamGap(first, last)),
            on_end=put,
            on_failed=feed.end,
        )
        self._link.read_stream(incoming)
        return Stream(self._link, feed, lambda item: item, incoming.close)


def _error(stream: str, end: Mapping[str, Any]) -> NoLagError | None:
    if end["state"] == "failed":
        error = end["error"]
        return StreamFailed(stream=stream, error_type=error["type"], error_message=error["message"])
    if end["state"] == "aborted":
        reason = end.get("reason")
        return StreamAborted(f"the stream {stream} was left unfinished: {reason}", stream=stream, detail={"reason": reason})
    return None


class Streams:
    """`room.open_stream`, `room.streams` and `room.stream`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def open_stream(
        self, *, to: str | None = None, topic: str | None = None, id: str | None = None, keep: int | None = 0
    ) -> WritableStream:
        """Open a stream for writing, to an actor or on a topic.

        It ends as aborted when this process leaves the room, or falls silent for longer than its lease.

        Args:
            to: the one actor who may read it; it need not be here yet.
            topic: for whoever may subscribe to this topic.
            id: of a stream that may be there already, to take it over: its former writer (a process of ours that was killed, perhaps) is
                locked out. None: a new one.
            keep: how many chunks of the former writer stay valid, if so many were received (see `stream.n`); readers that have more are
                told to rewind. 0: it is written anew. None: all.

        Raises:
            BadRequest: neither or both of `to` and `topic`.
            KeyConflict: the stream is another actor's, or for another reader.
            StreamEnded: it was closed.
            NotJoined: we have left the room.
            NotAuthorized, Overloaded.
        """
        opening = self._link.open_stream(stream=id, to=to, topic=topic, keep=keep)
        return WritableStream(await opened(opening, lambda stream: stream.close(failure(asyncio.CancelledError()))))

    def stream(self, id: str, *, after: int = 0, token: int = 0) -> IncomingStream:
        """A stream whose id is known.

        Args:
            after: read what comes after this chunk.
            token: `token` of whoever read up to there; where the stream was taken over since, it tells what still holds.
        """
        return IncomingStream(self._link, id, after=after, token=token)

    def streams(self, topic: str | None = None) -> Watch[IncomingStream]:
        """The streams for us that we have not read to their end, finished ones too, then every new one.

        Args:
            topic: a pattern: the open streams on these topics instead, and every new one.
        """
        reading: weakref.WeakValueDictionary[str, IncomingStream] = weakref.WeakValueDictionary()

        def news(id: str, writer: str, task: str | None) -> IncomingStream | None:
            if (known := reading.get(id)) is not None and not known.ended:
                return None  # whoever reads it is told of another writer by a rewind
            stream = reading[id] = IncomingStream(self._link, id, writer=writer, task=task)
            return stream

        async def look() -> tuple[list[IncomingStream], Stream[IncomingStream | Gap]]:
            listing = await self._link.acall("stream.list", topics=topic)
            found = [news(info["stream"], info["writer"], info.get("task")) for info in listing["streams"]]
            new = [stream for stream in found if stream is not None]
            subject = f"{INBOX}{self._link.actor}" if topic is None else topic
            return new, log_stream(self._link, "stream.opened", announced, subject=subject, since=listing.seq, epoch=listing.epoch)

        def announced(event: dict[str, Any] | Gap) -> IncomingStream | Gap | None:
            if isinstance(event, Gap):
                return event
            if topic is not None and event["subject"].startswith(INBOX):
                return None
            lease = event["data"].get("lease")
            return news(event["data"]["stream"], event["sender"], None if lease is None else lease[0])

        return Watch(look)
