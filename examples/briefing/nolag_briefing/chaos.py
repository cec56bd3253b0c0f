"""Which process to kill, and when: each in the middle of something, as the events of the room tell.

A worker during research, the orchestrator before the gate, the broker while the gate waits.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Blow:
    """One kill -9 and what came of it. `after`: seconds until somebody had taken over."""

    who: str
    pid: int
    during: str
    at: float
    successor: str | None = None
    after: float | None = None

    def taken_over(self, successor: str) -> None:
        if self.successor is None:
            self.successor = successor
            self.after = time.monotonic() - self.at


class Chaos:
    """Decides from the events; the supervisor does the killing.

    Args:
        victims: the workers that may be killed.
    """

    def __init__(self, victims: Collection[str]) -> None:
        self.blows: list[Blow] = []
        self._victims = frozenset(victims)
        self._researching: dict[str, str] = {}  # worker -> the task it has
        self._lost_task: str | None = None

    def next_victim(self, type: str, sender: str, facts: dict[str, Any]) -> tuple[str, str] | None:
        """Who is to be killed on this event, and what it is doing; None: nobody."""
        stage = len(self.blows)
        if stage == 0 and type == "research.reading" and sender in self._victims and sender in self._researching:
            self._lost_task = self._researching[sender]
            return sender, f"research {facts['index'] + 1}"
        if stage == 1 and type == "draft.started":
            return "orchestrator", f"draft {facts['version']}"
        if stage == 2 and type == "approval.requested":
            return "broker", "the gate"
        return None

    def struck(self, who: str, pid: int, during: str) -> Blow:
        blow = Blow(who, pid, during, time.monotonic())
        self.blows.append(blow)
        return blow

    def watch(self, type: str, sender: str, facts: dict[str, Any]) -> None:
        """Note from the events who has which task, and who takes over."""
        if type == "task.claimed":
            worker = str(facts["actor"]).partition("/")[0]
            if self.blows and facts["task"] == self._lost_task:
                self.blows[0].taken_over(f"{worker} (attempt {facts['attempt']})")
            self._researching[worker] = facts["task"]
        elif type == "orchestrator.started" and facts.get("resumed") and len(self.blows) >= 2:
            self.blows[1].taken_over(f"a new one (process {facts['pid']})")
