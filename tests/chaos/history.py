"""What clients asked and were told, and what the room's log must therefore hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from langgraph_nolag.errors import NoLagError

T = TypeVar("T")


@dataclass(slots=True)
class Operation:
    """One call of one client: `invoke` until it ended `ok`, `fail` (it did not happen) or `unknown`."""

    client: int
    what: str
    key: Any
    outcome: Literal["invoke", "ok", "fail", "unknown"] = "invoke"
    answer: Any = None


class History:
    """Every operation of every client, in the order in which they began."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    async def record(self, client: int, what: str, key: Any, call: Awaitable[T]) -> T:
        """Await a call and write down how it ended; what it raises is raised."""
        operation = Operation(client, what, key)
        self.operations.append(operation)
        try:
            operation.answer = await call
        except NoLagError as error:
            operation.outcome = "unknown" if error.maybe_applied else "fail"
            raise
        operation.outcome = "ok"
        return operation.answer  # type: ignore[no-any-return]

    def acknowledged(self, what: str) -> list[Operation]:
        return [operation for operation in self.operations if operation.what == what and operation.outcome == "ok"]


def gapless(events: Iterable[Any]) -> list[str]:
    """Violations: sequences from 1 on, without a hole."""
    return [f"event {event.seq} stands where {at} belongs" for at, event in enumerate(events, 1) if event.seq != at][:5]


def written_once(history: History, what: str, stored: Iterable[tuple[Any, int]]) -> list[str]:
    """Violations: each acknowledged write is in the log once, at the sequence of its answer; a refused one is not there.

    Args:
        stored: (key, sequence) of the log's events of this kind.
    """
    found: defaultdict[Any, list[int]] = defaultdict(list)
    for key, sequence in stored:
        found[key].append(sequence)
    violations = []
    for operation in history.operations:
        if operation.what != what:
            continue
        there = found.pop(operation.key, [])
        if operation.outcome == "ok" and there != [operation.answer]:
            violations.append(f"{what} {operation.key} was acknowledged at {operation.answer} and is at {there}")
        elif len(there) > (operation.outcome != "fail"):
            violations.append(f"{what} {operation.key} ended {operation.outcome!r} and is at {there}")
    return violations + [f"{what} {key} was never asked for and is at {there}" for key, there in found.items()]


def completed_once(tasks: Iterable[str], events: Iterable[Any]) -> list[str]:
    """Violations: every one of these tasks has one completion, by whoever held it, under the token of that hand-out."""
    holders: dict[str, Any] = {}
    completions: Counter[str] = Counter()
    violations = []
    for event in events:
        task = event.data.get("task")
        if event.type == "task.claimed":
            if task in holders:
                violations.append(f"{task} was handed out at {event.seq} while it was held since {holders[task].seq}")
            holders[task] = event
        elif event.type == "task.released":
            holders.pop(task, None)
        elif event.type == "task.completed":
            completions[task] += 1
            holder = holders.pop(task, None)
            if holder is None or (holder.data["token"], holder.data["actor"]) != (event.data["token"], event.sender):
                violations.append(f"{task} was completed at {event.seq} by somebody who did not hold it")
    return violations + [f"{task} has {completions[task]} completions" for task in tasks if completions[task] != 1]
