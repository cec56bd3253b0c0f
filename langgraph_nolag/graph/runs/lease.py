"""The lease of a thread: whoever runs it holds a task of the room, and everything it writes names the task and its token.

Another orchestrator that begins on the same thread gets the lease: the room tells the former one, and refuses its checkpoints,
pending writes, dispatches and cancellations from that moment on, whether it has heard of it or not.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from ...errors import NoLagError, NotAuthorized, StaleLease, TaskCancelled
from ..errors import RunFenced
from ..saver import keys

if TYPE_CHECKING:
    from ...client.link import RoomLink
    from ...client.requests import Answer

SUPERSEDED = "superseded"  # somebody else goes on with the thread, from where it is
INTERRUPTED = "interrupted"  # somebody began anew on the thread
FORMAT = 1


class ThreadLease:
    """The right to run a thread, for as long as nobody else gets it. From any thread of the process.

    Args:
        link: the room; only writes on this very link carry the lease.
        thread: LangGraph's thread id.
        task, token: what is held.
        applied: whether the run's input has reached the thread.
        request: the run without its input, for who goes on with the thread one day; None: it is stored already.
    """

    def __init__(self, link: RoomLink, thread: str, task: str, token: int, *, applied: bool = False, request: bytes | None = None) -> None:
        self.link = link
        self.thread = thread
        self.task = task
        self.token = token
        self.given: Any = None  # the answer without a question's id that the run began with, where this is not its first orchestrator
        self.position: Callable[[], int] | None = None  # how many chunks of the run's stream belong to what is stored
        self.taken = False  # the run was begun by somebody else
        self.votes = False  # what the run brings to gates are answers of the very actor that runs it
        self.in_background = False  # it is run for somebody else, who gave them
        self.stepped = False  # a superstep of the run is over: what it began with has been said
        self.ahead = False  # the graph's checkpoints are not waited for: see `store`
        self._applied = applied
        self._request = request
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._failure: NoLagError | None = None  # of a checkpoint that was not waited for
        self._storing: concurrent.futures.Future[Any] | None = None  # the last one
        self._watchers: dict[int, Callable[[NoLagError], None]] = {}

    def fields(self) -> list[Any]:
        """As requests name it."""
        return [self.task, self.token]

    def may_vote(self) -> bool:
        """Whether an answer that the run brings to a gate is a vote of the actor that runs it.

        Raises:
            NotAuthorized: it was given to a run in the background.
        """
        if self.in_background:
            raise NotAuthorized(
                "a run in the background votes for nobody: decide the gate with room.approve.decide(id, ...), which is your own vote. A "
                "worker then goes on with the thread by itself"
            )
        return self.votes

    def apply(self, *, stepped: bool) -> None:
        """The input has reached the thread in an earlier attempt at the run."""
        self._applied, self.stepped = True, stepped

    # --- losing it ------------------------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        return self._lost is not None

    @property
    def ends_bodies(self) -> bool:
        """The run is over, and nobody goes on with what it began: that is to be ended, too."""
        return self._lost is not None and self._lost != SUPERSEDED

    def lose(self, reason: str) -> None:
        """The room says that it is not ours any more. On the I/O thread, or any other."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = reason
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            watchers, self._watchers = list(self._watchers.values()), {}
        for watcher in watchers:
            watcher(self.error())

    def watch(self, number: int, on_over: Callable[[NoLagError], None]) -> None:
        """Be told once, from any thread, when nothing of the run counts any more; at once where that is so."""
        with self._lock:
            over = self._lost is not None or self._failure is not None
            if not over:
                self._watchers[number] = on_over
        if over:
            on_over(self.error())

    def unwatch(self, number: int) -> None:
        with self._lock:
            self._watchers.pop(number, None)

    def error(self) -> NoLagError:
        """Why this run can't go on."""
        if self._lost is None and self._failure is not None:
            return self._failure
        if self._lost not in (None, SUPERSEDED, INTERRUPTED):
            return TaskCancelled(f"the run of thread {self.thread!r} was cancelled: {self._lost}")
        return RunFenced(
            f"thread {self.thread!r} is run by another orchestrator by now, or this one was believed dead; nothing more of this run "
            "counts. Ask get_state() how the thread stands",
            detail={"thread": self.thread, "task": self.task},
        )

    def meant(self, error: BaseException) -> BaseException:
        """The error of a request that named the lease, as its user should see it."""
        if isinstance(error, StaleLease) and error.detail.get("task") == self.task:
            self.lose(SUPERSEDED)
            return self.error()
        return error

    # --- checkpoints that are not waited for ----------------------------------------------------------------

    def store(self, op: str, fields: Mapping[str, Any], on_stored: Callable[[Answer], None]) -> None:
        """Ask for a checkpoint to be stored, and do not wait. What needs it stored is asked for behind it, under the same lease: the room
        decides in that order, and a worker has its task when both are on disk. Never blocks.

        Args:
            op, fields: the request.
            on_stored: told the answer, on the I/O thread.

        Raises:
            NoLagError: it was not asked for; or an earlier one was refused.
        """
        self.check()
        self._storing = storing = self.link.request(op, within=None, **fields)  # as long as the tasks behind it wait
        storing.add_done_callback(partial(self._stored, on_stored))

    def _stored(self, on_stored: Callable[[Answer], None], storing: concurrent.futures.Future[Answer]) -> None:
        error = storing.exception()
        if error is None:
            on_stored(storing.result())
        elif isinstance(error, NoLagError) and self.meant(error) is error:
            with self._lock:
                self._failure = self._failure or error
            self._tell()

    @property
    def storing(self) -> concurrent.futures.Future[Any] | None:
        """Done when nothing is on its way any more: see `check` then. None: nothing is."""
        return self._storing

    def check(self) -> None:
        """Raises why a checkpoint is not stored, which may be another than the last."""
        if self._failure is not None:
            raise self._failure

    # --- what a checkpoint says beside itself ---------------------------------------------------------------

    def marks(self, *, root: bool, applies: bool, steps: bool) -> list[list[Any]]:
        """Records that go into the commit of a checkpoint or of pending writes.

        Args:
            root: the commit is of the graph itself, not of a graph inside it.
            applies: with it the run's input is part of the thread.
            steps: it is a checkpoint: what comes is another superstep.
        """
        if not root or not applies:
            return []
        first, self._applied = not self._applied, True
        later, self.stepped = steps and not self.stepped, self.stepped or steps
        puts: list[list[Any]] = []
        if first and self._request is not None:
            puts.append([keys.run_request(self.thread), self._request, False])
        if first or later or self.position is not None:
            position = 0 if self.position is None else self.position()
            puts.append([keys.run_mark(self.thread), msgpack.packb([FORMAT, self.task, position, self.stepped]), False])
        return puts


@contextmanager
def fencing(lease: ThreadLease | None) -> Iterator[None]:
    """Requests inside name the lease: a refusal because of it is `RunFenced`."""
    if lease is None:
        yield
        return
    try:
        yield
    except StaleLease as error:
        if (meant := lease.meant(error)) is not error:
            raise meant from None
        raise
