"""Commits of all rooms, one after the other: what is decided while one is written is the next one. So commits grow with the load by
themselves, and nothing ever waits for a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from ..core.turn import Turn
from ..engine.base import Engine, SequenceConflict
from .behind import Behind
from .hosted import HostedRoom
from .speaker import Speaker

Turns = list[tuple[HostedRoom, Turn]]


class Keeper(Protocol):
    """Whoever keeps the rooms."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is not overlooked."""

    def taken(self) -> None:
        """What was decided so far is in a commit, or needs none."""

    def wake(self, hosted: HostedRoom) -> None:
        """Look at its inbox: what waits there may have waited for this commit."""

    def lost(self, hosted: HostedRoom, conflict: SequenceConflict) -> None:
        """Another owner wrote to the room."""

    def broke(self, hosted: HostedRoom, error: Exception) -> None:
        """The room can't say what it decided."""


class Committer:
    """Stores what rooms decided, and has it said."""

    def __init__(self, keeper: Keeper, engine: Engine, speaker: Speaker) -> None:
        self.behind = Behind(self._write_rows)
        self._keeper = keeper
        self._engine = engine
        self._speaker = speaker
        self._changed: dict[str, HostedRoom] = {}  # rooms with something for the next commit
        self._committing: asyncio.Task[None] | None = None
        self._over = False

    def decided(self, hosted: HostedRoom) -> None:
        """Say at once what needs no writing and follows nothing unwritten; the rest is for the next commit, which `soon` begins."""
        if hosted.in_flight is None and hosted.turn is None:
            turn = hosted.collect()
            if not turn.writes:
                hosted.turn = None
                self._speaker.say(hosted, turn)
                return
        self.add(hosted)

    def add(self, hosted: HostedRoom) -> None:
        """Something of the room is for the next commit."""
        self._changed[hosted.name] = hosted

    def forget(self, hosted: HostedRoom) -> None:
        """Nothing of the room is to be written."""
        self._changed.pop(hosted.name, None)
        self.behind.forget(hosted)

    def awaits(self, hosted: HostedRoom) -> bool:
        return hosted.name in self._changed

    def soon(self) -> None:
        """Begin a commit, unless one is under way: then the next one comes by itself."""
        if self._committing is None:
            if self._changed and not self._over:
                self._committing = self._keeper.spawn(self._commit())
            else:
                self._keeper.taken()

    def give_up(self) -> None:
        """Nothing more is written."""
        self._over = True

    @property
    def idle(self) -> bool:
        """Everything decided is stored and said, and the rows tell it all. Asks for the rows where they do not."""
        return self._committing is None and not self._changed and not self.behind.all()

    async def pause(self) -> None:
        """Until the commits under way are over, or a turn may have come."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        else:
            await asyncio.sleep(0)

    async def _commit(self) -> None:
        """Commit after commit, as long as there is something to store. What one has to say is said while the next one is written."""
        writing, saying = self._collect()
        while writing:
            turns = [(hosted.name, turn) for hosted, turn in writing]
            conflicts = None if saying else self._engine.commit_at_once(turns)
            if conflicts is None:
                committing = self._engine.commit(turns)
                self._say(saying)
                conflicts = await committing
            stored = self._stored(writing, conflicts)
            writing, unwritten = self._collect()
            saying = stored + unwritten
        self._say(saying)
        self._committing = None
        self.soon()  # what was said may have asked for more

    def _collect(self) -> tuple[Turns, Turns]:
        """What is to be written now, and what was decided that is not to be."""
        if self._over:
            return [], []
        changed, self._changed = self._changed, {}
        self._keeper.taken()
        writing: Turns = []
        unwritten: Turns = []
        for hosted in changed.values():
            if hosted.room is None:
                continue
            try:
                turn, hosted.turn = hosted.collect(rows=self.behind.due(hosted)), None
            except Exception as error:
                self._keeper.broke(hosted, error)
                continue
            if hosted.inbox:
                self._keeper.wake(hosted)
            if turn.writes:
                hosted.in_flight = turn
                writing.append((hosted, turn))
            else:
                unwritten.append((hosted, turn))
        return writing, unwritten

    def _stored(self, written: Turns, conflicts: Sequence[SequenceConflict | None]) -> Turns:
        """Those that the engine has stored."""
        stored: Turns = []
        for (hosted, turn), conflict in zip(written, conflicts, strict=True):
            if hosted.room is None:  # thrown away meanwhile, and everybody told
                continue
            if conflict is None:
                hosted.in_flight = None
                self.behind.stored(hosted, turn)
                stored.append((hosted, turn))
            else:
                self._keeper.lost(hosted, conflict)
        return stored

    def _say(self, turns: Turns) -> None:
        for hosted, turn in turns:
            self._speaker.say(hosted, turn)

    def _write_rows(self, rooms: list[HostedRoom]) -> None:
        self._changed.update((hosted.name, hosted) for hosted in rooms)
        self.soon()
