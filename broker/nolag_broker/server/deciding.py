"""Turns of the event loop: what has come in a room is decided, stored and said, a part after the other. Never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

from ..core.room import Room
from ..core.turn import Env
from ..engine.base import Engine
from .alarms import Alarms
from .committing import Committer
from .hosted import HostedRoom, Work
from .speaker import Speaker
from .then import then

# Commands of a room decided in one turn: half of what waits, so that those for whom the first part brings something work on that while
# the rest is decided. With all at once everybody waits for everybody; with fewer the commits cost more than that brings.
LEAST: Final = 64
MOST: Final = 256


class Keeper(Protocol):
    """Whoever keeps the rooms."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is not overlooked."""

    def env(self) -> Env:
        """This moment."""

    def broke(self, hosted: HostedRoom, error: Exception, suspects: int) -> None:
        """A defect: so many of the first in the inbox may have brought it about."""

    def fail(self, error: BaseException) -> None:
        """A defect of ours: nothing is decided any more."""


class Decider:
    """Takes what waits in the inboxes of rooms."""

    def __init__(self, keeper: Keeper, engine: Engine, commits: Committer, speaker: Speaker, alarms: Alarms) -> None:
        self._keeper = keeper
        self._engine = engine
        self._commits = commits
        self._speaker = speaker
        self._alarms = alarms
        self._loop = asyncio.get_running_loop()
        self._ready: list[HostedRoom] = []  # rooms with something to decide in the next turn
        self._scheduled = False

    @property
    def waits(self) -> bool:
        """Something is to be decided in the next turn."""
        return bool(self._ready)

    @property
    def idle(self) -> bool:
        """No turn is to come."""
        return not self._scheduled

    def wake(self, hosted: HostedRoom) -> None:
        """Look at its inbox in the next turn."""
        if hosted.room is None or hosted.blocked:
            return
        if not hosted.awake:
            hosted.awake = True
            self._ready.append(hosted)
        self.soon()

    def soon(self) -> None:
        """Have a turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        ready, self._ready = self._ready, []
        try:
            env = self._keeper.env()
            for hosted in ready:
                hosted.awake = False
                try:
                    self._decide(hosted, env)
                except Exception as error:  # before anything was decided: one of these did it
                    self._keeper.broke(hosted, error, _part(hosted))
            self._commits.soon()
        except Exception as error:
            self._keeper.fail(error)
        self._scheduled = False  # what is left has its turn behind what was said now: that is written to the sockets first
        if self._ready:
            self.soon()

    def _decide(self, hosted: HostedRoom, env: Env) -> None:
        room = hosted.room
        if room is None or hosted.blocked:
            return
        inbox = hosted.inbox[: _part(hosted)]
        cold: dict[str, bytes | None] = {}
        if any(room.needs(command) for command, _, _, _ in inbox if not callable(command)):
            if self._commits.behind.due(hosted):  # first the rows, which can't be written while something is read: it might always be
                self._commits.add(hosted)
                return
            cold, missing = self._wanted(hosted, room, inbox)
            found = self._engine.records_at_once(hosted.name, missing)
            if found is None:  # nothing of the room is decided while they are read
                hosted.blocked = True
                self._keeper.spawn(then(self._engine.records(hosted.name, missing), partial(self._decide_with, hosted, len(inbox), cold)))
                return
            cold.update(found)
        self._take(hosted, room, len(inbox), cold, env)

    def _wanted(self, hosted: HostedRoom, room: Room, inbox: list[Work]) -> tuple[dict[str, bytes | None], list[str]]:
        """The cold rows that are needed for what was asked, as far as they are at hand, and the keys of those that are to be read."""
        hosted.collect()  # before `needs`, which does not ask for what the room has not yet handed over
        if hosted.turn is not None:
            self._commits.add(hosted)
        keys = list(dict.fromkeys([key for command, _, _, _ in inbox if not callable(command) for key in room.needs(command)]))
        unstored = hosted.unstored(keys)
        return {key: unstored.get(key) for key in keys}, [key for key in keys if key not in unstored]

    def _decide_with(self, hosted: HostedRoom, count: int, cold: dict[str, bytes | None], found: dict[str, bytes]) -> None:
        """Decide so many of the first in the inbox, with the cold rows they need."""
        hosted.blocked = False
        if hosted.room is None:
            return
        cold.update(found)
        self._take(hosted, hosted.room, count, cold, self._keeper.env())
        self._commits.soon()

    def _take(self, hosted: HostedRoom, room: Room, count: int, cold: Mapping[str, bytes | None], env: Env) -> None:
        inbox, hosted.inbox = hosted.inbox[:count], hosted.inbox[count:]
        decided = suspects = 0
        try:
            room.come_due(env)
            for command, caller, request, _ in inbox:
                suspects = 1
                if callable(command):
                    command(hosted, env)
                else:
                    room.decide(command, caller, request, cold, env)
                decided += 1
            suspects = 0
            self._speaker.say_standing(hosted, room.take_standing())
            self._alarms.set(hosted)
            self._commits.decided(hosted)
        except Exception as error:
            hosted.inbox = inbox[decided:] + hosted.inbox
            self._keeper.broke(hosted, error, suspects)
        if hosted.inbox:
            self.wake(hosted)


def _part(hosted: HostedRoom) -> int:
    """How many of those that wait are decided now."""
    return min(max(LEAST, len(hosted.inbox) // 2), MOST)
