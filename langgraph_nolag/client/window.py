"""How far requests go ahead of the oldest one without an answer.

A request that comes again after a cut is answered as it was before, for the broker keeps the answers that a process has not said to have,
so many of them. Past that number it would forget the first, and apply again what it had applied; so what is more waits here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from nolag_broker.wire.once import ANSWERS, APPLIED_ONCE

from .requests import Pending

PIECES: Final = frozenset({"blob.put", "blob.get"})
"""Of large values, for which the oldest request may wait: they never wait for it."""


class Window:
    """Of a connection, over all its sessions. Requests of a room take their places in the order in which they were made, before anything of
    them is sent, and keep them until every older one has its answer. On the I/O thread.

    Args:
        oldest: the smallest id that has no answer.
        advanced: told of a room where answers are not wanted any more: its next request is to say so.
        limit: places of a room.
    """

    def __init__(self, oldest: Callable[[], int], advanced: Callable[[str], object], limit: int = ANSWERS) -> None:
        self._oldest = oldest
        self._advanced = advanced
        self._limit = limit
        self._taken: dict[str, deque[int]] = {}  # by room: ids of requests whose answers the broker may keep, in order
        self.waiting: dict[str, deque[Pending]] = {}  # by room

    def begin(self) -> None:
        """A session begins, and everything that has no answer asks for its place again, what waited here too."""
        self.waiting.clear()

    def admits(self, pending: Pending) -> bool:
        """Whether a request may be sent; if not, it is given back by `released` when it may."""
        room = pending.frame.get("room")
        if room is None or pending.frame["op"] in PIECES:
            return True
        waiting = self.waiting.get(room)
        if waiting is None:
            if self._has_place(room, pending):
                return True
            waiting = self.waiting[room] = deque()
        waiting.append(pending)
        return False

    def released(self) -> list[Pending]:
        """What has waited and may be sent now."""
        found = []
        for room, waiting in list(self.waiting.items()):
            while waiting and self._has_place(room, waiting[0]):
                found.append(waiting.popleft())
            if not waiting:
                del self.waiting[room]
        return found

    def _has_place(self, room: str, pending: Pending) -> bool:
        if pending.frame["op"] not in APPLIED_ONCE:
            return True
        taken = self._taken.get(room)
        if taken is None:
            taken = self._taken[room] = deque()
        if taken and pending.id <= taken[-1]:  # from an earlier session
            return True
        oldest = self._oldest()
        if taken and taken[0] < oldest:
            while taken and taken[0] < oldest:
                taken.popleft()
            self._advanced(room)
        if len(taken) >= self._limit:
            return False
        taken.append(pending.id)
        return True
