"""What people see of a run: one line an event, and on a terminal the team and its progress below."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .ledger import execution_name

STYLES = {
    "broker": "blue",
    "orchestrator": "magenta",
    "librarian": "cyan",
    "writer": "green",
    "reviewer": "yellow",
    "supervisor": "bold",
}
PLAIN_WIDTH = 120  # a pipe has none of its own


class Screen:
    """Lines everywhere; the live part only on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self._began = time.monotonic()
        self._doing: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn(), console=self.console
        )
        self._bar = self._progress.add_task("briefing", total=None)
        self._steps = 0
        self._live: Live | None = None

    @property
    def is_terminal(self) -> bool:
        return self.console.is_terminal

    def __enter__(self) -> Screen:
        self.resume()
        return self

    def __exit__(self, *exception: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the live part away, for example while somebody is asked."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def resume(self) -> None:
        if self.is_terminal and self._live is None:
            self._live = Live(console=self.console, get_renderable=self._picture, refresh_per_second=8, transient=True)
            self._live.start()

    def line(self, who: str, text: str, *, seq: int | None = None, style: str = "") -> None:
        """One thing that happened. The text may be anybody's: it is never read as markup."""
        elapsed = time.monotonic() - self._began
        number = f"#{seq}" if seq is not None else ""
        parts = ((f"{elapsed:7.2f} s  ", "dim"), (f"{number:>6} ", "dim"), (f"{who:<13}", STYLES.get(who, "")), (text, style))
        self.console.print(Text.assemble(*parts))

    def say(self, text: str = "", style: str = "") -> None:
        self.console.print(Text(text, style=style))

    def ask(self, text: str) -> None:
        """The words before an answer is typed."""
        self.console.print(Text(text), end="")

    def introduce(self, who: str) -> None:
        """A member of the team, for the live part."""
        self._doing[who] = "starting"

    def state(self, who: str, doing: str) -> None:
        """What a member is doing now; whoever was not introduced is not shown."""
        if who in self._doing:
            self._doing[who] = doing

    def expect(self, steps: int) -> None:
        """So many steps more are to come."""
        self._steps += steps
        self._progress.update(self._bar, total=self._steps)

    def step(self) -> None:
        self._progress.advance(self._bar)

    def table(self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            grid.add_column(column)
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        self.console.print(grid)

    def _picture(self) -> Group:
        team = Table(box=None, pad_edge=False, show_header=False)
        for who, doing in self._doing.items():
            team.add_row(Text(who, style=STYLES.get(who, "")), Text(doing, style="dim" if doing == "idle" else ""))
        return Group(Text(), team, self._progress)


def describe(type: str, subject: str | None, facts: Mapping[str, Any]) -> str | None:
    """One event of the room in words; None for those that are the machinery's own (checkpoints, housekeeping, a tool's replies)."""
    node, _, step = type.partition(".")
    if type == "plan.finished":
        return f"plan made: {_count(facts['sub_questions'], 'sub-question')}"
    if type == "research.started":
        return f"research {facts['index'] + 1}: {facts['question']}"
    if type == "research.reading":
        if "documents" in facts:
            return f"research {facts['index'] + 1}: reading {', '.join(facts['documents'])}"
        return f"research {facts['index'] + 1}: reading {facts['document']} ({facts['passage']} of {facts['of']})"
    if type == "research.finished":
        return f"research {facts['index'] + 1}: {_count(facts['quotations'], 'quotation')} found"
    if type == "draft.finished":
        return f"draft {facts['version']}: {_count(facts['quotations'], 'quotation')}"
    if type == "review.finished":
        back = facts["sent_back"]
        verdict = f"{back} sent back: {'; '.join(facts['reasons'])}" if back else "every quotation stands in its document"
        return f"review {facts['version']}: {verdict}"
    if type == "publish.finished":
        return f"published to {facts['out']}"
    if type == "orchestrator.started":
        return f"{'took the run up' if facts['resumed'] else 'started the run'} (process {facts['pid']})"
    if step == "started" and node in ("plan", "draft", "review", "publish"):
        return f"{execution_name(node, dict(facts))}: started"
    return _describe_pattern(type, subject, facts)


def _describe_pattern(type: str, subject: str | None, facts: Mapping[str, Any]) -> str | None:
    name = (subject or "").rpartition("/")[2]
    match type:
        case "presence.joined":
            return f"joined the room{_skills(facts)}"
        case "presence.left":
            gone = (subject or "").partition("/")[0]
            return "left the room" if facts.get("reason") in (None, "left") else f"gave a process of {gone} up ({facts['reason']})"
        case "tool.registered":
            return f"serves the tool {subject}"
        case "task.dispatched":
            return f"calls the tool {subject}" if facts["kind"] == "tool" else f"hands out {name}"
        case "task.claimed":
            return f"has {name}, attempt {facts['attempt']}" if "/" in (subject or "") else None
        case "task.released":
            return f"{'took' if facts['reason'] == 'lease_expired' else 'gave'} {name} back ({facts['reason']})"
        case "blackboard.set":
            return f"wrote {subject} on the blackboard"
        case "approval.requested":
            return f"asks: {subject}? ({', '.join(facts['allow'])})"
        case "approval.decided":
            return f"{facts['type']} {subject}" + (f" ({facts['by']})" if facts.get("by") else "")
        case _:
            return None


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _skills(facts: Mapping[str, Any]) -> str:
    capabilities = facts.get("capabilities")
    return f": {', '.join(capabilities)}" if capabilities else ""
