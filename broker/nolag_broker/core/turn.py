"""What flows in and out of a room: who asks, the moment it is, and what a turn of decisions changes.

Decide, then do (httpcore's pool is the model): the room applies its decisions at once and says in a `Turn` what is
to be written and what is to be said; the node writes it, and only then says it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..wire.grants import Grants
from .calendar import NO_CALENDAR, Calendar
from .event import Event


@dataclass(frozen=True, slots=True)
class Env:
    """The moment of a decision. Leases run on `now`, what people see and schedule on `wall`.

    Args:
        now: monotonic seconds.
        wall: seconds since 1970, UTC.
        random: a number in [0, 1), for jitter.
        new_id: makes an identifier that is unique in the world.
        calendar: knows when cron lines come.
    """

    now: float
    wall: float
    random: Callable[[], float]
    new_id: Callable[[], str]
    calendar: Calendar = NO_CALENDAR


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the token says, and on which connection.

    Args:
        session: one connection.
        actor: who; the server stamps it on everything.
        instance: one process, over its reconnects.
        grants: what the token allows; a room asks for each operation.
        roles: for approvers and quorum.
    """

    session: str
    actor: str
    instance: str
    grants: Grants
    roles: frozenset[str] = frozenset()


BROKER = Caller(session="", actor="@broker", instance="", grants=Grants(()))
"""The caller of what the room does by itself: timers, expiries."""


class Reply:
    """The response to a request, to be sent once everything decided so far is durable. `epoch` is added by the node.
    Values of `ok` may be `BodyAt`, `RecordAt` or `ScanAt`. `seq` is the room's sequence when it was decided: the one that the
    answer reflects (None: the node takes the sequence at the end of the turn)."""

    __slots__ = ("err", "id", "ok", "seq", "session")

    def __init__(
        self, session: str, id: int, ok: dict[str, Any] | None = None, err: dict[str, Any] | None = None, seq: int | None = None
    ) -> None:
        self.session = session
        self.id = id
        self.ok = ok
        self.err = err
        self.seq = seq


class Push:
    """A frame for one connection, dropped if the connection is gone. Values may be `BodyAt`."""

    __slots__ = ("frame", "session")

    def __init__(self, session: str, frame: dict[str, Any]) -> None:
        self.session = session
        self.frame = frame


@dataclass(slots=True)
class Ephemeral:
    """A QoS 0 message: to the topic's subscribers, never to the log."""

    topic: str
    frame: dict[str, Any]


class BodyAt:
    """Stands in a reply or push for the body of the event at `seq`: bodies do not stay in memory. The node replaces it by
    the bytes (from what it is about to write, from its cache, or from the engine) before the frame leaves."""

    __slots__ = ("seq",)

    def __init__(self, seq: int) -> None:
        self.seq = seq

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BodyAt) and self.seq == other.seq

    def __hash__(self) -> int:
        return hash(self.seq)

    def __repr__(self) -> str:
        return f"BodyAt({self.seq})"


@dataclass(frozen=True, slots=True)
class RecordAt:
    """Stands in a reply for the value of the cold key `key` (None when absent), read after the turn is durable."""

    key: str


@dataclass(frozen=True, slots=True)
class ScanAt:
    """Stands in a reply for `[[key, value], …]` of the cold keys that begin with `prefix`, between exclusive bounds; `limit` at most."""

    prefix: str
    after: str | None = None
    before: str | None = None
    reverse: bool = False
    limit: int = 100
    bodies: bool = True


GroupKey = tuple[str, str, str]
"""A consumer group: its name, and the patterns of types and subjects of the events that it shares."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """These events are dealt with in a group: who had them in hand can have others."""

    group: GroupKey
    messages: list[int]


@dataclass(frozen=True, slots=True)
class Then:
    """What the server does itself, in its place among the effects: an answer to the request `id` (None: nobody waits) that is not the
    room's to give. Dropped if the connection is gone."""

    session: str
    id: int | None
    do: Callable[[], object]


Effect = Reply | Push | Ephemeral | Acknowledged | Then


@dataclass(slots=True)
class Turn:
    """What decisions since the last hand-over changed. One turn is one commit of a room: all of it, or nothing.

    Args:
        events: appended to the log, in order; the first has the sequence after `expected_sequence`.
        heads: rows that are loaded again at recovery (value None: delete).
        caught_up: with this turn the rows are the fold of the whole log. Otherwise they stay behind, and recovery folds what came since.
        records: rows that are only read when asked for (value None: delete).
        deleted_prefixes: ranges of records that go, before `records` are put.
        effects: to be carried out after the commit, in order.
    """

    expected_sequence: int
    events: list[Event] = field(default_factory=list)
    heads: dict[str, bytes | None] = field(default_factory=dict)
    records: dict[str, bytes | None] = field(default_factory=dict)
    deleted_prefixes: list[str] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    caught_up: bool = False

    @property
    def end(self) -> int:
        """The sequence of the last event, once it is stored."""
        return self.expected_sequence + len(self.events)

    @property
    def writes(self) -> bool:
        return bool(self.events or self.heads or self.records or self.deleted_prefixes or self.caught_up)
