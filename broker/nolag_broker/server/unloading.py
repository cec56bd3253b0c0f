"""Rooms that nobody uses leave the memory, and are loaded again when somebody comes.

What would not come back as it was keeps a room loaded: members, whoever is connected and was in it, tasks that have not ended, streams
that are open, moments that are awaited, and whatever is not written yet.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .auth import SYSTEM

if TYPE_CHECKING:
    from .hosted import HostedRoom
    from .node import Node
    from .sessions import Sessions


class Unloading:
    """Args:
    after: seconds without use.
    """

    def __init__(self, node: Node, sessions: Sessions, after: float) -> None:
        self._node = node
        self._sessions = sessions
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._unused: dict[str, tuple[int, float]] = {}  # by room: its last sequence, and since when it is found like this

    def look(self) -> list[str]:
        """Unload what has been unused for long enough; the names. At a moment when nobody else of the server holds on to a room."""
        now, unused, used = self._loop.time(), self._unused, {SYSTEM, *self._sessions.rooms()}
        self._unused = {}
        gone = []
        for hosted in self._node.rooms():
            if hosted.name in used or (room := hosted.room) is None or not room.is_still or not _is_settled(hosted):
                continue
            seq, since = unused.get(hosted.name, (-1, now))
            if seq != room.seq:
                since = now
            if now - since < self._after:
                self._unused[hosted.name] = room.seq, since
            elif self._node.unload(hosted):
                gone.append(hosted.name)
        return gone


def _is_settled(hosted: HostedRoom) -> bool:
    """Nothing of it is on its way."""
    waiting = hosted.inbox or hosted.unsaid or hosted.waiting_for_rows
    return not (waiting or hosted.awake or hosted.blocked or hosted.turn is not None or hosted.in_flight is not None)
