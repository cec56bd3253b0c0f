"""`make chaos`: every row at its full counts, or some (`--rows 1,5`) at a part of them (`--scale 0.1`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

from .report import table, write
from .rows import ROWS
from .trial import Row, Trial

LIMIT = 3600.0  # seconds of a row
TELL_EVERY = 20.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers with commas between them; none: all")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor for every count")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--report", type=Path, help="where the results are written down; of full counts: docs/reliability.md")
    options = parser.parse_args()
    logging.getLogger("langgraph_nolag").setLevel(logging.ERROR)  # a broker that is away is what this is about
    rows = [ROWS[int(number)] for number in options.rows.split(",")] if options.rows else list(ROWS.values())

    folder = Path("build/chaos").resolve()  # not a temporary directory: that may be memory
    shutil.rmtree(folder, ignore_errors=True)
    trials: list[tuple[Row, Trial]] = []
    for row in rows:
        if lacking := row.needs():
            print(f"row {row.number} is left out: there is no {lacking}")
            continue
        aim = {what: max(1, round(count * options.scale)) for what, count in row.full.items()}
        trial = Trial(folder / str(row.number), random.Random(options.seed), aim)
        trial.folder.mkdir(parents=True)
        print(f"row {row.number}: {row.fault} ({', '.join(f'{count} {what}' for what, count in aim.items())}) ...", flush=True)
        begun = time.monotonic()
        try:
            asyncio.run(_bounded(row, trial))
        except Exception as error:
            traceback.print_exc()
            trial.violations.append(f"did not end: {type(error).__name__}: {error}")
        trial.seconds = time.monotonic() - begun
        print(f"    {_state(trial)}", flush=True)
        for violation in trial.violations[:20]:
            print(f"    VIOLATION: {violation}", flush=True)
        trials.append((row, trial))
    print(f"\n{table(trials, options.seed)}")
    report = options.report or (Path("docs/reliability.md") if options.scale >= 1 else None)
    if report is not None:
        write(report, trials, options.seed)
    if any(trial.violations for _, trial in trials):
        print(f"what was left behind is in {folder}; --seed {options.seed} repeats it")
        return 1
    shutil.rmtree(folder)
    return 0


async def _bounded(row: Row, trial: Trial) -> None:
    begun = time.monotonic()

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            trial.seconds = time.monotonic() - begun
            print(f"    {_state(trial)} ...", flush=True)

    telling = asyncio.create_task(tell())
    try:
        async with asyncio.timeout(LIMIT):
            await row.tried(trial)
    finally:
        telling.cancel()


def _state(trial: Trial) -> str:
    done = ", ".join(f"{count:,} {what}" for what, count in trial.done.items()) or "under way"
    return f"{trial.seconds:.0f} s: {done}; {len(trial.violations)} violations"


if __name__ == "__main__":
    sys.exit(main())
