"""Replays."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack

from nolag_broker.core.event import Event
from nolag_broker.server.fanout import Feed, Subscription
from nolag_broker.server.readers import View
from nolag_broker.wire.grants import Grants


class Log:
    """All that is left of one."""

    def __init__(self, *events: Event) -> None:
        self._events = events

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 0) -> list[Event]:
        return [event for event in self._events if event.seq > after][:limit]


class Reader:
    id, actor, grants, last_heard, behind = "s", "ana", Grants.parse([{"room": "**"}]), 0.0, False

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(msgpack.unpackb(frame))

    def congestion(self) -> None:
        pass

    def give_up(self) -> None:
        raise AssertionError


async def test_a_retained_message_that_was_replaced_and_dropped_meanwhile_is_left_out() -> None:
    """And the one after it in the log does not come in its place."""
    old, replaced, kept = 3, 5, Event(7, "topic.published", 0.0, "bob", {}, "t", b"7")
    reader: Any = Reader()
    feed = Feed("r", Log(Event(6, "topic.published", 0.0, "bob", {}, "t", b"6"), kept), asyncio.create_task)  # type: ignore[arg-type]
    feed.through = 7
    subscription = Subscription(1, reader, View("r", reader, "**", None, bodies=True))
    feed.catch_up(subscription, 7, None, 7, [old, replaced, kept.seq])
    assert subscription.replay is not None
    await subscription.replay
    assert [event["seq"] for push in reader.sent for event in push["events"]] == [7]
