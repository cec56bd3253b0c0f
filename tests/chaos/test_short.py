"""The short forms. Seeds are printed; `NOLAG_SEED=n` repeats one."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from chaos.rows import ROWS
from chaos.trial import Trial

LONG = {16}  # four kills of a graph of many steps: with the long tests
PATIENCE = 10.0  # no busy machine fails a test; what is promised about time, `make chaos` measures


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=pytest.mark.slow) if number in LONG else number for number, row in ROWS.items() if row.short]
)
async def test_row(number: int, tmp_path: Path) -> None:
    row = ROWS[number]
    assert row.short is not None
    if lacking := row.needs():
        pytest.skip(f"there is no {lacking}")
    seed = int(os.environ.get("NOLAG_SEED") or random.SystemRandom().randrange(2**32))
    print(f"NOLAG_SEED={seed}")
    async with asyncio.timeout(90):
        trial = await row.tried(Trial(tmp_path, random.Random(seed), row.short, PATIENCE))
    print(dict(trial.done), trial.slowest)
    assert trial.violations == []
