"""Observe: every step of every pattern is an event of the room's log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..client.body import encode, read
from ..client.link import RoomLink
from ..client.stream import Stream, log_stream
from ..client.subscription import Gap


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        seq: its place in the room's log.
        type: for example `task.dispatched`, or what was emitted.
        body: the value; None where there is none, or we may not see it. A body that is not MessagePack is handed out as bytes.
        sender: the actor; `@broker` for timers.
        parent: the sequence of the event that caused it, or None.
        time: seconds since 1970.
        subject: what it is about: a key, a task's type, a receiver.
        data: small facts, by type (see the protocol).
        id: the sender's own id of it, or its sequence.
    """

    seq: int
    type: str
    body: Any
    sender: str
    parent: int | None
    time: float
    subject: str | None
    data: dict[str, Any]
    id: str


class Observe:
    """`room.observe`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def emit(self, type: str, body: Any = None, *, severity: str = "info", key: str | None = None, parent: int | None = None) -> int:
        """Put an event on the room's log.

        Args:
            type: one's own; the first segments that the patterns use (`task`, `blackboard`, …) are reserved.
            body: plain values.
            severity: `debug`, `info`, `warning`, `error`.
            key: the same key with the same body happens once.
            parent: sequence of what caused it; in a handler it is the task's by itself.

        Returns:
            Its sequence.

        Raises:
            BadRequest: the type is reserved, empty, or has a `*`.
            KeyConflict: the key was used with another body.
            NotEncodable, NotAuthorized, MessageTooLarge: nothing was emitted.
            StaleLease: in a handler, whose task is another worker's by now.
            RequestTimeout, Disconnected, BufferFull.
        """
        packed = None if body is None else encode(body)
        answer = await self._link.acall("event.emit", type=type, severity=severity, body=packed, key=key, parent=parent)
        return int(answer["seq"])

    def stream(
        self,
        types: str = "**",
        *,
        since: int | None = None,
        since_time: datetime | float | None = None,
        epoch: str | None = None,
        bodies: bool = True,
    ) -> Stream[Event | Gap]:
        """Events whose type matches, from now, or from a place in the log.

        A `Gap` among them says what can't be had any more. A reader of `**` who is granted all sees sequences without a hole.

        Args:
            types: a pattern.
            since: replay what came after this sequence; 0: everything.
            since_time: in place of `since`: replay what came from this moment on; a datetime with a time zone, or seconds since 1970.
            epoch: the epoch of `since`, where it comes from an earlier run; if the log began anew since, a `Gap` says so.
            bodies: False: without bodies.

        Raises:
            BadRequest: `since` and `since_time`.
        """
        return log_stream(self._link, types, as_event, since=since, since_time=since_time, epoch=epoch, bodies=bodies)


def as_event(event: dict[str, Any] | Gap) -> Event | Gap:
    if isinstance(event, Gap):
        return event
    return Event(
        event["seq"],
        event["type"],
        read(event.get("body"), event.get("ct")),
        event["sender"],
        event.get("parent"),
        event["time"],
        event.get("subject"),
        event["data"],
        event.get("id") or str(event["seq"]),
    )
