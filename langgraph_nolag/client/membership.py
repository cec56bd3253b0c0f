"""Whether we are present in a room, and as what, over reconnects."""

from __future__ import annotations

import concurrent.futures
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import NoLagError
from .io import settle_blocking
from .requests import Answer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink

log = logging.getLogger("langgraph_nolag")


class Membership:
    """Our presence in a room. On the I/O thread.

    Joins are asked for one after the other: one that is refused changes nothing of what was accepted before it.
    """

    phase = -1  # whatever else stands in a room needs it

    def __init__(self, link: RoomLink) -> None:
        self._link = link
        self._accepted: dict[str, Any] | None = None
        self._asked: dict[str, Any] | None = None  # the first of the joins without an answer, while it is wanted
        self._joins: deque[tuple[dict[str, Any], concurrent.futures.Future[Answer]]] = deque()

    def join(self, wanted: dict[str, Any], joined: concurrent.futures.Future[Answer]) -> None:
        """Be present like this from now on. `joined` tells when, or why not."""
        self._joins.append((wanted, joined))
        if len(self._joins) == 1:
            self._ask_next()

    def ensure(self) -> None:
        """Be present at all: serving and the like need it."""
        if self._accepted is None and not self._joins:
            wanted = {"capabilities": [], "max_concurrency": 1, "status": "available", "metadata": {}}
            self.join(wanted, concurrent.futures.Future())

    def remember(self, fields: dict[str, Any]) -> None:
        """What was changed, for later sessions."""
        if self._accepted is not None:
            self._accepted.update(fields)

    def leave(self, left: concurrent.futures.Future[None] | None = None) -> None:
        """Be present no longer. `left` is done when the broker has heard it, at once where it can't, never where the session ends first."""

        def heard(answer: Answer | None = None, error: NoLagError | None = None) -> None:
            if left is not None:
                settle_blocking(left, None, None)

        connection = self._link.connection
        if (self._accepted is not None or self._asked is not None) and connection.is_live:
            # At once, like a join: one that was asked for after it comes after it.
            connection.establish({"op": "room.leave", "room": self._link.room}, heard)
        else:
            heard()
        self._accepted = self._asked = None

    def restore(self) -> None:
        for wanted in (self._accepted, self._asked):
            if wanted is not None:
                self._ask(wanted)

    def _ask(self, wanted: dict[str, Any]) -> None:
        establish(
            self._link,
            "room.join",
            wanted,
            partial(self._on_joined, wanted),
            partial(self._refused, wanted),
            wanted=lambda: wanted is self._accepted or wanted is self._asked,
        )

    def _ask_next(self) -> None:
        self._asked = self._joins[0][0] if self._joins else None
        if self._asked is not None:
            self._ask(self._asked)

    def _on_joined(self, wanted: dict[str, Any], answer: Answer) -> None:
        self._accepted = wanted
        if wanted is self._asked:
            self._settle_first(answer, None)
            self._ask_next()

    def _refused(self, wanted: dict[str, Any], error: NoLagError) -> None:
        if wanted is self._asked and (self._accepted is not None or len(self._joins) > 1):
            self._settle_first(None, error)
            self._ask_next()
            return
        log.error("room %s is closed to %s: %s", self._link.room, self._link.actor, error)
        self._link.leave()  # nothing here may be kept for us by a session that lives on
        self._link.on_ended(error)

    def on_ended(self, error: NoLagError) -> None:
        self._accepted = self._asked = None
        while self._joins:
            self._settle_first(None, error)

    def _settle_first(self, answer: Answer | None, error: NoLagError | None) -> None:
        settle_blocking(self._joins.popleft()[1], answer, error)
