"""The broker's server under faults from a seed: a short run. The long one is `make simulate`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

from langgraph_nolag.testing.simulation.faults import Faults
from langgraph_nolag.testing.simulation.seeds import replay
from langgraph_nolag.testing.simulation.world import simulate

SEEDS = range(60)
DIGEST = "from langgraph_nolag.testing.simulation.world import simulate; report = simulate(1); print(report.digest, report.events)"


def test_promises_hold_whatever_goes_wrong() -> None:
    hit: Counter[str] = Counter()
    fewest = 10**9
    for seed in SEEDS:
        report = simulate(seed)
        assert not report.violations, f"{replay(seed)}\n" + "\n".join(map(str, report.violations[:5]))
        hit.update(report.faults)
        fewest = min(fewest, report.events)
    assert fewest >= 1000
    assert [kind for kind in Faults.kinds() if not hit[kind]] == [], "never hit: this shows nothing of them"


def test_a_seed_replays_exactly() -> None:
    """In another process, where sets of strings have another order."""
    here = simulate(1)
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [str(here.digest), str(here.events)]
    assert simulate(2).digest != here.digest


def test_the_long_run_in_short() -> None:
    command = [sys.executable, "-m", "langgraph_nolag.testing.simulation", "--from", "500", "--seeds", "4", "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("4 seeds in ")
    assert ", 0 failed" in done.stdout
