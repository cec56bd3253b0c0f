"""One room on this node: what waits to be decided, what is being written, what is to be said."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from ..core.event import Event
from ..core.room import Room
from ..core.turn import Caller, Effect, Env, Reply, Then, Turn
from .fanout import Feed
from .vectors import Vectors

Call = Callable[["HostedRoom", Env], None]
"""Something the server does in a room, in order with the commands of the room."""

Work = tuple[Any, Caller, int | None, bool]
"""A command, who asks, the request's id, and whether the caller may open the room. For a `Call`, it is in the command's place."""


class HostedRoom:
    """The queues of one room, in the order a command passes them: `inbox` -> (the room) -> `turn` -> `in_flight` -> `unsaid`."""

    def __init__(self, name: str, feed: Feed) -> None:
        self.name = name
        self.feed = feed
        self.room: Room | None = None  # None: being loaded
        self.inbox: list[Work] = []
        self.awake = False  # its inbox is looked at in the next turn
        self.blocked = False  # something is fetched for the first of the inbox
        self.turn: Turn | None = None  # decided, not yet handed to the engine
        self.in_flight: Turn | None = None
        self.unsaid: deque[Said] = deque()  # stored, but the first of them waits for bodies
        self.catch_up = False  # its rows go with the next commit
        self.behind_bytes = 0  # of bodies in the log beyond the rows
        self.waiting_for_rows: list[tuple[int, asyncio.Future[None]]] = []  # until the rows tell everything up to this sequence
        self.vectors: dict[int, Vectors] = {}  # of items of the store, by their dimensions
        self.alarm: float | None = None  # when the node looks at the room's deadlines at the latest

    def collect(self, rows: bool = False) -> Turn:
        """Everything decided and not yet handed to the engine, as one turn. With `rows`, it is handed over now."""
        assert self.room is not None
        turn = self.room.take(rows)
        self.turn = turn if self.turn is None else absorb(self.turn, turn)
        return self.turn

    def unstored(self, keys: list[str]) -> dict[str, bytes | None]:
        """Values of cold rows that the room has handed over but that are not stored yet: the engine does not know them."""
        found: dict[str, bytes | None] = {}
        for turn in (self.in_flight, self.turn):
            if turn is None:
                continue
            for prefix in turn.deleted_prefixes:
                found.update((key, None) for key in keys if key.startswith(prefix))
            found.update((key, turn.records[key]) for key in keys if key in turn.records)
        return found

    def waiting(self) -> list[tuple[str, int]]:
        """Session and request of all who wait for something that is not stored, each once: for when it never will be."""
        turns = [self.in_flight, self.turn]
        if self.room is not None:
            with contextlib.suppress(Exception):  # of a broken room; who waits for what it can't hand over is closed
                turns = [self.in_flight, self.collect()]
        found = [asker for turn in turns if turn is not None for asker in _askers(turn.effects)]
        found.extend((caller.session, request) for _, caller, request, _ in self.inbox if request is not None)
        return list(dict.fromkeys(found))

    def unanswered(self) -> list[tuple[str, int]]:
        """Session and request of all whose answer waits for a body: for when there never will be one."""
        return [asker for said in self.unsaid for asker in _askers(said.effects[said.next :])]


class Said:
    """What a stored turn has to say: effects, then events. A batch of it waits when bodies have to be fetched."""

    __slots__ = ("effects", "events", "last", "next")

    def __init__(self, turn: Turn) -> None:
        self.effects = turn.effects
        self.events: list[Event] = turn.events
        self.last = turn.events[-1].seq if turn.events else turn.expected_sequence
        self.next = 0  # the first effect that was not carried out yet


def _askers(effects: list[Effect]) -> list[tuple[str, int]]:
    return [(effect.session, effect.id) for effect in effects if isinstance(effect, Reply | Then) and effect.id is not None]


def absorb(turn: Turn, later: Turn) -> Turn:
    """Two turns of a room, one after the other, as one."""
    if later.deleted_prefixes:
        prefixes = tuple(later.deleted_prefixes)
        turn.records = {key: value for key, value in turn.records.items() if not key.startswith(prefixes)}
        turn.deleted_prefixes.extend(later.deleted_prefixes)
    turn.events.extend(later.events)
    turn.heads.update(later.heads)
    turn.records.update(later.records)
    turn.effects.extend(later.effects)
    turn.caught_up = later.caught_up
    return turn
