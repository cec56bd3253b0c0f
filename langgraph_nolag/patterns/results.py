"""The ends of the tasks that an actor dispatched, from the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from ..client.body import read
from ..client.link import RoomLink
from ..client.stream import Stream, log_stream
from ..client.subscription import Gap
from ..errors import NotAuthorized, TaskNotFound

_ENDS: Final = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled", "task.timed_out": "timed_out"}


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The end of a task, as the log has it.

    Attributes:
        seq: position in the log; give the last one to `results(since=…)` to go on.
        state: `completed`, `failed`, `cancelled`, `timed_out`.
        value: the result of a completed task.
        error: `{type, message}` of a failed one.
    """

    seq: int
    id: str
    type: str
    state: str
    value: Any
    error: dict[str, Any] | None


class Results:
    """What `room.handoff.results` gives: for `async for`. It begins when it is made; leave the loop and it ends."""

    def __init__(self, link: RoomLink, since: int | None, epoch: str | None) -> None:
        self._link = link
        self._ours: dict[str, bool] = {}  # tasks under way, as far as their dispatch was seen
        self._end: dict[str, Any] | None = None  # whose dispatch is being looked for: a reader that is cancelled loses nothing
        self._events: Stream[dict[str, Any] | Gap] = log_stream(link, "task.*", lambda event: event, since=since, epoch=epoch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskResult | Gap:
        while True:
            event = self._end if self._end is not None else await anext(self._events)
            if isinstance(event, Gap):
                return event
            state, task = _ENDS.get(event["type"]), event["data"].get("task")
            if event["type"] == "task.dispatched":
                self._ours[task] = self._is_ours(event)
            elif state is not None:
                self._end = event
                ours = self._ours[task] if task in self._ours else await self._was_ours(event)
                self._ours.pop(task, None)
                self._end = None
                if ours:
                    value = read(event.get("body"), event.get("ct")) if state == "completed" else None
                    return TaskResult(event["seq"], task, event["subject"], state, value, event["data"].get("error"))

    def close(self) -> None:
        """Read no more."""
        self._events.close()

    async def aclose(self) -> None:
        self.close()

    def _is_ours(self, dispatched: Mapping[str, Any]) -> bool:
        data = dispatched["data"]  # those of a schedule name the dispatcher
        return bool(data.get("dispatcher", dispatched["sender"]) == self._link.actor and data["kind"] == "handoff")

    async def _was_ours(self, event: Mapping[str, Any]) -> bool:
        """The task was dispatched before our reading began. The room knows whose it was, or the log does: the end names the claim as its
        parent, and that the dispatch. The log may have been trimmed to behind these; the room forgets what we have acknowledged."""
        try:
            info = (await self._link.acall("task.get", task=event["data"]["task"]))["task"]
            return bool(info["dispatcher"] == self._link.actor and info["kind"] == "handoff")
        except (TaskNotFound, NotAuthorized):  # who may only subscribe is told nothing of tasks
            pass
        while event["type"] != "task.dispatched":
            parent = event.get("parent")
            if parent is None:
                return False
            found = (await self._link.acall("log.read", after=parent - 1, limit=1, types="task.*", bodies=False))["events"]
            if not found or found[0]["seq"] != parent:
                return False
            event = found[0]
        return self._is_ours(event)
