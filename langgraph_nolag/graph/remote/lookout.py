"""Looks whether somebody has a node's task, and says in the log when nobody does."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import weakref
from contextlib import suppress
from typing import Any, Final

from ...errors import BufferFull
from .place import Place
from .waiting import why

PATIENCE: Final = 5.0  # seconds that a node waits for a worker before that is said,
SELDOM: Final = 60.0  # and until it is looked again at the latest

log = logging.getLogger("langgraph_nolag")


class Lookout:
    """A worker that is missing, or of another version of the graph, is worth a word. One that has the task may die: so it is looked again
    and again, ever more seldom, until this is stopped or forgotten. On the I/O thread."""

    def __init__(self, place: Place, task: str) -> None:
        self._place = place
        self._task = task
        self._missed: int | None = None  # the attempt for which a worker was last missed
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._look_in(PATIENCE)

    def stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_in(self, seconds: float) -> None:
        this = weakref.ref(self)  # a timer alone must not keep us alive

        def look() -> None:
            if (lookout := this()) is not None:
                lookout._look(seconds)

        if not self._over:
            self._timer = self._place.link.connection.io.loop.call_later(seconds, look)

    def _look(self, waited: float) -> None:
        try:
            answer = self._place.link.request("task.get", task=self._task)
        except BufferFull:  # the broker has been away for a while; ask later
            self._look_in(waited)
        else:
            answer.add_done_callback(functools.partial(self._looked, waited))

    def _looked(self, waited: float, answered: concurrent.futures.Future[Any]) -> None:
        self._look_in(min(2 * waited, SELDOM))
        task = None if answered.exception() is not None else answered.result()["task"]
        if task is not None and task["state"] == "waiting" and task["attempt"] != self._missed:
            with suppress(BufferFull):
                self._place.link.request("presence.list").add_done_callback(functools.partial(self._say, task["attempt"]))

    def _say(self, attempt: int, answered: concurrent.futures.Future[Any]) -> None:
        """Nothing, where it is not known who is there: the next look will tell."""
        if answered.exception() is not None or attempt == self._missed:
            return
        self._missed, place = attempt, self._place
        log.warning("%s", why(place.graph, place.node, place.link.room, place.capabilities, answered.result()["members"]))
