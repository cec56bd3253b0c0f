"""Topics: publish and subscribe, with wildcards, retained messages and replay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from ..client.body import encode, read
from ..client.link import RoomLink
from ..client.sharing import Share, group_stream
from ..client.stream import Stream, log_stream
from ..client.subscription import Gap
from ..errors import BadRequest

Acknowledge = Callable[[int, str], Awaitable[None]]  # sequence, and the epoch that it belongs to
_PUBLISHED: Final = "topic.published"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a topic.

    Attributes:
        seq: its place in the log; 0 at QoS 0, which is never stored.
        time: seconds since 1970.
        qos: 0, 1 or 2.
        retain: it is its topic's last value.
        parent: sequence of what caused it, or None.
        attempt: in a group, how often it has been dealt, this time included; more than 1: somebody may have begun with it before. The count
            begins anew, at 2, where all readers had left or the broker was restarted.
        id: at QoS 0, where no sequence names it: unique in the world. Else None.
        after: its logical time: the sequence of the log that it came after.
    """

    topic: str
    body: Any
    sender: str
    seq: int
    time: float
    qos: int
    retain: bool = False
    parent: int | None = None
    attempt: int = 1
    id: str | None = None
    after: int = 0
    _acknowledge: Callable[[], Awaitable[None]] | None = field(default=None, repr=False, compare=False)

    async def ack(self) -> None:
        """It is dealt with; durable when this returns.

        With a cursor this message and all before it are: a subscription with the same cursor begins after it. In a group this one
        message is: it is not dealt again. Where the log began anew since, nothing is acknowledged: the message is of one that is lost.
        Raises `BadRequest` where there is nothing to acknowledge: at QoS 0, or without either.
        """
        if self._acknowledge is None:
            raise BadRequest("only a message of subscribe(cursor=...) or subscribe(group=...) at QoS 1 or 2 can be acknowledged")
        await self._acknowledge()


class Topics:
    """`room.publish`, `room.subscribe`, and what subscriptions leave behind."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def publish(self, topic: str, body: Any, *, qos: int = 1, retain: bool = False, key: str | None = None) -> int:
        """Publish a message.

        Args:
            topic: a name without wildcards.
            body: plain values.
            qos: 0: to who listens now, never stored. 1: stored. 2: the same, and sent once whatever happens on the way.
            retain: late joiners get it first.
            key: the same key with the same body is stored once.

        Returns:
            Its sequence; 0 at QoS 0.

        Raises:
            BadRequest: the topic is empty or has a `*`; or `retain` or a key at QoS 0, which is never stored.
            KeyConflict: the key was used with another body.
            Overloaded: as many topics as the room takes have a retained message already.
            NotEncodable, NotAuthorized, MessageTooLarge: nothing was published.
            StaleLease: in a handler, whose task is another worker's by now.
            RequestTimeout, Disconnected, BufferFull.
        """
        answer = await self._link.acall("topic.publish", topic=topic, body=encode(body), qos=qos, retain=retain, key=key)
        return int(answer["seq"])

    def subscribe(
        self,
        topic: str,
        *,
        since: int | None = None,
        since_time: datetime | float | None = None,
        cursor: str | None = None,
        group: str | None = None,
        max_in_flight: int = 100,
        ack_within: float = 60.0,
        epoch: str | None = None,
        retained: bool | None = None,
    ) -> Stream[Message | Gap]:
        """Messages of the topics that match.

        Args:
            topic: a pattern.
            since: replay what came after this sequence; None: from now.
            since_time: in place of `since`: replay what came from this moment on; a datetime with a time zone, or seconds since 1970.
            cursor: a name in the room, under which messages are acknowledged (`await message.ack()`): a subscription with this cursor
                begins after the last one that was, over restarts of both sides; the first time at `since`, or now.
            group: share: each message goes to one of those who subscribe to the same topic with this group, until it is acknowledged
                (`await message.ack()`). The group goes on from where it was, over restarts of everybody; the first time it begins at
                `since`, or now. A message is dealt again, to whoever is there, when its reader left, was silent for a lease, or did
                not acknowledge it in time. At QoS 0 one who is there gets it, once.
            max_in_flight: in a group, so many messages are dealt to us before we acknowledge one.
            ack_within: in a group, seconds that we have for a message.
            epoch: the epoch of `since`.
            retained: begin with the retained messages; None: where nothing is replayed.

        Raises:
            BadRequest: `since` and `since_time`; a group with a cursor, `since_time` or `retained`.
        """
        if group is not None:
            if cursor is not None or since_time is not None or retained:
                raise BadRequest("a group has its own place in the log: it goes without cursor, since_time and retained")
            return group_stream(
                self._link,
                group,
                _PUBLISHED,
                topic,
                _dealt,
                since=since,
                max_in_flight=max_in_flight,
                ack_within=ack_within,
            )
        wanted = since is None and since_time is None and cursor is None if retained is None else retained
        return log_stream(
            self._link,
            _PUBLISHED,
            partial(_message, None if cursor is None else partial(self._acknowledge, cursor)),
            subject=topic,
            since=since,
            since_time=since_time,
            cursor=cursor,
            epoch=epoch,
            retained=wanted,
        )

    async def delete_cursor(self, cursor: str) -> None:
        """Forget a cursor that nobody needs any more, if it is there: a room keeps a bounded number of them."""
        await self._link.acall("cursor.delete", cursor=cursor)

    async def delete_group(self, topic: str, group: str) -> None:
        """Forget a group that nobody needs any more, if it is there: a room keeps a bounded number of them. What was not acknowledged is
        not dealt again.

        Args:
            topic, group: as they were given to `subscribe`.

        Raises:
            BadRequest: somebody reads in it.
        """
        await self._link.acall("group.delete", group=group, types=_PUBLISHED, subject=topic)

    async def _acknowledge(self, cursor: str, seq: int, epoch: str) -> None:
        await self._link.acall("cursor.move", cursor=cursor, seq=seq, epoch=epoch)


def _message(acknowledge: Acknowledge | None, item: dict[str, Any] | Gap) -> Message | Gap:
    if isinstance(item, Gap):
        return item
    body = read(item.get("body"), item.get("ct"))
    if "push" in item:
        about = (item.get("parent"), 1, item.get("id"), item.get("after", 0))
        return Message(item["topic"], body, item["sender"], 0, item["time"], 0, False, *about)
    data = item["data"]
    qos, retain, attempt = data.get("qos", 1), bool(data.get("retain")), item.get("attempt", 1)
    seq, parent = item["seq"], item.get("parent")
    ack = None if acknowledge is None else partial(acknowledge, seq, item["epoch"])
    return Message(item["subject"], body, item["sender"], seq, item["time"], qos, retain, parent, attempt, None, seq - 1, ack)


def _dealt(share: Share, item: dict[str, Any] | Gap) -> Message | Gap:
    return _message(share.ack, item)
