"""Inbox: directed messages, in order for each sender and receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..client.body import encode, read
from ..client.feed import Feed
from ..client.link import RoomLink
from ..client.stream import LIMIT, OVERHEAD, Stream
from ..errors import NoLagError


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One message to us.

    Attributes:
        seq: its sequence in the room's log.
        sender: the actor, as the broker knows it.
        body: the value.
        time: seconds since 1970.
        parent: the sequence of the event that caused it, where the sender had one.
    """

    seq: int
    sender: str
    body: Any
    time: float
    parent: int | None = None


class Inbox:
    """`room.inbox`: send to one agent; `async for message in room.inbox` reads our own."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._reading: Stream[InboxMessage] | None = None

    async def send(self, to: str, body: Any, *, keep: bool = False, key: str | None = None) -> int:
        """Send a message to an actor.

        Args:
            to: the receiver.
            body: plain values.
            keep: keep it until the receiver returns, where it is not here.
            key: the same key with the same body is sent once.

        Returns:
            The message's sequence.

        Raises:
            PeerNotFound: the receiver is not in the room, and `keep` is false.
            ActorAmbiguous: several live processes share that actor.
            KeyConflict, NotEncodable, NotAuthorized.
        """
        answer = await self._link.acall("inbox.send", to=to, body=encode(body), keep=keep, key=key)
        return int(answer["seq"])

    def __aiter__(self) -> Stream[InboxMessage]:
        """Our messages, the unread ones first. A message counts as read once it was handed out here."""
        if self._reading is None or self._reading.closed:
            self._reading = Reading(self._link).stream
        return self._reading


class Reading:
    """The open inbox of a link: a part that every session begins with again. On the I/O thread."""

    phase = 1

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._last = 0  # the last sequence that was queued: what a new session brings again is known by it
        self._epoch: str | None = None  # that it belongs to
        self._behind = False  # the queue is full: what comes stays unread at the broker, and is asked for later
        self._closed = False
        self._feed: Feed[dict[str, Any]] = Feed(LIMIT, self._on_full, lambda: link.connection.io.post(self._catch_up))
        self.stream: Stream[InboxMessage] = Stream(link, self._feed, self._hand_out, self._close)
        link.connection.io.post(self._begin)

    def _begin(self) -> None:
        self._link.attach(self, {"inbox": self.on_push})
        if self._link.connection.ended is not None:
            self._feed.end(self._link.connection.ended)
        else:
            self.restore()

    def restore(self) -> None:
        if not self._closed:
            self._link.establish("inbox.open", {}, lambda answer: None, self._feed.end)

    def on_push(self, frame: dict[str, Any]) -> None:
        if (epoch := frame.get("epoch")) != self._epoch:  # sequences of a log that is lost say nothing of this one
            self._epoch, self._last = epoch, 0
        for message in frame["messages"]:
            if message["seq"] > self._last and not self._behind and not self._closed:
                self._last = message["seq"]
                self._feed.put(message, OVERHEAD + len(message["body"]))

    def on_ended(self, error: NoLagError) -> None:
        self._feed.end(error)

    def _on_full(self) -> None:
        self._behind = True

    def _catch_up(self) -> None:
        if self._behind:
            self._behind = False
            self.restore()

    def _hand_out(self, message: dict[str, Any]) -> InboxMessage:
        # In the consumer: from here on it is the user's.
        self._link.note("inbox.ack", messages=[message["seq"]])
        body = read(message["body"], message.get("ct"))
        return InboxMessage(message["seq"], message["sender"], body, message["time"], message.get("parent"))

    def _close(self) -> None:
        self._link.connection.io.post(self._end)

    def _end(self) -> None:
        self._closed = True
        self._link.detach(self, ("inbox",))
