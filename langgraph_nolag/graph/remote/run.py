"""One run of a distributed graph, and which results of its nodes the room still keeps.

A node's result stays in the room until LangGraph has it on disk, so that an orchestrator that dies in between finds it
again. Then it must go: replaying the same checkpoint runs the bodies anew.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ...client.body import encode
from ...client.io import settled
from ...errors import NoLagError, RequestTimeout
from ..errors import RunFenced
from ..runs.lease import fencing

if TYPE_CHECKING:
    from ...client.link import RoomLink
    from ..runs.lease import ThreadLease

log = logging.getLogger("langgraph_nolag")

AT_ONCE: Final = 1000  # tasks that one request names
FORGET_TIMEOUT: Final = 10.0  # seconds
STORE_TIMEOUT: Final = 30.0  # seconds


class Run:
    """The results of one run, from the dispatch until they are forgotten. From any thread.

    Args:
        group: under which the room keeps the results of this thread's runs of the graph.
        lease: under which the thread is run, where it is; nothing is asked for in the room without it then.
    """

    def __init__(self, link: RoomLink, group: str, lease: ThreadLease | None = None) -> None:
        self.group = group
        self.lease = lease
        self._link = link
        self._began = False
        self._lock = threading.Lock()
        self._handles = itertools.count()
        self._unread: dict[int, str] = {}  # dispatched; LangGraph does not have the result yet
        self._read: dict[str, list[tuple[int, str]]] = {}  # by namespace: superstep and task of results that it has
        self._questions: dict[str, list[str]] = {}  # by LangGraph's task: tasks that ended with a question, which it has
        self._dispatched = False

    def begin(self, lease: ThreadLease) -> None:
        """This run got the lease, and ends it."""
        self.lease, self._began = lease, True

    def stored(self) -> None:
        """Wait until the run's checkpoints are stored. Raises why one is not."""
        if self.lease is not None and (storing := self.lease.storing) is not None:
            with self._in_time():
                storing.result(STORE_TIMEOUT)
            self.lease.check()

    async def astored(self) -> None:
        """The same, in an event loop."""
        if self.lease is not None and (storing := self.lease.storing) is not None:
            with self._in_time():
                async with asyncio.timeout(STORE_TIMEOUT):
                    await settled(storing)
            self.lease.check()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            with fencing(self.lease):
                yield
        except TimeoutError as error:
            if isinstance(error, NoLagError):
                raise
            raise RequestTimeout("the broker is away: whether the last checkpoint is stored is not known", maybe_applied=True) from None

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

    def asked(self, handle: int, task_id: str) -> None:
        """LangGraph was given the question with which a node ended; it is not on disk yet."""
        with self._lock:
            self._questions.setdefault(task_id, []).append(self._unread.pop(handle))

    def forget_question(self, task_id: str) -> list[tuple[str, dict[str, Any]]]:
        """What goes with the commit in which LangGraph stores the question of its task. From then on it may be answered, with the very
        words that an earlier one was answered with: an answer must not find the question again."""
        with self._lock:
            tasks = self._questions.pop(task_id, None)
        return [] if tasks is None else [("task.forget", {"group": self.group, "tasks": tasks, "lease": self.fields()})]

    def dropped(self, handle: int) -> None:
        """The result is of no use to anybody any more (an error or an interrupt that was consumed, a cancellation)."""
        with self._lock:
            task = self._unread.pop(handle, None)
        if task is not None:
            self._forget([task])

    def abandoned(self, handle: int) -> None:
        """The room forgets the task by itself, as it was cancelled."""
        with self._lock:
            self._unread.pop(handle, None)

    def stored_before(self, namespace: str, step: int) -> list[str]:
        """The checkpoint that superstep `step` of this namespace begins with is on disk, and so are earlier results: tasks that the
        room is to forget with the next dispatch."""
        with self._lock:
            kept = self._read.get(namespace, [])
            stored = [task for at, task in kept if at < step]
            if stored:
                self._read[namespace] = [entry for entry in kept if entry[0] >= step]
        for start in range(AT_ONCE, len(stored), AT_ONCE):
            self._forget(stored[start : start + AT_ONCE])
        return stored[:AT_ONCE]

    def _forget(self, tasks: list[str]) -> None:
        """Not waited for: the requests of a link are decided in order, so a later dispatch of the same execution runs anew."""
        if self.lease is not None and self.lease.lost and not self.lease.ends_bodies:
            return  # the orchestrator that goes on with the thread decides about them
        self._link.request("task.forget", group=self.group, tasks=tasks, lease=self.fields()).add_done_callback(self._forgotten)

    def fields(self) -> list[Any] | None:
        """The lease, as requests name it."""
        return None if self.lease is None or self.lease.ends_bodies else self.lease.fields()

    def _forgotten(self, answered: concurrent.futures.Future[Any]) -> None:
        if (error := answered.exception()) is not None:
            self._kept(error)

    def _ending(self) -> list[tuple[str, dict[str, Any]]]:
        """Requests, in their order. They go together, and are one commit."""
        lease = self.lease
        if lease is not None and self._began:
            self._link.disown(lease.task)
        if lease is not None and lease.lost:
            if self._began and lease.ends_bodies:
                self._link.note("task.release", task=lease.task, token=lease.token)  # whoever cancelled it may wait for that
            return []
        requests: list[tuple[str, dict[str, Any]]] = []
        with self._lock:
            if self._dispatched:
                requests.append(("task.forget", {"group": self.group, "keep": list(self._unread.values()), "lease": self.fields()}))
        if lease is not None and self._began:
            requests.append(("task.complete", {"task": lease.task, "token": lease.token, "body": encode(None)}))
        return requests

    def end(self) -> None:
        """LangGraph has stored everything: the room may forget this thread's results, but those nobody has read, and the run has ended."""
        answers = [self._link.request(op, within=FORGET_TIMEOUT, **fields) for op, fields in self._ending()]
        for answer in answers:
            try:
                answer.result()
            except NoLagError as error:
                self._kept(error)
        self._ended(len(answers))

    async def aend(self) -> None:
        """The same, in an event loop."""
        answers = [self._link.acall(op, within=FORGET_TIMEOUT, **fields) for op, fields in self._ending()]
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(outcome, NoLagError):
                self._kept(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        self._ended(len(answers))

    def _ended(self, asked: int) -> None:
        if asked and self._began and self.lease is not None and not self.lease.taken:  # else somebody may ask for its result
            self._link.note("task.ack", tasks=[self.lease.task])

    def _kept(self, error: BaseException) -> None:
        if self.lease is not None and isinstance(self.lease.meant(error), RunFenced):
            return
        log.warning("results of %s stay in the room until they expire: %s", self.group, error)
