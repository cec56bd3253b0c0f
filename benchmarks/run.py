"""`make bench`: everything in turn, printed and written down. `--help` names the parts."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import agents, checkpoints, cold_start, commits, fan, fan_out, finished, idle, remote_node, round_trip, waiting
from .contenders import ALL, CONTENDERS, TOOL_CALLS
from .machine import describe
from .report import checkpoint_tables, figure, milliseconds, percentiles, round_trips, seconds_beside, table
from .savers import SAVERS

PARTS = (
    *("round_trip", "tool_calls", "checkpoints", "cold_start", "remote_node"),
    *("fan_out", "agents", "waiting", "idle", "finished", "commits"),
)
RATE = 500  # tasks a second that agents share


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender has its turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders of the round trip")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--finished", type=int, default=100_000, help="how many tasks are finished before the broker is looked at")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/RESULTS.md"))
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="real-time priority for the processes of all contenders: on a machine that does other work too (needs root)",
    )
    options = parser.parse_args()
    if options.ahead:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    # what the groups install for us (nats-server) stands beside the interpreter
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = Path("build/bench").resolve()  # not a temporary directory: that may be memory
    shutil.rmtree(folder, ignore_errors=True)
    parts = options.parts

    ahead = " Every process of the benchmark had real-time priority (SCHED_RR)." if options.ahead else ""
    report = ["# Measured", "", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {describe()}.{ahead}", ""]
    if "round_trip" in parts:
        work = "1 KiB payload: dispatch, claim, complete, result at the dispatcher. One server, one worker and one dispatcher process each,"
        report += _in_turn("Durable task round trip", work, "task", options.only, options.rounds, options.seconds, folder)
    if "tool_calls" in parts:
        work = "1 KiB of text to a tool that says it again, in another process. Ours goes through the broker and is stored,"
        report += _in_turn("Remote tool call", work, "call", list(TOOL_CALLS), options.rounds, options.seconds, folder)
    if "checkpoints" in parts:
        report += _checkpoints(options.rounds, options.seconds, folder)
    if "cold_start" in parts:
        report += ["## Cold start", "", milliseconds(cold_start.measure(folder, times=5), "what is started")]
    if "remote_node" in parts:
        taken = remote_node.measure(folder / "remote_node", runs=30)
        report += [
            "## A LangGraph node on another process",
            "",
            'Ten nodes in a row, `durability="sync"`, the same saver on SQLite; ms a node.',
            "",
            milliseconds(taken.nodes, "where the nodes run"),
            f"Overhead at the median: {taken.overhead:.2f} ms a node. A distributed node waits for {remote_node.COMMITS:g} commits that",
            f"one in process does not make, of {taken.commit:.2f} ms each (a request that is stored, beside one that is not, in the same",
            f"run): beside them it takes {taken.overhead - remote_node.COMMITS * taken.commit:.2f} ms.",
            "",
        ]
    if "fan_out" in parts:
        work = f"{fan.PIECES} `Send`s of {fan.TAKES * 1000:.0f} ms on {fan.WORKERS} workers with {fan.SLOTS} slots each"
        taken_out = fan_out.measure(folder / "fan_out", runs=5)
        report += ["## A fan-out", "", seconds_beside(taken_out, fan.IDEAL, f'{work}, `durability="sync"`')]
    if "agents" in parts:
        shared = agents.measure(folder / "agents", RATE, 2 * options.seconds, options.rounds)
        work = f"{RATE} tasks a second, from the moment that each was due to its result, shared by"
        report += ["## More agents", "", percentiles({f"{count:,} agents": taken for count, taken in shared.items()}, work, "tasks")]
        report += [f"The p99 with {max(shared):,} agents is {agents.ratio(shared):.2f}× that with {min(shared)}.", ""]
    if "waiting" in parts:
        crowded = waiting.measure(folder / "waiting", 2 * options.rounds + 1, options.seconds)
        report += ["## A crowded room", "", milliseconds(crowded, "p50 of a task, one after the other, in a room where")]
        report += [f"In the crowded room it takes {waiting.ratio(crowded):.2f}× as long.", ""]
    if "idle" in parts:
        found = idle.measure(folder / "idle", agents=1000, seconds=60.0)
        title = f"{found.agents:,} agents, each in a room of its own, with nothing to do for {found.seconds:.0f} s"
        report += ["## Idle", "", table(title, {"broker, memory, MiB": found.memory, "broker, % of a core": found.cpu})]
        report += [f"All agents together took {found.clients_cpu:.2f} % of a core.", ""]
    if "finished" in parts:
        report += ["## Finished tasks", "", _finished(finished.measure(folder / "finished", options.finished))]
    if "commits" in parts:
        report += [
            "## Commits beside other work",
            "",
            percentiles(commits.measure(folder / "commits"), "beside a commit goes on", "commits"),
        ]
        report += ["Commits of 32 events of 1 KiB, the engine alone; a history of 64 MiB is replayed and trimmed.", ""]
    text = "\n".join(report)
    options.output.write_text(text)
    print(f"\n{text}\nwritten to {options.output}")
    shutil.rmtree(folder)


def _in_turn(title: str, work: str, what: str, keys: list[str], rounds: int, seconds: float, folder: Path) -> list[str]:
    left_out = {key: missing for key in keys if (missing := ALL[key].missing())}
    present = [key for key in keys if key not in left_out]
    samples, sync = round_trip.measure(present, rounds, seconds, folder, lambda line: print(line, flush=True))
    return [
        f"## {title}",
        "",
        work,
        f"in turn, {rounds} rounds of {seconds:g} s; medians with (min-max). One fdatasync of 4 KiB took {figure(sync, 2)} ms meanwhile.",
        f"Versions: {'; '.join(dict.fromkeys(ALL[key].version() for key in present))}.",
        *(f"Left out: {ALL[key].name}, there is no {missing}." for key, missing in left_out.items()),
        "",
        round_trips(samples, what),
    ]


def _checkpoints(rounds: int, seconds: float, folder: Path) -> list[str]:
    left_out = {key: missing for key in SAVERS if (missing := SAVERS[key].missing())}
    present = [key for key in SAVERS if key not in left_out]
    found, sync = checkpoints.measure(present, rounds, seconds, folder, lambda line: print(line, flush=True))
    return [
        "## Checkpoints",
        "",
        "A checkpoint with one new channel stored, then the thread's latest read back, by one process;",
        f"in turn, {rounds} rounds of {seconds:g} s; medians with (min-max). One fdatasync of 4 KiB took {figure(sync, 2)} ms meanwhile.",
        f"Versions: {'; '.join(SAVERS[key].version() for key in present)}.",
        *(f"Left out: {SAVERS[key].name}, there is no {missing}." for key, missing in left_out.items()),
        "",
        checkpoint_tables(found),
    ]


def _finished(left: finished.Left) -> str:
    return table(
        f"{left.tasks:,} tasks with keys, all kept, done in {left.seconds:.0f} s",
        {
            "broker, memory, MiB": left.memory,
            "rooms.db, MiB": left.database,
            "its write-ahead log, MiB": left.write_ahead,
            "started again after kill -9, until it listens, s": left.ready,
            "until the room answers, s": left.answered,
            "broker, memory then, MiB": left.memory_after,
        },
    )


if __name__ == "__main__":
    main()
