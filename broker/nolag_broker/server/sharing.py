"""Dealing a room's log to a consumer group: each event to one member that is free, until somebody acknowledges it.

What a member has in hand is its own until it acknowledges it, unsubscribes, is silent for a lease, stays away for longer than the
grace of a reconnect, or lets the time for it run out; then the event is dealt again, before anything newer. Oldest first, to whoever
has least in hand.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..core.event import Event
from ..core.messages.groups import Group
from ..engine.base import Engine
from ..wire.codec import pack
from ..wire.codes import Refusal
from ..wire.frames import dealt_push, gap_push
from ..wire.topics import matcher
from .hearing import Hearing
from .readers import CHUNK_BYTES, CHUNK_EVENTS, Reader, Spawn, View, telling

if TYPE_CHECKING:
    from .fanout import Feed

WINDOW: Final = 1000  # events of a group that are read and not acknowledged; then no more are read
UNSEEN: Final = 4 * WINDOW  # beside these, events that none of its members may see; then it ends for them
POLL: Final = 0.25  # seconds after which a member that could not take anything is looked at again

MemberKey = tuple[str, str, int]
"""Actor, instance and the member's own number: the same over its reconnects."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: how long a silent member keeps what it has, and how long one that is away."""

    lease: float
    grace: float


@dataclass(slots=True)
class Seat:
    """One connection of a member: what the session has among its subscriptions."""

    number: int
    group: str  # its name
    reader: Reader
    view: View
    max_in_flight: int
    ack_within: float
    member: Member | None = None  # None: its turn has not come

    def leave(self) -> None:
        """The connection is gone; the member may come back."""
        if self.member is not None and self.member.seat is self:
            self.member.sharing.away(self.member)

    def unsubscribe(self) -> None:
        if self.member is not None and self.member.seat is self:
            self.member.sharing.quit(self.member)

    def change_view(self, view: View) -> None:
        """The same under other grants. Raises `Refusal` (`not_authorized`) when these don't cover the group: it is to leave."""
        view.grants.demand("subscribe", view.room, "group/" + self.group)
        self.view = view
        if self.member is not None and self.member.seat is self:
            self.member.sharing.look_again()


class Member:
    """One reader of a group, over its reconnects."""

    __slots__ = ("gaps", "gone_at", "in_hand", "key", "seat", "sharing", "turn")

    def __init__(self, sharing: Sharing, key: MemberKey) -> None:
        self.sharing = sharing
        self.key = key
        self.in_hand: dict[int, float] = {}  # sequence, and until when
        self.gaps: list[tuple[int, int]] = []  # told, but perhaps to a connection that broke: until it acknowledges what came after
        self.turn = 0  # when something was dealt to it last
        self.seat: Seat | None = None
        self.gone_at = 0.0

    @property
    def has_room(self) -> bool:
        return self.seat is not None and len(self.in_hand) < self.seat.max_in_flight


class Sharing:
    """One group with members. Ends with its last one (`feed` forgets it); the room keeps the group."""

    def __init__(self, group: Group, feed: Feed, room: str, engine: Engine, spawn: Spawn, patience: Patience, begins: float) -> None:
        """`begins`: on the loop's clock: until then, members may come back from a broker that dealt to them before."""
        self.group = group
        self.members: dict[MemberKey, Member] = {}
        self._feed = feed
        self._room = room
        self._engine = engine
        self._spawn = spawn
        self._patience = patience
        self._begins = begins
        self._loop = asyncio.get_running_loop()
        self._of_type, self._of_subject = matcher(group.id[1]), matcher(group.id[2])
        self._undealt: deque[Event] = deque()
        self._lost: set[int] = set(group.open)  # to be read and dealt again
        self._unseen: set[int] = set()  # that nobody who is here may see
        self._holders: dict[int, Member] = {}
        self._attempts: dict[int, int] = {}
        self._before = max(group.found, group.through)  # up to here, events may have been dealt before: to members that are gone
        self._claims: dict[int, tuple[Member, int]] = {}  # in hand since before the broker was started, and not read again yet
        self._turns = 0
        self._reading: asyncio.Task[None] | None = None
        self._timer: Hearing | None = None
        self._closed = False

    # -- coming and going

    def join(self, key: MemberKey, seat: Seat, holding: Mapping[int, int]) -> None:
        """Somebody comes, or comes back.

        Args:
            holding: what it has in hand: sequences and attempts. Of what was dealt to it the rest never reached it and is dealt again.
        """
        member = self.members.get(key)
        if member is None:
            member = self.members[key] = Member(self, key)
        member.seat, seat.member = seat, member
        for gap in member.gaps:
            self._tell(seat, gap)
        for seq, attempt in holding.items():
            if seq > self.group.through:
                self._claims[seq] = (member, attempt)
            elif seq in self.group.open and seq not in self._holders:
                self._lost.discard(seq)
                self._hand(member, seat, seq, attempt)
        self._undealt = deque(event for event in self._undealt if event.seq not in self._holders)
        never_came = [seq for seq in member.in_hand if seq not in holding]
        for seq in never_came:
            self._attempts[seq] -= 1
        self._release(member, never_came)
        self.look_again()

    def look_again(self) -> None:
        """Members may see other events than before."""
        self._lost |= self._unseen
        self._unseen.clear()
        self.go_on()

    def away(self, member: Member) -> None:
        member.seat = None
        member.gone_at = self._loop.time()
        self._arm(member.gone_at + self._patience.grace)

    def quit(self, member: Member) -> None:
        del self.members[member.key]
        member.seat = None
        self._release(member, list(member.in_hand))
        if self.members:
            self.go_on()
        else:
            self.close()
            self._feed.forget(self)

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reading is not None:
            self._reading.cancel()

    # -- what happens

    def publish(self, events: Sequence[Event]) -> None:
        """Events just committed. Where everything before them was read, they need not be read again."""
        caught_up = self._reading is None and not self._undealt and not self._lost and self.group.through >= events[0].seq - 1
        if caught_up and not self._is_full:
            self._take(events)
        self.go_on()

    def ephemeral(self, topic: str, frame: dict[str, Any]) -> None:
        """A QoS 0 message: to one who is live and keeps up, if there is one."""
        seats = [(member, seat) for member, seat in self._there() if seat.view.covers("topic.published", topic)]
        if seats:
            member, seat = min(seats, key=lambda there: there[0].turn)
            self._mark(member)
            seat.reader.send(pack({"push": "message", "sub": seat.number, **frame}))

    def acknowledged(self, messages: Iterable[int]) -> None:
        for seq in messages:
            self._claims.pop(seq, None)
            self._attempts.pop(seq, None)
            self._lost.discard(seq)
            self._unseen.discard(seq)
            if (member := self._holders.pop(seq, None)) is not None:
                member.in_hand.pop(seq, None)
                member.gaps = [gap for gap in member.gaps if gap[1] > seq]
        self.go_on()

    def go_on(self) -> None:
        """Deal what is here, and read more as far as somebody takes it."""
        if self._reading is not None or self._closed:
            return
        self._deal()
        if self._wants_more():
            self._reading = self._spawn(self._read_or_tell())
        elif self._undealt or self._has_more:
            now = self._loop.time()
            if now < self._begins:
                self._arm(self._begins)
            elif len(list(self._there())) < len(self._seats()):
                self._arm(now + POLL)  # somebody is behind, or silent

    def _seats(self) -> list[Seat]:
        return [member.seat for member in self.members.values() if member.seat is not None]

    def _there(self) -> Iterator[tuple[Member, Seat]]:
        """Who could take something now."""
        now = self._loop.time()
        for member in self.members.values():
            seat = member.seat
            if seat is not None and not seat.reader.behind and now - seat.reader.last_heard <= self._patience.lease:
                yield member, seat

    # -- reading

    @property
    def _is_full(self) -> bool:
        return len(self.group.open) - len(self._unseen) >= WINDOW

    @property
    def _has_more(self) -> bool:
        return bool(self._lost) or (self.group.through < self._feed.through and not self._is_full)

    def _wants_more(self) -> bool:
        return self._has_more and self._loop.time() >= self._begins and any(member.has_room for member, _ in self._there())

    async def _read_or_tell(self) -> None:
        try:
            with telling(self._seats, room=self._room, group=self.group.id[0]):
                while self._wants_more():
                    if self._lost:
                        await self._read_lost()
                    else:
                        await self._read_on()
                    self._deal()
        finally:
            self._reading = None
        self.go_on()

    async def _read_lost(self) -> None:
        found = []
        for seq in sorted(self._lost)[:CHUNK_EVENTS]:
            events = await self._engine.events(self._room, seq - 1, 1)
            if seq not in self._lost:  # acknowledged meanwhile, or its holder is back
                continue
            self._lost.discard(seq)
            if events and events[0].seq == seq:
                found.append(events[0])
            else:  # retention has dropped it
                self.group.open.discard(seq)
                self._gap(seq, seq)
        still = [event for event in found if event.seq not in self._holders]  # while others were read, its holder may have come back
        self._undealt = deque(sorted([*still, *self._undealt], key=lambda event: event.seq))

    async def _read_on(self) -> None:
        group, feed = self.group, self._feed
        events = await self._engine.events(self._room, group.through, CHUNK_EVENTS, CHUNK_BYTES)
        if group.through + 1 < feed.first:  # and what was read may have holes
            self._gap(group.through + 1, feed.first - 1)
            group.through = feed.first - 1
        elif events:
            self._take(events)
        else:
            group.through = feed.through

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._of_type(event.type) and self._of_subject(event.subject or "") and self.group.meets(event.seq):
                member, attempt = self._claims.pop(event.seq, (None, 0))
                if member is not None and member.seat is not None:
                    self._hand(member, member.seat, event.seq, attempt)
                else:
                    self._undealt.append(event)
        self.group.through = max(self.group.through, events[-1].seq)

    def _gap(self, first: int, last: int) -> None:
        for member in self.members.values():
            member.gaps.append((first, last))
            if member.seat is not None:
                self._tell(member.seat, (first, last))

    def _tell(self, seat: Seat, gap: tuple[int, int]) -> None:
        seat.reader.send(gap_push(seat.number, self._room, *gap, self._feed.epoch))

    # -- dealing

    def _deal(self) -> None:
        if not self._undealt or self._loop.time() < self._begins:
            return
        there = list(self._there())
        dealt: dict[int, tuple[Seat, list[bytes], list[int]]] = {}
        for_nobody: list[Event] = []
        while self._undealt and (free := [(member, seat) for member, seat in there if member.has_room]):
            event = self._undealt.popleft()
            if event.seq not in self.group.open:  # acknowledged meanwhile
                continue
            fit = [(member, seat) for member, seat in free if seat.view.covers(event.type, event.subject or "")]
            if not fit:
                if any(seat.view.covers(event.type, event.subject or "") for seat in self._seats()):  # who has no room for it
                    for_nobody.append(event)
                else:
                    self._unseen.add(event.seq)
                continue
            member, seat = min(fit, key=lambda there: (len(there[0].in_hand), there[0].turn))
            self._mark(member)
            self._hand(member, seat, event.seq, self._attempts.get(event.seq, 1 if event.seq <= self._before else 0) + 1)
            _, events, attempts = dealt.setdefault(id(seat), (seat, [], []))
            events.append(seat.view.encode(event))
            attempts.append(self._attempts[event.seq])
        self._undealt.extendleft(reversed(for_nobody))
        for seat, events, attempts in dealt.values():
            seat.reader.send(dealt_push(seat.number, self._feed.epoch, events, attempts))
        if len(self._unseen) > UNSEEN:
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        """It would wait for ever, and nobody would know: its members may not see what they asked for."""
        text = (
            f"more than {UNSEEN} events of the group {self.group.id[0]!r} are for none of its members to see: ask for less, or grant more"
        )
        for seat in self._seats():
            seat.reader.end_subscription(seat.number, Refusal("not_authorized", text))

    def _hand(self, member: Member, seat: Seat, seq: int, attempt: int) -> None:
        until = self._loop.time() + seat.ack_within
        self._holders[seq] = member
        self._attempts[seq] = attempt
        member.in_hand[seq] = until
        self._arm(min(until, seat.reader.last_heard + self._patience.lease))

    def _mark(self, member: Member) -> None:
        self._turns += 1
        member.turn = self._turns

    def _release(self, member: Member, messages: Iterable[int]) -> None:
        """What the member had in hand is to be dealt again."""
        for seq in messages:
            del member.in_hand[seq], self._holders[seq]
            if seq in self.group.open:
                self._lost.add(seq)

    # -- time

    def _arm(self, when: float) -> None:
        if self._closed or (self._timer is not None and self._timer.when <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Hearing(max(when, self._loop.time() + 0.001), self._tick)

    def _tick(self, heard: float) -> None:
        """Take from members what they have had for too long, or can't have any more."""
        self._timer = None
        lease = self._patience.lease
        for member in list(self.members.values()):
            seat = member.seat
            if seat is None:
                if (until := member.gone_at + self._patience.grace) <= heard:
                    self.quit(member)
                else:
                    self._arm(until)
            elif member.in_hand:
                silent = seat.reader.last_heard + lease <= heard
                self._release(member, [seq for seq, until in member.in_hand.items() if silent or until <= heard])
                if member.in_hand:
                    self._arm(min(*member.in_hand.values(), seat.reader.last_heard + lease))
        self.go_on()
