"""What a row of faults is, and one run of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Trial:
    """One run of a row.

    Attributes:
        folder: its own, on a disk.
        aim: how often what is to be done; `done` says how often it was.
        patience: a factor for every limit of time, for a machine that has other things to do.
        violations: what must not be, in words; empty is good.
        slowest: seconds of the slowest recovery.
        seconds: that the whole took.
    """

    folder: Path
    chance: random.Random
    aim: Mapping[str, int]
    patience: float = 1.0
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest: float | None = None
    seconds: float = 0.0

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.violations.append(otherwise)

    def recovered(self, seconds: float, limit: float, what: str) -> None:
        self.slowest = max(seconds, self.slowest or 0.0)
        limit *= self.patience
        self.check(seconds <= limit, f"{what} took {seconds:.2f} s, more than {limit:g} s")


@dataclass(frozen=True)
class Row:
    """A fault, what must hold under it, and how it is tried.

    Attributes:
        full: the counts of `make chaos`.
        short: the counts of the short form, a few seconds of `make test`; None: there is none.
        least: counts that say the run showed something; fewer is a violation.
        needs: what is not here that the row needs, or None.
    """

    number: int
    fault: str
    holds: str
    run: Callable[[Trial], Awaitable[None]]
    full: Mapping[str, int]
    short: Mapping[str, int] | None
    least: Mapping[str, int] = field(default_factory=dict)
    needs: Callable[[], str | None] = lambda: None

    async def tried(self, trial: Trial) -> Trial:
        await self.run(trial)
        for what, count in self.least.items():
            trial.check(trial.done[what] >= count, f"{trial.done[what]} {what}, fewer than {count}: this shows nothing")
        return trial
