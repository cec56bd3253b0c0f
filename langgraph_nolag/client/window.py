"""How far requests go ahead of the oldest one without an answer.

A request that comes again after a cut is answered as it was before, for the broker keeps the answers that a process has not said to have,
so many of them. Past that number it would forget the first, and apply again what it had applied; so what is more waits here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from nolag_broker.wire.once import ANSWERS, APPLIED_ONCE

from .requests import Pending


class Window:
    """Of a connection, over all its sessions. Requests of a room stay in their order. On the I/O thread.

    Args:
        oldest: the smallest id that has no answer.
        limit: of a room.
    """

    def __init__(self, oldest: Callable[[], int], limit: int = ANSWERS) -> None:
        self._oldest = oldest
        self._limit = limit
        self._kept: dict[str, deque[int]] = {}  # by room: requests sent whose answers the broker may keep
        self.waiting: dict[str, deque[Pending]] = {}  # by room

    def begin(self) -> None:
        """A session begins, and with it everything that has no answer is sent again, what waited here too."""
        self.waiting.clear()

    def admits(self, pending: Pending) -> bool:
        """Whether a request may be sent now; if not, it is given back by `released` when it may."""
        room = pending.frame.get("room")
        if room is None:
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
        frame = pending.frame
        if frame["op"] not in APPLIED_ONCE or pending.sent:  # one that is sent again has its place
            return True
        kept, oldest = self._kept.get(room), self._oldest()
        if kept is None:
            kept = self._kept[room] = deque()
        if kept and kept[0] < oldest:
            while kept and kept[0] < oldest:
                kept.popleft()
            frame["done"] = oldest  # the broker is to forget them before it keeps this one's
        if len(kept) >= self._limit:
            return False
        kept.append(pending.id)
        return True
