"""The results of `make chaos` as a table, on the screen and in a section of `docs/reliability.md`."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .trial import Row, Trial

BEGIN, END = "<!-- chaos: written by make chaos -->", "<!-- chaos: end -->"
HEAD = "| row | fault | must hold | done | violations | slowest recovery | date, seed |\n|---|---|---|---|---|---|---|\n"
Results = Sequence[tuple[Row, Trial]]


def table(trials: Results, seed: int) -> str:
    return HEAD + "\n".join(_line(row, trial, seed) for row, trial in trials) + "\n"


def write(page: Path, trials: Results, seed: int) -> None:
    """Put the results into the section, in place of the former ones of the same rows; rows that were not run stay."""
    text = page.read_text(encoding="utf-8") if page.exists() else "# Reliability\n"
    before, found, rest = text.partition(BEGIN)
    section, _, after = rest.partition(END) if found else ("", "", "\n")
    lines = {int(number): line for line, number in re.findall(r"^(\| (\d+) \|.*)$", section, re.MULTILINE)}
    lines.update({row.number: _line(row, trial, seed) for row, trial in trials})
    if not found:
        before = before.rstrip() + "\n\n## Faults on real processes\n\n"
    body = HEAD + "\n".join(lines[number] for number in sorted(lines))
    page.write_text(f"{before}{BEGIN}\n{_about()}\n\n{body}\n{END}{after}", encoding="utf-8")


def _about() -> str:
    return (
        "`make chaos` runs these at their full counts (`ROWS=1,5` some of them, `SCALE=0.1` a part of them); the table says how often\n"
        f"each was done in its last run. Last on Python {platform.python_version()}, langgraph-nolag {version('langgraph-nolag')}, "
        f"SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores."
    )


def _line(row: Row, trial: Trial, seed: int) -> str:
    done = ", ".join(f"{count:,} {what}" for what, count in trial.done.items())
    slowest = "" if trial.slowest is None else f"{trial.slowest:.2f} s"
    when = f"{datetime.now(UTC):%Y-%m-%d}, {seed}"
    return f"| {row.number} | {row.fault} | {row.holds} | {done} | {len(trial.violations)} | {slowest} | {when} |"
