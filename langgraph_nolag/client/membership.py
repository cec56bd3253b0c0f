"""Whether we are present in a room, and as what, over reconnects."""

from __future__ import annotations

import concurrent.futures
import logging
from typing import TYPE_CHECKING, Any

from ..errors import NoLagError
from .io import settle_blocking
from .requests import Answer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink

log = logging.getLogger("langgraph_nolag")


class Membership:
    """Our presence in a room. On the I/O thread."""

    phase = -1  # whatever else stands in a room needs it

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._wanted: dict[str, Any] | None = None
        self._joining: list[concurrent.futures.Future[Answer]] = []

    def join(self, wanted: dict[str, Any], joined: concurrent.futures.Future[Answer]) -> None:
        """Be present like this from now on. `joined` tells when, or why not."""
        self._wanted = wanted
        self._joining.append(joined)
        self.restore()

    def ensure(self) -> None:
        """Be present at all: serving and the like need it."""
        if self._wanted is None:
            self._wanted = {"capabilities": [], "max_concurrency": 1, "status": "available", "metadata": {}}
            self.restore()

    def remember(self, fields: dict[str, Any]) -> None:
        """What was changed, for later sessions."""
        if self._wanted is not None:
            self._wanted.update(fields)

    def leave(self, left: concurrent.futures.Future[None] | None = None) -> None:
        """Be present no longer. `left` is done when the broker has heard it, at once where it can't, never where the session ends first."""

        def heard(answer: Answer | None = None, error: NoLagError | None = None) -> None:
            if left is not None:
                settle_blocking(left, None, None)

        connection = self._link.connection
        if self._wanted is not None and connection.is_live:
            # At once, like a join: one that was asked for after it comes after it.
            connection.establish({"op": "room.leave", "room": self._link.room}, heard)
        else:
            heard()
        self._wanted = None

    def restore(self) -> None:
        if (wanted := self._wanted) is not None:
            establish(self._link, "room.join", wanted, self._on_joined, self._refused, wanted=lambda: self._wanted is wanted)

    def _on_joined(self, answer: Answer) -> None:
        self._settle(answer, None)

    def _refused(self, error: NoLagError) -> None:
        log.error("room %s is closed to %s: %s", self._link.room, self._link.actor, error)
        self._link.on_ended(error)

    def on_ended(self, error: NoLagError) -> None:
        self._wanted = None
        self._settle(None, error)

    def _settle(self, answer: Answer | None, error: NoLagError | None) -> None:
        joining, self._joining = self._joining, []
        for joined in joining:
            settle_blocking(joined, answer, error)
