"""One run of a distributed graph, and which results of its nodes the room still keeps.

A node's result stays in the room until LangGraph has it on disk, so that an orchestrator that dies in between finds it
again. Then it must go: replaying the same checkpoint runs the bodies anew.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from ...errors import NoLagError

if TYPE_CHECKING:
    from ...client.link import RoomLink

log = logging.getLogger("langgraph_nolag")

FORGET_TIMEOUT: Final = 10.0  # seconds


class Run:
    """The results of one run, from the dispatch until they are forgotten. From any thread.

    Args:
        group: under which the room keeps the results of this thread's runs of the graph.
    """

    def __init__(self, link: RoomLink, group: str) -> None:
        self.group = group
        self._link = link
        self._lock = threading.Lock()
        self._handles = itertools.count()
        self._unread: dict[int, str] = {}  # dispatched; LangGraph does not have the result yet
        self._read: dict[str, list[tuple[int, str]]] = {}  # by namespace: superstep and task of results that it has
        self._dispatched = False

    def dispatched(self, task: str) -> int:
        """A node's task is on its way; returns a handle for it."""
        with self._lock:
            self._dispatched = True
            handle = next(self._handles)
            self._unread[handle] = task
            return handle

    def moved(self, handle: int, task: str) -> None:
        """The dispatch attached to an older task."""
        with self._lock:
            if handle in self._unread:
                self._unread[handle] = task

    def read(self, handle: int, namespace: str, step: int) -> None:
        """LangGraph was given the result; it is not on disk yet."""
        with self._lock:
            self._read.setdefault(namespace, []).append((step, self._unread.pop(handle)))

    def dropped(self, handle: int) -> None:
        """The result is of no use to anybody any more (an error or an interrupt that was consumed, a cancellation)."""
        with self._lock:
            task = self._unread.pop(handle, None)
        if task is not None:
            self._forget([task])

    def stored_before(self, namespace: str, step: int) -> None:
        """The checkpoint that superstep `step` of this namespace begins with is on disk, and so are earlier results."""
        with self._lock:
            kept = self._read.get(namespace, [])
            stored = [task for at, task in kept if at < step]
            if stored:
                self._read[namespace] = [entry for entry in kept if entry[0] >= step]
        if stored:
            self._forget(stored)

    def _forget(self, tasks: list[str]) -> None:
        """Not waited for: the requests of a link are decided in order, so a later dispatch of the same execution runs anew."""
        self._link.request("task.forget", group=self.group, tasks=tasks).add_done_callback(self._forgotten)

    def _forgotten(self, answered: concurrent.futures.Future[Any]) -> None:
        if (error := answered.exception()) is not None:
            self._kept(error)

    def _ending(self) -> dict[str, object] | None:
        with self._lock:
            if not self._dispatched:
                return None
            return {"group": self.group, "keep": list(self._unread.values())}

    def end(self) -> None:
        """LangGraph has stored everything: the room may forget this thread's results, but those nobody has read."""
        if (fields := self._ending()) is not None:
            try:
                self._link.call("task.forget", timeout=FORGET_TIMEOUT, **fields)
            except NoLagError as error:
                self._kept(error)

    async def aend(self) -> None:
        """The same, in an event loop."""
        if (fields := self._ending()) is not None:
            try:
                await self._link.acall("task.forget", timeout=FORGET_TIMEOUT, **fields)
            except NoLagError as error:
                self._kept(error)

    def _kept(self, error: BaseException) -> None:
        log.warning("results of %s stay in the room until they expire: %s", self.group, error)
