"""How long a new process takes to import the package, and a broker to be ready."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from .contenders.nolag import NoLag

STATEMENTS = ("import langgraph_nolag", "from langgraph_nolag import connect", "from langgraph_nolag import distribute")


def measure(folder: Path, times: int) -> dict[str, list[float]]:
    """Milliseconds, by what was started."""
    taken: dict[str, list[float]] = {}
    for number in range(times):
        for statement in STATEMENTS:
            code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
            result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            taken.setdefault(f"`{statement}`", []).append(float(result.stdout) * 1000)
        place = folder / f"cold-{number}"
        place.mkdir(parents=True)
        start = time.perf_counter()
        with NoLag().server(place):
            taken.setdefault("broker started, until it listens", []).append((time.perf_counter() - start) * 1000)
    return taken
