"""The row of killed graphs finds defects: each planted one, by a kill at the moment at which it shows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .graph_callers import Invoked
from .graph_kills import killable
from .graph_play import Plan
from .graph_verdict import verdict
from .trial import Trial

SHOWS = {
    "other_keys": (Plan("orchestrator", ("after", "task.dispatch", 6), 0), "the body gather ran 2 times"),
    "no_input": (Plan("orchestrator", ("after", "task.begin", 1), 3), "asked again, though the answer was taken: ['left?', 'right?']"),
    "no_ledger": (Plan("worker", ("after", "effect.put", 1)), "the effect was done 2 times"),
    "nothing_unseen": (Plan("orchestrator", ("sent", "task.dispatch", 5), 0), "a caller saw the end of part"),
}


@pytest.mark.slow
async def test_planted_defects_are_found(tmp_path: Path) -> None:
    trial = Trial(tmp_path, random.Random(1), {}, patience=10.0)
    with killable(trial) as broker:
        undisturbed = await Invoked(trial, broker, "undisturbed").run()
        for plant, (plan, told) in SHOWS.items():
            found = verdict(await Invoked(trial, broker, plant, [plan], plant).run(), undisturbed)
            assert any(told in each for each in found), (plant, found)
