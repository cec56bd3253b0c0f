"""One room: a log of events, the state folded from it, and what is decided on that state.

The parts (tasks, members, blackboard, …) decide by emitting events, and change only by folding them. What is ephemeral
(connections, offers, leases' ends, progress) is the exception: it is not in the log and is gone with a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..wire.codes import Refusal
from .approvals.approvals import Approvals
from .blackboard import Blackboard
from .commands.command import Command
from .commands.keyed import RecordScan
from .entity import Entity
from .event import Event
from .limits import Limits
from .members import Members, Session
from .messages.cursors import Cursors
from .messages.groups import Groups
from .messages.inbox import Inbox
from .messages.topics import Topics
from .once import Once
from .records import Records
from .requests import Requests
from .retention import Retention
from .store.store import Store
from .streams.reading import StreamReading
from .streams.streams import Streams
from .streams.writing import StreamWriting
from .tasks.beginning import Beginning
from .tasks.dispatching import Dispatching
from .tasks.effects import Effects
from .tasks.schedules import Schedules
from .tasks.serving import Serving
from .tasks.tasks import Tasks
from .timers import EARLY, Timers
from .tools import Tools
from .turn import BROKER, Caller, Env, Push, Reply, Turn
from .wanted import Wanted


class Room:
    """The interface between the core and the node.

    The node calls, for one room, strictly one after the other:
      needs -> (fetches) -> come_due, once for all that follows -> decide; disconnected, tick, …; take.
    """

    __deletable__ = (  # a compiled class lets go of nothing else
        "members",
        "tasks",
        "serving",
        "tools",
        "blackboard",
        "store",
        "approvals",
        "inbox",
        "topics",
        "once",
        "retention",
        "records",
        "cursors",
        "groups",
        "streams",
        "schedules",
        "_requests",
        "_wanted",
    )

    def __init__(self, name: str, epoch: str, limits: Limits | None = None) -> None:
        self.name = name
        self.epoch = epoch
        self.seq = 0  # of the last event decided, durable or not
        self.limits = limits or Limits()
        self.monotonic = Timers()
        self.wall = Timers()

        # the moment: who asks, when, and what was fetched for it
        self.caller = BROKER
        self.env = Env(0.0, 0.0, lambda: 0.5, lambda: "")
        self.heard = 0.0  # see `tick`
        self._cold: Mapping[str, bytes | None] = {}

        # what changed since the last `take`
        self._turn = Turn(0)
        self._standing: list[Reply] = []
        self._unlogged: dict[Entity, None] = {}
        self._behind: dict[Entity, None] = {}  # logged, and not written since
        self._folded = 0  # the rows are the fold of the log up to here

        self.members = Members(self)
        self.tasks = Tasks(self)
        self.tools = Tools(self)
        self.blackboard = Blackboard(self)
        self.store = Store(self)
        self.approvals = Approvals(self)
        self.inbox = Inbox(self)
        self.serving = Serving(self)
        self.topics = Topics(self)
        self.once = Once(self)
        self.retention = Retention(self)
        self.records = Records(self)
        self.cursors = Cursors(self)
        self.groups = Groups(self)
        self.streams = Streams(self)
        self.schedules = Schedules(self)
        self._requests = Requests(self)
        self._wanted = Wanted(self)
        both = (Effects(self), self.members, self.tools, self.blackboard, self.approvals, self.inbox, self.topics, self.retention)
        self._folds: dict[str, Callable[[Event], None]] = {"room.opened": _nothing}
        for folding in (self.tasks, self.streams, self.schedules, self.store, self.records, *both):
            self._folds.update(folding.folds())
        self._operations: dict[type, Callable[[Any, Caller], dict[str, Any]]] = {}
        streaming = (StreamWriting(self), StreamReading(self))
        others = (self.cursors, self.groups, self.schedules, self.store)
        for deciding in (Dispatching(self), Beginning(self), self.serving, self.records, *others, *streaming, *both):
            self._operations.update(deciding.operations())

    @classmethod
    def recover(cls, name: str, epoch: str, sequence: int, heads: Mapping[str, bytes], env: Env, limits: Limits | None = None) -> Room:
        """The room as its rows say, the fold of the log up to `sequence`. Members are away and leases start again at full length."""
        room = cls(name, epoch, limits)
        room.seq = room._folded = room._turn.expected_sequence = sequence
        room.env = env
        room.members.load(heads)
        room.tools.load()
        room.tasks.load(heads, env.wall)
        room.records.load(sequence)
        both = (room.blackboard, room.approvals, room.inbox, room.topics, room.retention)
        for part in (*both, room.cursors, room.groups, room.streams, room.schedules, room.store, room._requests):
            part.load(heads)
        return room

    def replay(self, events: Iterable[Event]) -> None:
        """Fold what the log holds beyond the rows that the room was recovered from. Then the rows are to be written (`take`) and the room
        recovered from these: a fold knows nothing of connections and leases."""
        for event in events:
            self.apply(event)
        self._turn.expected_sequence = self.seq

    # -- what the node calls

    def needs(self, command: Command) -> Sequence[str]:
        """Cold keys whose values `decide` must be given for this command; usually none. The values must be those after every
        turn handed over by `take`, committed or not; what was decided since is not asked for."""
        keys = self._wanted.by(command)
        if not keys:
            return ()
        return [key for key in keys if key not in self._turn.records]

    def decide(self, command: Command, caller: Caller, request: int | None, cold: Mapping[str, bytes | None], env: Env) -> None:
        """Decide one command (see `command.parse`). What changes is applied at once; the reply, or the refusal, and what is to be
        pushed are among the effects of the next `take`. Never raises `Refusal`."""
        self.caller, self.env, self._cold = caller, env, cold
        requests, effects = self._requests, self._turn.effects
        mark = len(effects)  # the reply goes before what the command pushes: it may say what the pushes are about
        if command.done:
            requests.done(caller, command.done)
        try:
            ok = requests.answered(caller, request) if command.resent and request is not None else None
            if ok is None:
                ok = self._operations[type(command)](command, caller)
                if command.once and request is not None:
                    requests.remember(caller, request, ok)
            if type(command) is RecordScan and "same" in ok and request is not None:
                self._standing.append(Reply(caller.session, request, ok, seq=command.since))
            elif request is not None:
                effects.insert(mark, Reply(caller.session, request, ok, seq=self.seq))
        except Refusal as refusal:
            if request is not None:
                effects.insert(mark, Reply(caller.session, request, err=refusal.to_wire(), seq=self.seq))
        self.tasks.settle()

    def disconnected(self, session: str, env: Env) -> None:
        """A connection is gone. Its member stays until its lease ends."""
        self.caller, self.env = BROKER, env
        self.members.disconnected(session)
        self.tasks.settle()

    def refreshed(self, caller: Caller, env: Env) -> None:
        """A connection has a newer token, of other grants perhaps: what they do not cover any more ends for it."""
        self.caller, self.env = caller, env
        session = self.members.session(caller)
        self.serving.refreshed(session, caller)
        self.streams.refreshed(session, caller)
        if not caller.grants.touches(self.name):
            self.members.shut_out(session)
        self.tasks.settle()

    def items_read(self, caller: Caller, revisions: Iterable[int], env: Env) -> None:
        """These items of the store were found by a search: their time begins anew."""
        self.caller, self.env = caller, env
        self.store.refresh(revisions)

    def heartbeat(self, session: str, env: Env) -> None:
        """A sign of life: renews the leases of the member on this connection. Whatever comes on it counts."""
        self.env = env
        self.members.heartbeat(session)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do at the latest (on `Env.now`)."""
        moments = []
        if (lease := self.monotonic.next()) is not None:
            moments.append(lease)
        if (wall := self.wall.next()) is not None:
            moments.append(wall - self.env.wall + self.env.now)
        return min(moments, default=None)

    def come_due(self, env: Env) -> None:
        """Whatever was to happen by the wall clock: timeouts, delays, expiries. Before anything is decided at this moment: what comes after
        its time, when a broker was away or an alarm is late, is not decided as if it had come before."""
        if (when := self.wall.next()) is not None and when <= env.wall + EARLY:
            self.caller, self.env = BROKER, env
            self.wall.run(env.wall + EARLY)
            self.tasks.settle()

    def tick(self, env: Env, heard: float | None = None) -> None:
        """Whatever has come due: leases too.

        Args:
            heard: the moment (on `Env.now`, which it is if not given) up to which every sign of life was told. Whose lease ends later has
                perhaps given one, and is judged when that is known.
        """
        self.come_due(env)
        self.caller, self.env, self.heard = BROKER, env, env.now if heard is None else heard
        self.monotonic.run(self.heard)
        self.tasks.settle()

    @property
    def is_still(self) -> bool:
        """Nobody is here, nothing goes on and no moment is awaited: recovered from its rows it would be the same."""
        goes_on = self.tasks.backlog or self.streams.open_count or len(self.monotonic) or len(self.wall)
        return not (self.behind or self.members.anybody or goes_on)

    def dismantle(self) -> None:
        """The end of a room in memory. It and its parts refer to each other: left like this, they would stay until a garbage collection
        finds them, and a broker has its collections far apart."""
        self._folds.clear()
        self._operations.clear()
        self._behind.clear()
        self._wanted.clear()
        del self.members, self.tasks, self.serving, self.tools, self.blackboard, self.store, self.approvals, self.inbox, self.topics
        del self.once, self.retention, self.records, self.cursors, self.groups, self.streams, self.schedules, self._requests, self._wanted

    @property
    def behind(self) -> int:
        """How many events the rows are behind the log."""
        return self.seq - self._folded

    def take(self, rows: bool) -> Turn:
        """What was decided since the last `take`. With `rows`, what is behind the log too, encoded as it is now."""
        turn = self._turn
        _encode(self._unlogged, turn.heads)
        if rows and self._folded != self.seq:
            _encode(self._behind, turn.heads)
            self.tasks.finished.write(turn.records)
            self._folded, turn.caught_up = self.seq, True
        self._turn = Turn(self.seq)
        return turn

    def take_standing(self) -> list[Reply]:
        """Answers that say nothing but that what somebody was told before still stands: they wait for no commit."""
        standing, self._standing = self._standing, []
        return standing

    def apply(self, event: Event) -> None:
        """Fold one event. `decide` uses it and so does replay: folding the whole log gives the same heads."""
        self.seq = event.seq
        if begins := event.time >= self.tasks.finished.until:
            self.tasks.finished.advance(event.time)
        self._folds.get(event.type, self.topics.apply_emitted)(event)
        if begins:  # after the fold: the event may be about something that expires now
            self.tasks.expire()

    # -- what the parts use

    def emit(
        self,
        type: str,
        subject: str | None,
        data: dict[str, Any],
        body: bytes | None = None,
        ct: str | None = None,
        parent: int | None = None,
        id: str | None = None,
    ) -> Event:
        """The one way in which anything becomes a fact."""
        if not self.seq and type != "room.opened":
            self.emit("room.opened", None, {})
        event = Event(self.seq + 1, type, self.env.wall, self.caller.actor, data, subject, body, ct, parent, id)
        self._turn.events.append(event)
        self.apply(event)
        return event

    def touch(self, entity: Entity) -> None:
        """The entity's row is to be written, or deleted: with this turn, or later if the log tells of the change."""
        (self._behind if entity.logged else self._unlogged)[entity] = None

    def push(self, session: Session, frame: dict[str, Any]) -> None:
        self._turn.effects.append(Push(session.id, frame))

    def effect(self, effect: Any) -> None:
        self._turn.effects.append(effect)

    def put_record(self, key: str, value: bytes | None) -> None:
        self._turn.records[key] = value

    def delete_records(self, prefix: str) -> None:
        """Everything under the prefix goes, this turn's own records too; what is put later in the turn stays."""
        records = self._turn.records
        for key in [key for key in records if key.startswith(prefix)]:
            del records[key]
        self._turn.deleted_prefixes.append(prefix)

    def cold(self, key: str) -> bytes | None:
        """The record as it is now: what this turn did to it counts, then what was fetched."""
        turn = self._turn
        if key in turn.records:
            return turn.records[key]
        if any(key.startswith(prefix) for prefix in turn.deleted_prefixes):
            return None
        return self._cold.get(key)

    def admit(self) -> None:
        """Raises `Refusal` (`not_authorized`) when no grant of the caller has to do with this room."""
        self.caller.grants.admit(self.name)

    def allow(self, verb: str, resource: str) -> None:
        """Raises `Refusal` (`not_authorized`) when the caller's grants do not cover this."""
        self.caller.grants.demand(verb, self.name, resource)


def _encode(changed: dict[Entity, None], heads: dict[str, bytes | None]) -> None:
    for entity in changed:
        head = entity.head()
        if head is not None:
            heads[entity.key] = head
            entity.stored = True
        elif entity.stored:
            heads[entity.key] = None
            entity.stored = False
    changed.clear()


def _nothing(event: Event) -> None:
    """A fact that changes no state."""
