"""Inbox: directed messages, in order for each sender and receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..client.body import encode, read
from ..client.feed import Feed
from ..client.link import RoomLink
from ..client.requests import Answer
from ..client.standing import establish
from ..client.stream import LIMIT, OVERHEAD, Stream
from ..errors import BadRequest, NoLagError


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
        """Our messages, the unread ones first. A message counts as read once it was handed out here.

        Raises (from the iterator):
            BadRequest: the inbox is read already, by another room that joining this one again gave.
            ActorAmbiguous: another process of our actor reads it.
        """
        if self._reading is None or self._reading.closed:
            self._reading = Reading(self._link).stream()
        return self._reading


class Reading:
    """The open inbox of a link: a part that every session begins with again. On the I/O thread.

    What is unread is asked for page by page, as there is room for it; then messages come as they are sent. One that finds no room is left
    at the broker, and with it all that follow: they are asked for again after the last one that was queued.
    """

    phase = 1

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._last = 0  # the last sequence that was queued,
        self._epoch: str | None = None  # and the epoch that it belongs to
        self._asked = 0  # pages so far: only the answer to the last question counts
        self._live = False  # what is pushed comes right after the last one that was queued
        self._closed = False
        self._feed: Feed[dict[str, Any]] = Feed(LIMIT, lambda: None, lambda: link.connection.io.post(self._catch_up))
        link.connection.io.post(self._begin)

    def stream(self) -> Stream[InboxMessage]:
        """What its one consumer has. The link, which keeps this reading, does not keep that: it closes when the consumer is gone."""
        return Stream(self._link, self._feed, self._hand_out, self._close)

    def _begin(self) -> None:
        if not self._link.attach(self, {"inbox": self.on_push}):
            self._closed = True
            self._feed.end(BadRequest(f"the inbox of room {self._link.room} is read already: close() the iterator that reads it first"))
        elif self._link.connection.ended is not None:
            self.on_ended(self._link.connection.ended)
        else:
            self.restore()

    def restore(self) -> None:
        """Ask for a page. Where there is no room for it, it is dropped: it says at least that it is we who read this inbox."""
        self._live = False
        self._asked = number = self._asked + 1
        fields = {"after": self._last} if self._epoch is None else {"after": self._last, "epoch": self._epoch}
        establish(self._link, "inbox.open", fields, self._on_page, self.on_ended, wanted=lambda: number == self._asked and not self._closed)

    def _on_page(self, page: Answer) -> None:
        if self._feed.full:
            return
        if page.epoch != self._epoch:  # sequences of a log that is lost say nothing of this one
            self._epoch, self._last = page.epoch, 0
        self._queue(page["messages"])
        if not page["more"]:
            self._live = True
        elif not self._feed.full:
            self.restore()

    def on_push(self, frame: dict[str, Any]) -> None:
        if self._feed.full:
            self._live = False
        if self._live and not self._closed:
            self._queue(frame["messages"])

    def _queue(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self._last, message["epoch"] = message["seq"], self._epoch
            self._feed.put(message, OVERHEAD + len(message["body"]))

    def on_ended(self, error: NoLagError) -> None:
        self._feed.end(error)
        self._end()

    def _catch_up(self) -> None:
        if not self._live and not self._feed.full and not self._closed:
            self.restore()

    def _hand_out(self, message: dict[str, Any]) -> InboxMessage:
        # In the consumer: from here on it is the user's.
        self._link.note("inbox.ack", messages=[message["seq"]], epoch=message["epoch"])
        body = read(message["body"], message.get("ct"))
        return InboxMessage(message["seq"], message["sender"], body, message["time"], message.get("parent"))

    def _close(self) -> None:
        self._link.connection.io.post(self._end)

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._link.detach(self, ("inbox",))
