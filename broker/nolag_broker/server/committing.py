"""Commits of all rooms, one after the other: what is decided while one is written is the next one. So commits grow with the load by
themselves, and nothing ever waits for a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Protocol

from ..core.turn import Turn
from ..engine.base import Engine, SequenceConflict
from .behind import Behind
from .hosted import HostedRoom
from .speaker import Speaker

Turns = list[tuple[HostedRoom, Turn]]


class Keeper(Protocol):
    """Whoever keeps the rooms."""

    def taken(self) -> None:
        """What was decided so far is in a commit, or needs none."""

    def wake(self, hosted: HostedRoom) -> None:
        """Look at its inbox: what waits there may have waited for this commit."""

    def lost(self, hosted: HostedRoom, conflict: SequenceConflict) -> None:
        """Another owner wrote to the room."""

    def broke(self, hosted: HostedRoom, error: Exception) -> None:
        """The room can't say what it decided."""

    def fail(self, error: BaseException) -> None:
        """Storage failed: nothing is stored any more."""


class Committer:
    """Stores what rooms decided, and has it said."""

    def __init__(self, keeper: Keeper, engine: Engine, speaker: Speaker) -> None:
        self.behind = Behind(self._write_rows)
        self._keeper = keeper
        self._engine = engine
        self._speaker = speaker
        self._changed: dict[str, HostedRoom] = {}  # rooms with something for the next commit
        self._committing: asyncio.Future[Any] | None = None
        self._going_on = False
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
        """Store and say what was decided, or begin to; where a commit is under way, the next one comes by itself."""
        if self._committing is None:
            self._go_on([], [])

    def give_up(self) -> None:
        """Nothing more is written."""
        self._over = True

    @property
    def idle(self) -> bool:
        """Everything decided is stored and said, and the rows tell it all. Asks for the rows where they do not."""
        return self._committing is None and not self._changed and not self.behind.all()

    def pause(self) -> Awaitable[object]:
        """Until the commit under way is over, or a turn may have come."""
        return asyncio.sleep(0) if self._committing is None else asyncio.wait([self._committing])

    def _go_on(self, written: Turns, conflicts: Sequence[SequenceConflict | None]) -> None:
        """Commit after commit, up to one that has to be waited for: what is stored already is said meanwhile."""
        if self._going_on:  # what is stored and said may ask for more
            return
        self._going_on = True
        try:
            saying = self._stored(written, conflicts)
            while self._committing is None and self._changed and not self._over:
                writing, unwritten = self._collect()
                saying.extend(unwritten)
                try:
                    stored = self._write(writing) if writing else []
                finally:  # whatever becomes of these
                    self._say(saying)
                saying = stored
            self._say(saying)
            if self._committing is None:
                self._keeper.taken()
        except Exception as error:
            self._keeper.fail(error)
        finally:
            self._going_on = False

    def _write(self, writing: Turns) -> Turns:
        """Store these: those that are stored by now. For the others, a commit was begun."""
        turns = [(hosted.name, turn) for hosted, turn in writing]
        conflicts = self._engine.commit_at_once(turns)
        if conflicts is not None:
            return self._stored(writing, conflicts)
        self._committing = asyncio.ensure_future(self._engine.commit(turns))
        self._committing.add_done_callback(partial(self._written, writing))
        return []

    def _written(self, writing: Turns, committing: asyncio.Future[Any]) -> None:
        """A commit is over."""
        if committing.cancelled():
            return
        self._committing = None
        error = committing.exception()
        if self._over:  # everybody was told, or is gone
            return
        if error is not None:
            self._keeper.fail(error)
        else:
            self._go_on(writing, committing.result())

    def _collect(self) -> tuple[Turns, Turns]:
        """What is to be written now, and what was decided that is not to be."""
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
