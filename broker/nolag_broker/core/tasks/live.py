"""What of a task is never stored: who follows it, its last progress, what it was told, and the offer that holds it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..limits import OVERHEAD

if TYPE_CHECKING:
    from ..members import Session
    from .matching import Offer


class Progress(NamedTuple):
    n: int
    body: bytes
    ct: str | None


class Live:
    """The ephemeral side of one task; gone with a restart of the broker."""

    __slots__ = ("bytes_kept", "followers", "n", "offer", "ring", "tell_bytes", "tells")

    def __init__(self) -> None:
        self.followers: dict[Session, int] = {}  # and the last n that each has
        self.offer: Offer | None = None
        self.n = 0  # of the last progress of this attempt
        self.ring: deque[Progress] | None = None  # made when there is progress: most tasks have none
        self.bytes_kept = 0
        self.tells: list[bytes] = []
        self.tell_bytes = 0

    def restart(self) -> None:
        """Another attempt: its progress begins at 1 again."""
        self.n = self.bytes_kept = 0
        self.ring = None
        for session in self.followers:
            self.followers[session] = 0

    def remember(self, progress: Progress, limit: int) -> None:
        """Keep the last `limit` bytes, the newest progress in any case."""
        ring = self.ring
        if ring is None:
            ring = self.ring = deque()
        self.n = progress.n
        ring.append(progress)
        self.bytes_kept += OVERHEAD + len(progress.body)
        while self.bytes_kept > limit and len(ring) > 1:
            self.bytes_kept -= OVERHEAD + len(ring.popleft().body)
