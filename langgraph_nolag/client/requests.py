"""Requests that wait for an answer: in the order they were made, bounded in bytes, each with a deadline."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import BadRequest, BufferFull, NoLagError, RequestTimeout
from .large import Value

log = logging.getLogger("langgraph_nolag")


class Answer(dict[str, Any]):
    """What `ok` of a response holds, with the room's sequence and epoch that it reflects."""

    __slots__ = ("epoch", "seq")

    def __init__(self, ok: dict[str, Any], seq: int = 0, epoch: str = "") -> None:
        super().__init__(ok)
        self.seq = seq
        self.epoch = epoch


OnAnswer = Callable[[Answer | None, NoLagError | None], object]
"""Told once, on the I/O thread: the answer, or why there is none."""


class Pending:
    """One request under way."""

    __slots__ = ("deadline", "frame", "id", "on_answer", "patient", "restores", "sent", "size", "timeout", "tries", "values")

    def __init__(
        self,
        id: int,
        frame: dict[str, Any],
        on_answer: OnAnswer,
        deadline: float,
        timeout: float | None,
        size: int,
        restores: bool,
        values: Sequence[Value],
    ) -> None:
        self.id = id
        self.frame = frame
        self.on_answer = on_answer
        self.deadline = deadline
        self.timeout = timeout
        self.values = values  # large ones, stored before it is sent
        self.tries = 0  # of storing them
        self.size = size
        self.restores = restores  # part of what every new session begins with: made anew then, not sent again
        self.sent = False
        self.patient = False  # it may wait a moment for another one to go with


class Allowance:
    """How many bytes may wait for the broker. Taken on the caller's thread, so that the refusal is the caller's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def take(self, size: int, *, insist: bool = False) -> None:
        """Raises `BufferFull`, unless one insists: for results, which are bounded by the slots of their offer."""
        with self._lock:
            if not insist and self._used and self._used + size > self._limit:
                raise BufferFull(f"{self._used} bytes already wait for the broker; the limit is {self._limit}")
            self._used += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size


class Unanswered:
    """The table of requests under way. Lives on the I/O thread.

    One timer serves all deadlines: it is set to the nearest one and, when it rings, looks at everybody. Requests are
    answered long before, so it rings once in a while, and a request costs no timer of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, allowance: Allowance, on_settled: Callable[[], object]) -> None:
        self._loop = loop
        self._allowance = allowance
        self._on_settled = on_settled  # told of each request that is no longer here
        self._waiting: dict[int, Pending] = {}
        self._next_id = 1
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = float("inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._waiting.values()))

    def add(
        self,
        frame: dict[str, Any],
        on_answer: OnAnswer,
        timeout: float | None,
        size: int,
        restores: bool = False,
        values: Sequence[Value] = (),
    ) -> Pending:
        deadline = float("inf") if timeout is None else self._loop.time() + timeout
        pending = Pending(self._next_id, frame, on_answer, deadline, timeout, size, restores, values)
        frame["id"] = pending.id
        self._next_id += 1
        self._waiting[pending.id] = pending
        if deadline < self._rings_at:
            self._set_timer(deadline)
        return pending

    def oldest(self) -> int:
        """The smallest id that has no answer yet."""
        return next(iter(self._waiting), self._next_id)

    def get(self, id: int) -> Pending | None:
        return self._waiting.get(id)

    def moved(self, pending: Pending) -> None:
        """Something of its large values came through: its time begins again."""
        if pending.timeout is not None:
            pending.deadline = self._loop.time() + pending.timeout

    def answer(self, id: int, answer: Answer | None, error: NoLagError | None) -> None:
        """Settle one; one that is not (or no longer) here is a late answer to a request that timed out."""
        pending = self._waiting.pop(id, None)
        if pending is not None:
            self._allowance.give_back(pending.size)
            self._on_settled()
            try:
                pending.on_answer(answer, error)
            except Exception:  # one who is told badly must not keep the others from being told
                log.exception("handling the answer to %s failed", pending.frame.get("op"))

    def fail_all(self, explain: Callable[[Pending], NoLagError]) -> None:
        for pending in self:
            self.answer(pending.id, None, explain(pending))

    def drop_restores(self) -> None:
        """The session ended: what it began with will be asked again by the next one."""
        for pending in self:
            if pending.restores:
                del self._waiting[pending.id]

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        self._timer, self._rings_at = None, float("inf")
        for pending in self:
            if pending.deadline <= now:
                what = f"no answer to {pending.frame.get('op')} in time"
                self.answer(pending.id, None, RequestTimeout(what, maybe_applied=pending.sent))
        nearest = min((pending.deadline for pending in self._waiting.values()), default=float("inf"))
        if nearest < self._rings_at:
            self._set_timer(max(nearest, now + 0.01))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def weigh(frame: dict[str, Any]) -> int:
    """Bytes of the texts and bodies inside a frame. Raises `BadRequest` for a value that holds itself."""
    try:
        return _weigh(frame)
    except RecursionError:
        raise BadRequest(f"{frame.get('op')}: a value in it holds itself, or is nested too deeply") from None


def _weigh(value: Any) -> int:
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    if isinstance(value, dict):
        return sum(_weigh(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_weigh(item) for item in value)
    return 0
