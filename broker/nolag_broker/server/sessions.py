"""All live sessions: found by id, by process and by actor; looked through once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Final

from ..wire.codes import Closes
from .auth import Revocations
from .hearing import Hearing
from .session import Session

LOOK_EVERY: Final = 1.0  # seconds


class Sessions:
    """The sessions of a broker.

    Args:
        silence: seconds without a message after which a connection is taken for dead.
    """

    def __init__(self, silence: float, revocations: Revocations) -> None:
        self._silence = silence
        self._revocations = revocations
        self._loop = asyncio.get_running_loop()
        self._by_id: dict[str, Session] = {}
        self._by_process: dict[tuple[str, str], Session] = {}
        self._look_later()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def add(self, session: Session) -> None:
        """A process that connects again replaces its older connection."""
        process = (session.actor, session.instance)
        if (older := self._by_process.get(process)) is not None:
            older.close(Closes.REPLACED)
        self._by_id[session.id] = session
        self._by_process[process] = session

    def remove(self, session: Session) -> None:
        self._by_id.pop(session.id, None)
        process = (session.actor, session.instance)
        if self._by_process.get(process) is session:
            del self._by_process[process]

    def rooms(self) -> set[str]:
        """Where any of them is, or was."""
        return {room for session in self._by_id.values() for room in session.rooms}

    def close_lost(self, room: str) -> None:
        """The room was thrown away: who is in it comes back and joins again."""
        for session in self:
            if room in session.rooms:
                session.close(Closes.GOING_AWAY)

    def leave_absent(self, room: str, sessions: Iterable[str]) -> None:
        """There is no such room: what these sessions asked for there was refused."""
        for id in sessions:
            if (session := self._by_id.get(id)) is not None:
                session.leave(room)

    def close_revoked(self) -> None:
        for session in self:
            if self._revocations.cover(session.identity):
                session.close(Closes.REVOKED)

    def stop(self) -> None:
        self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = Hearing(self._loop.time() + LOOK_EVERY, self._look)

    def _look(self, heard: float) -> None:
        """Close what expired, and what is silent: a half-open connection looks alive to the kernel for hours."""
        wall = time.time()
        for session in self:
            if session.identity.expires <= wall:
                session.close(Closes.EXPIRED)
            elif heard - session.last_heard > self._silence:
                session.abort()
        self._look_later()
