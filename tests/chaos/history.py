"""What clients asked and were told, written down as they go; and the room's log, as it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph_nolag.client.body import encode
from langgraph_nolag.errors import NoLagError
from langgraph_nolag.testing.checker import check
from langgraph_nolag.testing.history import History

SHOWN = 20  # violations of one room


def new_history() -> History:
    return History(time.monotonic)


@dataclass(frozen=True, slots=True)
class Stored:
    """An event with its body as the bytes it is."""

    seq: int
    type: str
    sender: str
    time: float
    subject: str | None
    data: Mapping[str, Any]
    body: bytes | None
    id: str


class Client:
    """A room as one client of it has it: what goes through here is written down.

    Args:
        room: as joined.
        process: its name in the history.
    """

    def __init__(self, history: History, room: Any, process: object) -> None:
        self.room = room
        self._history = history
        self._process = str(process)

    async def ask(self, op: str, timeout: float = 60.0, **fields: Any) -> Any:
        """An operation of the protocol; raises as the link does."""
        operation = self._history.invoke(self._process, op, **fields)
        try:
            answer = await self.room.link.acall(op, timeout, **fields)
        except NoLagError as error:
            self._history.fail(operation, error.code, error.detail, maybe_applied=error.maybe_applied)
            raise
        self._history.ok(operation, answer, answer.seq or None)
        return answer

    async def work(self, payload: Any, timeout: float = 60.0) -> Any:
        """A task of the type `work`, dispatched and waited for. Returns the task and its result."""
        task = await self.dispatch(payload)
        return task, await self.result(task, timeout)

    async def dispatch(self, payload: Any) -> Any:
        """A task of the type `work`; raises as the room does."""
        operation = self._history.invoke(self._process, "task.dispatch", type="work", body=encode(payload))
        try:
            task = await self.room.handoff.dispatch("work", payload, capabilities=["work"], max_attempts=100)
        except NoLagError as error:
            self._history.fail(operation, error.code, error.detail, maybe_applied=error.maybe_applied)
            raise
        self._history.ok(operation, {"task": task.id})
        return task

    async def result(self, task: Any, timeout: float = 60.0) -> Any:
        result = await task.result(timeout)
        self._history.observed(self._process, "task.result", {"state": "completed", "body": encode(result)}, task=task.id)
        return result


async def whole_log(room: Any) -> list[Stored]:
    """Every event of the room, up to now."""
    events: list[Stored] = []
    async with asyncio.timeout(300):
        while True:
            page = await room.link.acall("log.read", after=events[-1].seq if events else 0, limit=1000)
            events += map(stored, page["events"])
            if page["end"]:
                return events


def stored(event: Mapping[str, Any]) -> Stored:
    return Stored(
        event["seq"],
        event["type"],
        event["sender"],
        event["time"],
        event.get("subject"),
        event["data"],
        event.get("body"),
        event.get("id") or str(event["seq"]),
    )


def judged(history: History, events: Sequence[Stored]) -> list[str]:
    """What is wrong, in words."""
    found = check(history, events)
    return [*map(str, found[:SHOWN]), *([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]


def unfinished(tasks: Sequence[str], events: Sequence[Stored]) -> list[str]:
    """Violations: tasks without a completion. (That none has two, the checker sees.)"""
    ended = {event.data["task"] for event in events if event.type == "task.completed"}
    return [f"{task} was never completed" for task in tasks if task not in ended]
