"""Subscriptions to a room's log: catch up from the engine, then follow what is committed.

Subscriptions that see the same events (same patterns, same grants) share an `Audience`: who sees an event is found out once, and the
event's bytes are put together once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from ..core.event import Event
from ..core.messages.groups import Group
from ..core.turn import Acknowledged, GroupKey
from ..engine.base import Engine
from ..wire.codec import pack
from ..wire.frames import array_header, gap_push, log_push
from .readers import CHUNK_BYTES, CHUNK_EVENTS, Reader, Spawn, View, room_for_replay, telling
from .sharing import Patience, Sharing

ROUTES: Final = 4096  # kinds of events whose audience is remembered
THROUGH_EVERY: Final = 1.0  # seconds after which subscribers hear of sequences that held nothing for them


class Subscription:
    """One `log.subscribe` of a connection: it begins, is replayed to, and is live. Then nothing up to `position` is sent to it."""

    __slots__ = ("feed", "number", "position", "reader", "replay", "view")

    def __init__(self, number: int, reader: Reader, view: View) -> None:
        self.number = number
        self.reader = reader
        self.view = view
        self.position = 0
        self.feed: Feed | None = None  # None: it has not begun, and is sent nothing
        self.replay: asyncio.Task[None] | None = None  # None, once it has begun: it is live

    def leave(self) -> None:
        """End it, wherever it has come to."""
        if self.feed is not None:
            self.feed.leave(self)

    def unsubscribe(self) -> None:
        self.leave()

    def change_view(self, view: View) -> None:
        """The same subscription under other grants: a token was refreshed."""
        if self.feed is None or self.replay is not None:
            self.view = view
        else:
            self.feed.change_view(self, view)


class Audience:
    """Live subscriptions that see the same."""

    __slots__ = ("due", "members", "through", "view")

    def __init__(self, view: View, through: int) -> None:
        self.view = view
        self.members: dict[tuple[str, int], Subscription] = {}
        self.through = through  # told to all members
        self.due: list[tuple[int, bytes]] = []  # sequence and bytes, while a turn is being published


class Feed:
    """The subscriptions of one room."""

    def __init__(self, room: str, engine: Engine, spawn: Spawn) -> None:
        self._room = room
        self._engine = engine
        self._spawn = spawn
        self._audiences: dict[tuple[Any, ...], Audience] = {}
        self._routes: dict[tuple[str, str], list[Audience]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._shared: dict[GroupKey, Sharing] = {}
        self.opened = asyncio.get_running_loop().time()
        self.through = 0  # the last sequence published
        self.first = 1  # the oldest sequence still kept
        self.epoch = ""

    # -- coming and going

    def follow(self, subscription: Subscription, position: int) -> None:
        """From now on, live: everything after `position`, which may lie ahead of what is published (it is decided, but not yet stored)."""
        subscription.feed, subscription.position = self, position
        key = subscription.view.key
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(subscription.view, self.through)
            self._routes.clear()
        audience.members[subscription.reader.id, subscription.number] = subscription

    def catch_up(self, subscription: Subscription, since: int, epoch: str | None, end: int, retained: Sequence[int] = ()) -> None:
        """Everything after `since`, then live. What can't be had any more is said with a gap first.

        Args:
            end: the last sequence there is, published or not.
            retained: sequences of retained messages, to be sent before anything else.
        """
        if since > end or (epoch is not None and epoch != self.epoch):
            self._gap(subscription, 1, end)
            since = end
        elif since + 1 < self.first:
            self._gap(subscription, since + 1, self.first - 1)
            since = self.first - 1
        if since >= self.through and not retained:
            self.follow(subscription, since)
        else:
            subscription.feed, subscription.replay = self, self._spawn(self._replay_or_tell(subscription, since, retained))

    def leave(self, subscription: Subscription) -> None:
        if subscription.replay is not None:
            subscription.replay.cancel()
            subscription.replay = None
        key = subscription.view.key
        audience = self._audiences.get(key)
        if audience is not None:
            audience.members.pop((subscription.reader.id, subscription.number), None)
            if not audience.members:
                del self._audiences[key]
                self._routes.clear()

    def change_view(self, subscription: Subscription, view: View) -> None:
        """Of a live subscription."""
        self.leave(subscription)
        subscription.view = view
        self.follow(subscription, max(subscription.position, self.through))

    def _gap(self, subscription: Subscription, first: int, last: int) -> None:
        subscription.reader.send(gap_push(subscription.number, self._room, first, last, self.epoch))

    async def _replay_or_tell(self, subscription: Subscription, after: int, retained: Sequence[int]) -> None:
        with telling(lambda: [subscription], room=self._room, actor=subscription.view.actor):
            await self._replay(subscription, after, retained)

    async def _replay(self, subscription: Subscription, after: int, retained: Sequence[int]) -> None:
        reader = subscription.reader
        for seq in retained:
            await room_for_replay(reader)
            view = subscription.view
            kept = await self._engine.events(self._room, seq - 1, 1)
            if kept and kept[0].seq == seq and view.covers(kept[0].type, kept[0].subject or ""):
                reader.send(log_push(subscription.number, [view.encode(kept[0])], after))
        while True:
            await room_for_replay(reader)
            if after >= self.through:
                break
            events = await self._engine.events(self._room, after, CHUNK_EVENTS, CHUNK_BYTES)
            if after + 1 < self.first:  # trimmed meanwhile, and what was read may have holes
                self._gap(subscription, after + 1, self.first - 1)
                after = self.first - 1
                continue
            view = subscription.view
            found = [view.encode(event) for event in events if view.covers(event.type, event.subject or "")]
            after = events[-1].seq
            reader.send(log_push(subscription.number, found, after))
        # No await between the comparison and this: what is committed from here on is published to it.
        subscription.replay = None
        self.follow(subscription, after)

    # -- publishing

    def publish(self, events: Sequence[Event]) -> None:
        """Events just committed, in order: to everyone who may see them."""
        if not events:
            return
        first, self.through = events[0].seq, events[-1].seq
        for sharing in self._shared.values():
            sharing.publish(events)
        if not self._audiences:
            return
        touched: dict[int, Audience] = {}
        for event in events:
            for audience in self._route(event.type, event.subject or ""):
                audience.due.append((event.seq, audience.view.encode(event)))
                touched[id(audience)] = audience
        for audience in touched.values():
            self._send(audience, first)
        if len(touched) < len(self._audiences) and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(THROUGH_EVERY, self._tell_through)

    def _route(self, type: str, subject: str) -> list[Audience]:
        route = self._routes.get((type, subject))
        if route is None:
            if len(self._routes) >= ROUTES:
                self._routes.clear()
            route = [audience for audience in self._audiences.values() if audience.view.covers(type, subject)]
            self._routes[type, subject] = route
        return route

    def _send(self, audience: Audience, first: int) -> None:
        """One push for each member; members with the same number get the very same bytes."""
        due, audience.due, audience.through = audience.due, [], self.through
        encoded = [event for _, event in due]
        pushes: dict[int, bytes] = {}
        for member in audience.members.values():
            if member.position >= first:  # it joined between the events of this turn, or after them
                if member.position < self.through:
                    later = [event for seq, event in due if seq > member.position]
                    member.reader.send(log_push(member.number, later, self.through))
                continue
            push = pushes.get(member.number)
            if push is None:
                push = pushes[member.number] = log_push(member.number, encoded, self.through)
            member.reader.send(push)

    def _tell_through(self) -> None:
        """Tell subscribers that nothing up to here was for them, so that they need not read it again when they come back."""
        self._sweep = None
        for audience in self._audiences.values():
            if audience.through < self.through:
                self._send(audience, audience.through + 1)

    # -- groups

    def share(self, group: Group, patience: Patience, begins: float) -> Sharing:
        """The dealing to this group, begun with its first member."""
        sharing = self._shared.get(group.id)
        if sharing is None:
            sharing = self._shared[group.id] = Sharing(group, self, self._room, self._engine, self._spawn, patience, begins)
        return sharing

    def is_shared(self, group: GroupKey) -> bool:
        return group in self._shared

    def forget(self, sharing: Sharing) -> None:
        """Its last member has left."""
        self._shared.pop(sharing.group.id, None)

    def acknowledged(self, done: Acknowledged) -> None:
        if (sharing := self._shared.get(done.group)) is not None:
            sharing.acknowledged(done.messages)

    # -- beside the log

    def ephemeral(self, topic: str, frame: dict[str, Any]) -> None:
        """A QoS 0 message: to those who are live and keep up."""
        for audience in self._route("topic.published", topic):
            for member in audience.members.values():
                if not member.reader.behind:
                    member.reader.send(pack({"push": "message", "sub": member.number, **frame}))
        for sharing in self._shared.values():
            sharing.ephemeral(topic, frame)

    def close(self) -> None:
        for sharing in self._shared.values():
            sharing.close()
        self._shared.clear()
        if self._sweep is not None:
            self._sweep.cancel()


async def read_page(engine: Engine, feed: Feed, view: View, after: int, until: int, limit: int, max_scanned: int = 5000) -> bytes:
    """The answer to `log.read`: `{events, through, end, gap?}`, encoded. Reads at most `max_scanned` events, up to `through`."""
    found: list[bytes] = []
    gap: dict[str, int] | None = None
    size, scanned = 0, 0
    while after < until and len(found) < limit and scanned < max_scanned and size < CHUNK_BYTES * 4:
        events = await engine.events(view.room, after, min(CHUNK_EVENTS, until - after), CHUNK_BYTES)
        if after + 1 < feed.first:  # what was read may have holes
            if found:
                break  # the gap is the next page's
            gap = {"from": after + 1, "to": feed.first - 1}
            after = feed.first - 1
            continue
        if not events:
            after = until
            break
        for event in events:
            after = event.seq
            scanned += 1
            if view.covers(event.type, event.subject or ""):
                encoded = view.encode(event)
                found.append(encoded)
                size += len(encoded)
                if len(found) >= limit:
                    break
    parts = [b"\x83", pack("events"), array_header(len(found)), *found, pack("through"), pack(after), pack("end"), pack(after >= until)]
    if gap is not None:
        parts[0] = b"\x84"
        parts += [pack("gap"), pack(gap)]
    return b"".join(parts)
