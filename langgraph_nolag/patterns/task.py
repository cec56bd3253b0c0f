"""Tasks of ours: waiting for how they end, one by one or together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from ..client.body import decode
from ..client.follow import Followed, Result
from ..client.latch import Latch
from ..client.link import RoomLink
from ..client.moment import check_seconds
from ..errors import RequestTimeout, TaskCancelled, TaskFailed, TaskTimeout
from .progress import Telling

CANCEL_SLACK: Final = 5.0  # seconds beyond the room's bound until nobody waits for the room to say that it has passed
LET_GO: Final = frozenset({"handed_back", "failed"})  # what whoever ran a cancelled task says itself; the rest the room says


class Task:
    """A task of ours.

    Attributes:
        id: unique in the world.
        attached: the dispatch met a task of the same key: this is that one.
    """

    def __init__(self, keeps: bool, telling: Telling | None = None) -> None:
        self.attached = False
        self._telling = telling
        self._keeps = keeps  # it has a key: the broker keeps its result without our asking
        self._state = "waiting"
        self._end: Latch[Result] = Latch()
        self._followed: Followed | None = None

    def __repr__(self) -> str:
        return f"Task({self.id!r}, {self.state})"

    @property
    def id(self) -> str:
        return "" if self._followed is None else self._followed.task

    @property
    def state(self) -> str:
        """The last state we were told: that of the dispatch until it ends, then `completed`, `failed`, `cancelled` or `timed_out`."""
        end = self._end.value
        return self._state if end is None else end.state

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the result. May be called again, and by several.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            TaskFailed: it failed on its last attempt.
            TaskCancelled: it was cancelled.
            TaskTimeout: its own timeout ended it, or this wait did (then `state` is None).
            Disconnected: the connection ended for good.
        """
        try:
            end = await self._end.wait(timeout)
        except TimeoutError:
            raise TaskTimeout(f"task {self.id} has no result after {timeout:g} s; it goes on") from None
        if self._telling is not None:
            self._telling.catch_up()
        return value_of(end)

    @property
    def let_go(self) -> bool | None:
        """Of a task that was cancelled with `wait`: True: whoever ran it has stopped. False: it did not say so in time, or is gone;
        whatever it still does with the task is refused. None: nobody ran it, or was waited for."""
        end = self._end.value
        how = None if end is None or end.state != "cancelled" else (end.error or {}).get("let_go")
        return None if how is None else how in LET_GO

    async def cancel(self, reason: str | None = None, *, wait: float = 0.0) -> str:
        """Cancel it, wherever it is. Returns the state it has then; a task that has ended stays as it ended.

        Args:
            wait: seconds that whoever runs it has to stop; this waits until then, and `let_go` says what came of it. A result that comes in
                that time counts, also one of a handler that was told: then the state is `completed`. (None of such a handler says that it
                has stopped.) 0: it ends at once, whatever its worker still does. A worker that is not connected is not waited for.
        """
        if self._followed is None or self._end.value is not None:
            return self.state
        link = self._followed._follows.link
        answer = await link.acall("task.cancel", task=self.id, reason=reason, wait=wait or None)
        return str(answer["state"]) if "until" not in answer else await _state_at_end(self._end, wait)

    def _on_end(self, end: Result) -> None:
        if not self._keeps and end.reason is None and self._followed is not None:
            self._followed.ack()
        self._end.set(end)


class Batch:
    """Tasks that were dispatched together.

    `async for task in batch` gives each one as it ends: `await task.result()` then returns at once, or raises how it ended.

    Attributes:
        tasks: in the order in which they were given.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)

    async def gather(self, timeout: float | None = None) -> list[Any]:
        """All results, in the order of the tasks.

        Args:
            timeout: seconds for all of them; None: as long as it takes.

        Raises:
            TaskFailed, TaskCancelled, TaskTimeout: the first that ended so, or this wait did; the others go on.
        """
        if timeout is not None:
            check_seconds(timeout, "timeout")
        try:
            async with asyncio.timeout(timeout):
                return list(await asyncio.gather(*(task.result() for task in self.tasks)))
        except TaskTimeout:
            raise
        except TimeoutError:
            raise TaskTimeout(f"a batch of {len(self.tasks)} tasks has not ended after {timeout:g} s; it goes on") from None

    async def __aiter__(self) -> AsyncIterator[Task]:
        ended: asyncio.Queue[Task] = asyncio.Queue()

        async def watch(task: Task) -> None:
            await task._end.wait(None)
            ended.put_nowait(task)

        watches = [asyncio.ensure_future(watch(task)) for task in self.tasks]
        try:
            for _ in watches:
                yield await ended.get()
        finally:
            for each in watches:
                each.cancel()


async def cancel(link: RoomLink, task: str, reason: str | None, wait: float) -> str:
    """As `Task.cancel`, of any task."""
    ended: Latch[Result] = Latch()
    followed = link.follow(task, on_end=ended.set) if wait else None
    try:
        answer = await link.acall("task.cancel", task=task, reason=reason, wait=wait or None)
        return str(answer["state"]) if "until" not in answer else await _state_at_end(ended, wait)
    finally:
        if followed is not None:
            followed.close()


async def _state_at_end(ended: Latch[Result], wait: float) -> str:
    try:
        return (await ended.wait(wait + CANCEL_SLACK)).state
    except TimeoutError:
        raise RequestTimeout(f"the broker is away: whether the task has ended is not known after {wait:g} s") from None


def value_of(end: Result) -> Any:
    """The value of a completed task; raises how another one ended."""
    if end.state == "completed":
        return decode(end.body, end.ct)
    if end.reason is not None:
        raise end.reason
    error: Mapping[str, Any] = end.error or {}
    if end.state == "cancelled":
        raise TaskCancelled(f"task {end.task} was cancelled: {error.get('reason') or error.get('message') or 'no reason given'}")
    if end.state == "timed_out":
        raise TaskTimeout(f"task {end.task} timed out", state="timed_out")
    raise TaskFailed(error_type=str(error.get("type", "")), error_message=str(error.get("message", "")), task=end.task)
