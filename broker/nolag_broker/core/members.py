"""Who is here: members and the connections they are on, their leases, and presence.

A member is a process of an actor. Its lease runs on the monotonic clock and is renewed by any sign of life; when it
ends, the member has left, and what it held goes to others. Only joining, changing and leaving are facts of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ..wire.codec import pack
from ..wire.codes import Refusal
from .commands.rooms import PresenceList, PresenceUpdate, RoomInfo, RoomJoin, RoomLeave
from .entity import SEPARATOR, Entity
from .event import Event
from .tasks.matching import Offer
from .tasks.task import Holder, Task
from .timers import Timer
from .turn import Caller

if TYPE_CHECKING:
    from .approvals.approval import Approval
    from .room import Room
    from .streams.stream import Follower, Stream


GRID: Final = 0.5  # seconds that a lease may end late


class Session:
    """One connection that has something in this room."""

    __slots__ = ("following", "id", "inbox", "inbox_live", "member", "offers", "reading", "watching", "writing")

    def __init__(self, id: str) -> None:
        self.id = id
        self.member: Member | None = None
        self.offers: dict[int, Offer] = {}
        self.following: dict[Task, None] = {}
        self.watching: dict[Approval, None] = {}
        self.reading: dict[int, Follower] = {}
        self.writing: dict[Stream, None] = {}
        self.inbox = False  # it reads its actor's,
        self.inbox_live = False  # and has all that waited there: what comes is pushed

    @property
    def has_something(self) -> bool:
        return bool(self.member or self.offers or self.following or self.watching or self.reading or self.writing)


class Registration:
    """One tool that an offer serves; its description is the body of the event at `seq`."""

    __slots__ = ("digest", "seq")

    def __init__(self, seq: int, digest: str | None) -> None:
        self.seq = seq
        self.digest = digest


class Member(Entity):
    """One process that joined."""

    __slots__ = (
        "actor",
        "capabilities",
        "instance",
        "joined_at",
        "last_heartbeat",
        "max_concurrency",
        "metadata",
        "present",
        "seq",
        "session",
        "status",
        "timer",
        "tools",
        "until",
    )

    def __init__(self, actor: str, instance: str, seq: int, joined_at: float) -> None:
        self.stored = False
        self.present = True
        self.seq = seq  # of its joining
        self.actor = actor
        self.instance = instance
        self.joined_at = joined_at
        self.capabilities: list[str] = []
        self.max_concurrency = 1
        self.status = ""
        self.metadata: dict[str, Any] = {}
        self.tools: dict[tuple[str, int], Registration] = {}  # by name and offer
        # not stored
        self.session: Session | None = None
        self.last_heartbeat = joined_at
        self.until = 0.0
        self.timer: Timer | None = None

    @property
    def holder(self) -> Holder:
        return self.actor, self.instance

    @property
    def key(self) -> str:
        return f"member/{self.actor}{SEPARATOR}{self.instance}"

    def describe(self, data: Mapping[str, Any]) -> None:
        self.capabilities = list(data["capabilities"])
        self.max_concurrency = data["max_concurrency"]
        self.status = data["status"]
        self.metadata = data["metadata"]

    def head(self) -> bytes | None:
        if not self.present:
            return None
        tools = [(name, self.tools[name, offer].seq, self.tools[name, offer].digest, offer) for name, offer in sorted(self.tools)]
        row: bytes = pack(
            (
                self.actor,
                self.instance,
                self.seq,
                self.joined_at,
                self.capabilities,
                self.max_concurrency,
                self.status,
                self.metadata,
                tools,
            )
        )
        return row

    @classmethod
    def from_head(cls, row: bytes) -> Member:
        actor, instance, seq, joined_at, capabilities, max_concurrency, status, metadata, tools = msgpack.unpackb(row)
        self = cls(actor, instance, seq, joined_at)
        self.stored = True
        self.capabilities, self.max_concurrency, self.status, self.metadata = capabilities, max_concurrency, status, metadata
        self.tools = {(name, offer): Registration(seq, digest) for name, seq, digest, offer in tools}
        return self


class Members:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.by_holder: dict[Holder, Member] = {}
        self._by_actor: dict[str, dict[Member, None]] = {}
        self._sessions: dict[str, Session] = {}

    def operations(self) -> dict[type, Any]:
        return {
            RoomJoin: self.join,
            RoomLeave: self.leave,
            RoomInfo: self.info,
            PresenceUpdate: self.update,
            PresenceList: self.list_members,
        }

    def folds(self) -> dict[str, Any]:
        return {
            "presence.joined": self.apply_joined,
            "presence.updated": self.apply_updated,
            "presence.left": self.apply_left,
        }

    # -- the fold

    def apply_joined(self, event: Event) -> None:
        member = Member(event.subject or "", event.data["instance"], event.seq, event.time)
        member.describe(event.data)
        self._enter(member)
        self._room.touch(member)

    def apply_updated(self, event: Event) -> None:
        member = self.by_holder[event.subject or "", event.data["instance"]]
        member.describe(event.data)
        self._room.touch(member)

    def apply_left(self, event: Event) -> None:
        member = self.by_holder.pop((event.subject or "", event.data["instance"]))
        actors = self._by_actor[member.actor]
        del actors[member]
        if not actors:
            del self._by_actor[member.actor]
        member.present = False
        self._room.touch(member)

    def load(self, rows: Mapping[str, bytes]) -> None:
        members = [Member.from_head(row) for key, row in rows.items() if key.startswith("member/")]
        for member in sorted(members, key=lambda member: member.seq):
            self._enter(member)
            member.last_heartbeat = self._room.env.wall
            self._arm(member, self._room.limits.lease)

    def _enter(self, member: Member) -> None:
        self.by_holder[member.holder] = member
        self._by_actor.setdefault(member.actor, {})[member] = None

    # -- connections

    @property
    def anybody(self) -> bool:
        """Whether there is a member, or a connection that has something here."""
        return bool(self.by_holder or self._sessions)

    def session(self, caller: Caller) -> Session:
        session = self._sessions.get(caller.session)
        if session is None:
            session = self._sessions[caller.session] = Session(caller.session)
        return session

    def joined(self, caller: Caller) -> Member:
        """The member on this connection.

        Raises:
            Refusal: `not_joined`.
        """
        session = self._sessions.get(caller.session)
        if session is None or session.member is None:
            raise Refusal("not_joined", "join the room first (room.join); a member that was silent for too long joins again")
        return session.member

    def of_actor(self, actor: str) -> list[Member]:
        """The members of this actor: those online, or, when none is, those whose lease has not ended."""
        members = list(self._by_actor.get(actor, ()))
        return [member for member in members if member.session is not None] or members

    def heartbeat(self, session: str) -> None:
        known = self._sessions.get(session)
        if known is not None and (member := known.member) is not None:
            env = self._room.env
            member.until = env.now + self._room.limits.lease
            member.last_heartbeat = env.wall

    def release(self, id: str) -> bool:
        """Whether this connection has nothing here; then it is forgotten."""
        session = self._sessions.get(id)
        if session is not None and session.has_something:
            return False
        self._sessions.pop(id, None)
        return True

    def disconnected(self, id: str) -> None:
        if (session := self._sessions.pop(id, None)) is None:
            return
        self._drop_offers(session)
        for task in session.following:
            if task.live is not None:
                del task.live.followers[session]
        for approval in session.watching:
            del approval.watchers[session]
        self._room.streams.disconnected(session)
        member = session.member
        if member is not None and member.session is session:
            member.session = session.member = None
            self._room.tasks.cut_off(member.holder)
            env, limits = self._room.env, self._room.limits
            self._arm(member, min(member.until - env.now, limits.disconnect_grace))

    def shut_out(self, session: Session) -> None:
        """A connection that may not be in the room any more: its member has left, and it has nothing here. It hears of that as one whose
        lease has ended: it asks to join again, and is refused."""
        if session.has_something:
            self._room.push(session, {"push": "expired", "room": self._room.name})
        if session.member is not None:
            self._remove(session.member, "not_authorized", lost=False)
        self.disconnected(session.id)

    def _drop_offers(self, session: Session) -> None:
        """Its offers end; what they hold stays the member's, without an offer, until it serves again."""
        tasks = self._room.tasks
        for offer in session.offers.values():
            tasks.market.close(offer)
        session.offers.clear()
        if session.member is not None:
            for task in tasks.held.get(session.member.holder, {}).values():
                if task.live is not None:
                    task.live.offer = None

    # -- leases

    def _arm(self, member: Member, seconds: float) -> None:
        member.until = self._room.env.now + seconds
        self._look_later(member)

    def _look_later(self, member: Member) -> None:
        """Look when its lease ends, or a little later: at the same moments in all rooms, so that many idle members are one awakening."""
        timers = self._room.monotonic
        grid = min(GRID, self._room.limits.lease / 20)
        timers.cancel(member.timer)
        when = max(ceil(member.until / grid) * grid, member.until)  # rounding must not make it too early
        member.timer = timers.at(when, self._lease_due, member, member.seq)

    def _lease_due(self, member: Member) -> None:
        """Renewals do not move the timer, they only move the end; so look again when that has moved."""
        if member.until > self._room.heard:
            self._look_later(member)
            return
        session = member.session
        self._remove(member, "lease_expired", lost=True)
        if session is not None:  # the process is frozen, but its connection lives: it hears of this when it goes on
            self._room.push(session, {"push": "expired", "room": self._room.name})

    def _remove(self, member: Member, reason: str, *, lost: bool) -> None:
        room = self._room
        room.monotonic.cancel(member.timer)
        if (session := member.session) is not None:
            self._drop_offers(session)
            session.member = member.session = None
            session.inbox = session.inbox_live = False
        room.tasks.abandon(member.holder, lost=lost)
        room.streams.abandon(member.holder)
        room.tools.unregister_all(member)
        room.emit("presence.left", member.actor, {"instance": member.instance, "reason": reason})

    # -- operations

    def join(self, command: RoomJoin, caller: Caller) -> dict[str, Any]:
        room = self._room
        room.admit()
        opened = room.seq == 0
        data = {
            "instance": caller.instance,
            "capabilities": sorted(command.capabilities),
            "max_concurrency": command.max_concurrency,
            "status": command.status,
            "metadata": command.metadata or {},
        }
        member = self.by_holder.get((caller.actor, caller.instance))
        if member is None:
            if len(self.by_holder) >= room.limits.members:
                raise Refusal("overloaded", f"{room.limits.members} members are here already")
            room.emit("presence.joined", caller.actor, data)
            member = self.by_holder[caller.actor, caller.instance]
        elif any(getattr(member, name) != value for name, value in data.items()):
            room.emit("presence.updated", caller.actor, data)
        session = self.session(caller)
        if (before := member.session) is not None and before is not session:
            self._drop_offers(before)
            before.member = None
            before.inbox = before.inbox_live = False
        if before is not session:
            room.tools.expect(member, session)
        session.member, member.session = member, session
        member.last_heartbeat = room.env.wall
        self._arm(member, room.limits.lease)
        return {"opened": opened}

    def leave(self, command: RoomLeave, caller: Caller) -> dict[str, Any]:
        session = self._sessions.get(caller.session)
        if session is not None and session.member is not None:
            self._remove(session.member, "left", lost=False)
        return {}

    def update(self, command: PresenceUpdate, caller: Caller) -> dict[str, Any]:
        member = self.joined(caller)
        data = {
            "instance": member.instance,
            "capabilities": member.capabilities if command.capabilities is None else sorted(command.capabilities),
            "max_concurrency": member.max_concurrency if command.max_concurrency is None else command.max_concurrency,
            "status": member.status if command.status is None else command.status,
            "metadata": member.metadata if command.metadata is None else command.metadata,
        }
        if any(getattr(member, name) != value for name, value in data.items()):
            self._room.emit("presence.updated", member.actor, data)
        return {}

    def list_members(self, command: PresenceList, caller: Caller) -> dict[str, Any]:
        self._room.admit()
        return {"members": [self._view(member) for member in self.by_holder.values()]}

    def info(self, command: RoomInfo, caller: Caller) -> dict[str, Any]:
        room = self._room
        room.admit()
        return {
            "name": room.name,
            "epoch": room.epoch,
            "seq": room.seq,
            "retention": room.retention.view(),
            "tasks": {state: len(tasks) for state, tasks in room.tasks.by_state.items()},
            "members": len(self.by_holder),
            "approvals": room.approvals.pending_count,
        }

    def _view(self, member: Member) -> dict[str, Any]:
        return {
            "actor": member.actor,
            "instance": member.instance,
            "capabilities": member.capabilities,
            "max_concurrency": member.max_concurrency,
            "load": len(self._room.tasks.held.get(member.holder, ())),
            "status": member.status,
            "metadata": member.metadata,
            "joined_at": member.joined_at,
            "last_heartbeat": member.last_heartbeat,
            "online": member.session is not None,
        }
