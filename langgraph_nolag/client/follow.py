"""Tasks that this side dispatched or watches: their progress and their end, each told once, over reconnects."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..errors import NoLagError, TaskNotFound
from .io import settle_blocking
from .requests import Answer, OnAnswer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink

CHUNK: Final = 1000  # tasks in one request
PATIENCE: Final = 0.05  # seconds an acknowledgement waits for others: nobody waits for it, and each message is a commit


@dataclass(frozen=True, slots=True)
class Progress:
    """One piece of progress of a running task.

    Attributes:
        task: the task's id.
        attempt: which attempt; a higher one begins again at n = 1.
        n: 1, 2, 3 … within the attempt.
        body, ct: what the worker said; None where only a gap is told.
        gap: first and last n that are missing before this one and can't be had; None: nothing is.
    """

    task: str
    attempt: int
    n: int
    body: bytes | None
    ct: str | None = None
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a task ended.

    Attributes:
        task: the task's id.
        state: `completed`, `failed`, `cancelled`, `timed_out`; or `unknown`: the connection or the room is lost, see `reason`.
        seq: the sequence of the event that ended it.
        body, ct: the result, or the body of the error.
        error: `{type, message}` of a failed task; `{reason}` or nothing otherwise.
        attempt: the last attempt.
        reason: why the end, or its result, can't be known; only with `unknown`.
    """

    task: str
    state: str
    seq: int
    body: bytes | None
    ct: str | None
    error: dict[str, Any] | None
    attempt: int
    reason: NoLagError | None = None


class Followed:
    """One task that is followed. From any thread.

    Attributes:
        task: its id; another one than was sent if the dispatch attached to an existing task.
        attached: the dispatch met a task of the same key.
    """

    __slots__ = (
        "_accepted",
        "_attempt",
        "_closed",
        "_ended",
        "_follows",
        "_n",
        "_on_accepted",
        "_on_end",
        "_on_progress",
        "_pending",
        "_session",
        "attached",
        "task",
    )

    def __init__(
        self,
        follows: Follows,
        task: str,
        on_end: Callable[[Result], None],
        on_progress: Callable[[Progress], None] | None,
        on_accepted: OnAnswer | None,
    ) -> None:
        self.task = task
        self.attached = False
        self._follows = follows
        self._on_end = on_end
        self._on_progress = on_progress
        self._on_accepted = on_accepted
        self._accepted: concurrent.futures.Future[Answer] | None = None if on_accepted else concurrent.futures.Future()
        self._attempt = 0
        self._n = 0
        self._ended = 0  # the sequence of the result
        self._pending = True  # the dispatch has no answer yet
        self._closed = False
        self._session: object = None

    @property
    def accepted(self) -> concurrent.futures.Future[Answer]:
        """`{task, state, attached}` once the dispatch is on disk, or the refusal. Not there where `on_accepted` was given."""
        if self._accepted is None:
            raise AttributeError("accepted: on_accepted was given instead")
        return self._accepted

    def position(self) -> tuple[int, int]:
        """The last progress told: attempt and n."""
        return self._attempt, self._n

    def cancel(self, reason: str | None = None) -> concurrent.futures.Future[Answer]:
        """Cancel the task; `{state}`."""
        return self._follows.link.request("task.cancel", task=self.task, reason=reason)

    def tell(self, body: bytes) -> concurrent.futures.Future[Answer]:
        """Say something to whoever runs the task, now or later."""
        return self._follows.link.request("task.tell", task=self.task, body=body)

    def ack(self) -> None:
        """The result is in safe hands: the broker may forget a task that has no key."""
        self._follows.ack(self.task, self._ended)

    def close(self) -> None:
        """Follow no longer; nothing more is told. The task goes on."""
        self._follows.link.connection.io.post(self._follows.unfollow, self)


class Follows:
    """All followed tasks of a room. On the I/O thread, but for `dispatch`, `follow` and `ack`."""

    phase = 3

    def __init__(self, link: RoomLink) -> None:
        self.link = link
        self._tasks: dict[str, list[Followed]] = {}
        self._acks: list[tuple[str, int]] = []  # tasks, and the sequences of their results
        self._acks_due: asyncio.TimerHandle | None = None

    # --- from any thread ------------------------------------------------------------------------------------

    def dispatch(self, followed: Followed, frame: dict[str, Any], timeout: float | None, size: int) -> None:
        def on_answer(answer: Answer | None, error: NoLagError | None) -> None:
            self._on_accepted(followed, answer, error)

        self.link.connection.ask(frame, on_answer, timeout, size, first=lambda: self._add(followed))

    def follow(self, followed: Followed) -> None:
        followed._pending = False
        self.link.connection.io.post(self._follow, followed)

    def ack(self, task: str, seq: int) -> None:
        self.link.connection.io.post(self._ack, task, seq)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _add(self, followed: Followed) -> None:
        followed._session = self.link.connection.session
        if self.link.connection.ended is None:
            self._tasks.setdefault(followed.task, []).append(followed)

    def _follow(self, followed: Followed) -> None:
        if (ended := self.link.connection.ended) is not None:
            self._lost([followed], ended)
            return
        self._add(followed)
        self._ask([followed])

    def _remove(self, followed: Followed) -> bool:
        """True when nobody else follows the same task."""
        followers = self._tasks.get(followed.task, [])
        if followed in followers:
            followers.remove(followed)
        if not followers:
            return self._tasks.pop(followed.task, None) is not None
        return False

    def unfollow(self, followed: Followed) -> None:
        followed._closed = True
        if self._remove(followed):
            self._give_up(followed.task)

    def _give_up(self, task: str) -> None:
        self.link.connection.give_up({"op": "task.unfollow", "room": self.link.room, "tasks": [task]})

    def _on_accepted(self, followed: Followed, answer: Answer | None, error: NoLagError | None) -> None:
        followed._pending = False
        if answer is None:
            self._remove(followed)
        else:
            task = answer["task"]
            moved = task != followed.task
            if moved:
                self._remove(followed)
                followed.task, followed.attached = task, True
                if not followed._closed:
                    self._add(followed)
            if followed._closed:  # meanwhile; whoever dispatches follows
                if task not in self._tasks:
                    self._give_up(task)
            elif moved or followed._session is not self.link.connection.session:
                # Attached to a task that may have ended before we knew its id; or accepted in an earlier session.
                followed._session = self.link.connection.session
                self._ask([followed])
        if followed._on_accepted is not None:
            tell, followed._on_accepted = followed._on_accepted, None
            tell(answer, error)
        elif followed._accepted is not None:
            settle_blocking(followed._accepted, answer, error)

    def on_progress(self, frame: dict[str, Any]) -> None:
        task, attempt = frame["task"], frame["attempt"]
        for followed in tuple(self._tasks.get(task, ())):
            if attempt < followed._attempt or followed._on_progress is None:
                continue
            if attempt > followed._attempt:
                followed._attempt, followed._n = attempt, 0
            gap = frame.get("gap")
            n, body = (gap[1], None) if gap else (frame["n"], frame["body"])
            if n > followed._n:
                missing = (followed._n + 1, n if gap else n - 1)
                followed._n = n
                followed._on_progress(Progress(task, attempt, n, body, frame.get("ct"), missing if missing[0] <= missing[1] else None))

    def on_result(self, frame: dict[str, Any]) -> None:
        for followed in self._tasks.pop(frame["task"], ()):
            followed._ended = frame["seq"]
            self._tell_end(followed, _result(frame))

    @staticmethod
    def _tell_end(followed: Followed, result: Result) -> None:
        """Whom it was told is let go: they often hold what they follow, and much more."""
        tell, followed._on_end, followed._on_progress = followed._on_end, _told, None
        tell(result)

    def _ack(self, task: str, seq: int) -> None:
        self._acks.append((task, seq))
        if len(self._acks) == CHUNK:
            self.send_acks()
        elif self._acks_due is None:
            self._acks_due = self.link.connection.io.loop.call_later(PATIENCE, self.send_acks)

    def send_acks(self) -> None:
        """Without a session they wait for the next one."""
        if self._acks_due is not None:
            self._acks_due.cancel()
            self._acks_due = None
        if not self.link.connection.is_live:
            return
        acks, self._acks = self._acks, []
        for start in range(0, len(acks), CHUNK):
            tasks, seqs = zip(*acks[start : start + CHUNK], strict=True)
            self.link.note("task.ack", tasks=list(tasks), seqs=list(seqs))

    def restore(self) -> None:
        """Follow again; those whose dispatch has no answer yet are sent again with it."""
        by_task = ([one for one in followers if not one._pending] for followers in self._tasks.values())
        self._ask([min(accepted, key=Followed.position) for accepted in by_task if accepted])
        self.send_acks()

    def _ask(self, wanted: list[Followed]) -> None:
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            positions = [[followed.task, followed._n, followed._attempt] for followed in chunk]
            establish(
                self.link,
                "task.follow",
                {"tasks": positions},
                self._on_states,
                partial(self._lost, chunk),
                wanted=partial(self._follows_any, chunk),
            )

    def _follows_any(self, followers: list[Followed]) -> bool:
        return any(one.task in self._tasks for one in followers)

    def _on_states(self, answer: Answer) -> None:
        for task, state in answer["states"].items():
            if state is None:
                gone = TaskNotFound(f"the broker does not know task {task} (any more)")
                self._lost(self._tasks.get(task, []), gone)

    def _lost(self, followers: list[Followed], error: NoLagError) -> None:
        for followed in tuple(followers):
            self._remove(followed)
            self._tell_end(followed, Result(followed.task, "unknown", 0, None, None, None, followed._attempt, error))

    def on_ended(self, error: NoLagError) -> None:
        self._lost([followed for followers in self._tasks.values() for followed in followers if not followed._pending], error)


def _told(result: Result) -> None:
    """An end is told once."""


def _result(frame: dict[str, Any]) -> Result:
    get = frame.get
    return Result(frame["task"], frame["state"], frame["seq"], get("body"), get("ct"), get("error"), get("attempt", 0), get("reason"))
