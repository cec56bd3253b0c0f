"""The books of a run, kept from the room's events alone: which bodies began, which ended, what was handed out again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

NODES = ("plan", "research", "draft", "review", "publish")


@dataclass(slots=True)
class Ledger:
    """Fold the events with `record`; then read it."""

    began: Counter[str] = field(default_factory=Counter)
    """Bodies begun, by node execution: `research 2`, `draft 1`."""
    ended: Counter[str] = field(default_factory=Counter)
    begun_again: list[str] = field(default_factory=list)
    """Executions whose body began although it had ended before: there must be none."""
    handed_out: Counter[str] = field(default_factory=Counter)
    """How often each remote execution was given to a worker, by task."""
    completed: Counter[str] = field(default_factory=Counter)
    """How often a result was recorded, by task."""
    _node_tasks: set[str] = field(default_factory=set)

    def record(self, type: str, facts: dict[str, Any]) -> None:
        """One event of the room: what a node announced (`draft.started`), or a step of a task (`task.claimed`)."""
        if type.startswith("task."):
            self._record_task(type, facts)
        else:
            self._record_body(type, facts)

    def _record_body(self, type: str, facts: dict[str, Any]) -> None:
        node, _, step = type.partition(".")
        if node not in NODES or step not in ("started", "finished"):
            return
        execution = execution_name(node, facts)
        if step == "finished":
            self.ended[execution] += 1
        else:
            self.began[execution] += 1
            if self.ended[execution]:
                self.begun_again.append(execution)

    def _record_task(self, type: str, facts: dict[str, Any]) -> None:
        """Of the tasks, those that are node executions count; calls of tools may be repeated."""
        task = facts.get("task")
        if type == "task.dispatched" and facts["kind"] == "node":
            self._node_tasks.add(facts["task"])
        elif task in self._node_tasks and type == "task.claimed":
            self.handed_out[task] += 1
        elif task in self._node_tasks and type == "task.completed":
            self.completed[task] += 1

    @property
    def is_sound(self) -> bool:
        """Every body that began ended exactly once, none began after its end, every task has exactly one result."""
        once = all(self.ended[execution] == 1 for execution in self.began)
        return once and not self.begun_again and all(self.completed[task] == 1 for task in self.handed_out)

    def summary(self) -> str:
        interrupted = sum(self.began.values()) - len(self.began)
        again = sum(self.handed_out.values()) - len(self.handed_out)
        verdict = (
            "no finished node ran twice" if self.is_sound else f"NOT SOUND: {', '.join(self.begun_again) or 'an execution has no result'}"
        )
        return (
            f"{len(self.began)} node executions, {sum(self.ended.values())} finished, {interrupted} begun again after a kill; "
            f"{len(self.handed_out)} handed to workers, {again} of them a second time: {verdict}"
        )


def execution_name(node: str, facts: dict[str, Any]) -> str:
    """`research 2`, `draft 1`; `plan`, which runs once, has no number."""
    if "index" in facts:
        return f"{node} {facts['index'] + 1}"
    return f"{node} {facts['version']}" if "version" in facts else node
