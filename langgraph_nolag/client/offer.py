"""An offer to run tasks, and a task that was handed to it: held until it is completed, failed, released or lost."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .failure import sendable
from .io import settle_blocking
from .names import names
from .requests import OnAnswer

if TYPE_CHECKING:
    from .offers import Offers


class Assigned:
    """A task that is ours to run, under a fencing token.

    Attributes:
        room, task, type, kind: what it is.
        attempt: 1 for the first hand-out.
        token: the fencing token; rises with every hand-out.
        deadline: when the task times out (seconds since 1970), or None.
        attempt_ends: when this attempt is given up, or None.
        moment: of the schedule that brought it, or None.
        seq: sequence of the event that dispatched it.
        body, ct: the payload.
        dispatcher: the actor who dispatched it.
        tells: what was said to the task before it was handed out.
        lost: True once it is not ours any more: it went to another worker, or it has ended.
        over: True once it is not to be done any more: its end was given, or it was cancelled or timed out.
        counts_until: of a task that was cancelled, when what we do with it stops to count (seconds since 1970); None: it does not any more.
    """

    __slots__ = (
        *("attempt", "attempt_ends", "body", "ct", "deadline", "dispatcher", "kind", "moment"),
        *("room", "seq", "task", "tells", "token", "type"),
        *("_kept", "_kept_bytes", "_n", "_told", "counts_until", "finishing", "lost", "offer", "over"),
    )

    def __init__(self, offer: Offer, frame: Mapping[str, Any]) -> None:
        self.offer = offer
        self.room: str = frame["room"]
        self.task: str = frame["task"]
        self.type: str = frame["type"]
        self.kind: str = frame["kind"]
        self.attempt: int = frame["attempt"]
        self.token: int = frame["token"]
        self.deadline: float | None = frame.get("deadline")
        self.attempt_ends: float | None = frame.get("attempt_ends")
        self.moment: float | None = frame.get("moment")
        self.seq: int = frame["seq"]
        self.body: bytes = frame["body"]
        self.ct: str | None = frame.get("ct")
        self.dispatcher: str = frame["dispatcher"]
        self.tells: list[bytes] = list(frame.get("tells", ()))
        self.lost = False
        self.over = False
        self.counts_until: float | None = None
        self.finishing = False  # its end was sent, and has no answer yet
        self._n = 0
        self._told = len(self.tells)
        self._kept: deque[dict[str, Any]] = deque()
        self._kept_bytes = 0

    def __repr__(self) -> str:
        return f"Assigned({self.task!r}, {self.type!r}, attempt={self.attempt}, token={self.token})"


class Offer:
    """One offer. From any thread; the ends of a task are sent once, and again after a reconnect until they are answered.

    Attributes:
        ready: done when the offer first stands in the room, or was refused.
        link: the room it stands in.
    """

    def __init__(
        self,
        offers: Offers,
        kind: str,
        types: Sequence[str] | None,
        capabilities: Sequence[str],
        slots: int,
        specs: Mapping[str, bytes] | None,
        on_task: Callable[[Assigned], None],
        on_cancel: Callable[[Assigned, str], None] | None,
        on_tell: Callable[[Assigned, bytes], None] | None,
        on_lost: Callable[[Assigned], None] | None,
    ) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.kind = kind
        self.number = 0
        self.fields: dict[str, Any] = {"kind": kind, "capabilities": names(capabilities, "capabilities"), "slots": slots}
        if types is not None:
            self.fields["types"] = names(types, "types")
        if specs is not None:
            self.fields["specs"] = dict(specs)
        self.on_task = on_task
        self.on_cancel = on_cancel
        self.on_tell = on_tell
        self.on_lost = on_lost
        self.held: dict[str, Assigned] = {}
        self.lingering: dict[Assigned, None] = {}  # lost, and not done with: they have their slots still
        self.closing = False
        self.link = offers.link
        self._offers = offers
        self._idle: list[concurrent.futures.Future[None]] = []

    def complete(
        self,
        task: Assigned,
        body: bytes,
        ct: str | None = None,
        *,
        approvals: Sequence[Mapping[str, Any]] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        """Record the result, whatever time it takes to reach the broker.

        Args:
            task: what was handed out.
            body, ct: the result.
            approvals: `approval.request` fields; requested in the same commit.
            on_answer: told the answer, or why the result does not count (`StaleLease`, `TaskFinished`); without it that is logged.
        """
        fields: dict[str, Any] = {"body": body}
        if ct is not None:
            fields["ct"] = ct
        if approvals:
            fields["approvals"] = [dict(approval) for approval in approvals]
        task.over = True
        self._offers.finish(task, "task.complete", fields, on_answer)

    def fail(
        self,
        task: Assigned,
        error_type: str,
        message: str,
        *,
        body: bytes | None = None,
        ct: str | None = None,
        retry: bool = True,
        delay: float | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        """Record that this attempt failed.

        Args:
            task: what was handed out.
            error_type, message: name and text of the exception; 8,192 characters of it are kept.
            body, ct: more about the error.
            retry: False: no further attempt, the task is a dead letter.
            delay: seconds until the next attempt; None: the task's own policy.
            on_answer: as for `complete`.
        """
        fields: dict[str, Any] = {"error": {"type": sendable(error_type), "message": sendable(message)}, "retry": retry}
        if body is not None:
            fields["body"] = body
        if ct is not None:
            fields["ct"] = ct
        if delay is not None:
            fields["delay"] = delay
        self._offers.finish(task, "task.fail", fields, on_answer)

    def release(self, task: Assigned, *, on_answer: OnAnswer | None = None) -> None:
        """Hand the task back; it does not count as an attempt."""
        self._offers.finish(task, "task.release", {}, on_answer)

    def progress(self, task: Assigned, body: bytes, ct: str | None = None, *, on_answer: OnAnswer | None = None) -> None:
        """Say how far the task is. Never refused: the last 1 MiB of a task is kept, and said again after a reconnect.

        Args:
            on_answer: told whether the task is still ours (`StaleLease`); without it the broker does not answer.
        """
        self._offers.progress(task, body, ct, on_answer)

    def close(self, drain: bool = True) -> concurrent.futures.Future[None]:
        """Take no new tasks. The future is done when none is held any more.

        Args:
            drain: False: hand back at once what is held and not finished.
        """
        idle: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._offers.link.connection.io.post(self._offers.stop, self, drain, idle)
        return idle

    def settle_idle(self) -> None:
        if self.closing and not self.held:
            idle, self._idle = self._idle, []
            for future in idle:
                settle_blocking(future, None, None)

    def wait_idle(self, future: concurrent.futures.Future[None]) -> None:
        self._idle.append(future)
        self.settle_idle()
