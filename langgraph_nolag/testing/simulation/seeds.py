"""Many seeds, on several processes, and the sum of them."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable

from .faults import Faults
from .world import OPERATIONS, Report, simulate


def play(seeds: Iterable[int], processes: int = 1, operations: int = OPERATIONS) -> tuple[Counter[str], list[Report]]:
    """Play these seeds and print how it went; what was hit, and the reports of the seeds that failed."""
    begin = time.monotonic()
    total: Counter[str] = Counter()
    fewest, failed = 0, []
    work = [(seed, operations) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for report in pool.imap_unordered(_play, work, chunksize=10):
            total.update(report.faults)
            total.update({"seeds": 1, "events": report.events, "log": report.log, "operations": report.operations})
            total["virtual seconds"] += round(report.seconds)
            total["cpu"] += round(report.cpu * 1000)
            fewest = min(fewest or report.events, report.events)
            if report.violations:
                failed.append(report)
                _tell(report)
    _sum_up(total, fewest, failed, time.monotonic() - begin, processes)
    return total, failed


def _play(work: tuple[int, int]) -> Report:
    return simulate(*work)


def replay(seed: int) -> str:
    return f"make simulate FROM={seed} SEEDS=1"


def _tell(report: Report) -> None:
    print(f"seed {report.seed} failed; again: {replay(report.seed)}", flush=True)  # noqa: T201
    for violation in report.violations[:5]:
        print(f"  {str(violation)[:1000]}", flush=True)  # noqa: T201


def _sum_up(total: Counter[str], fewest: int, failed: list[Report], seconds: float, processes: int) -> None:
    seeds = total["seeds"]
    lines = [
        f"{seeds} seeds in {seconds:.0f} s on {processes} processes, {len(failed)} failed; {total['cpu'] / seeds:.0f} ms of CPU a seed",
        f"{total['events']} events, {fewest} or more a seed; {total['log']} of the log, {total['operations']} operations, "
        f"{total['virtual seconds'] / 3600:.1f} simulated hours",
        *(f"  {kind:<28} {total[kind]}" for kind in Faults.kinds()),
    ]
    if missing := [kind for kind in Faults.kinds() if not total[kind]]:
        lines.append(f"never hit: {', '.join(missing)}")
    print("\n".join(lines), flush=True)  # noqa: T201
