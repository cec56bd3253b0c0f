"""Row 16: who invokes a graph, its workers and the broker are killed at every moment of what they say to each other."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .graph_callers import Background, Invoked
from .graph_play import Plan, Played
from .graph_verdict import verdict
from .processes import Broker
from .trial import Row, Trial

PROGRAM = (sys.executable, "-m", "chaos.graph_broker")
VICTIMS = ("worker", "broker")  # beside the caller
SHOWN = 20  # violations
LEASE = 10.0  # seconds: whoever lives is back in time after a restart of the broker, however busy the machine is
LANES, KILLS_OF_A_LANE = 3, 20  # lanes at most, and kills from which on another one is worth its broker
LISTENING = 10  # threads of a lane: each process that lives is listened to on one
TWICE = 0.25  # of the runs: somebody else is killed on the way to recovery


async def graph_kills(trial: Trial) -> None:
    """In lanes, each with a broker of its own: most of a run is waiting for what was killed."""
    lanes = [
        dataclasses.replace(trial, folder=trial.folder / f"lane-{number}", chance=random.Random(trial.chance.getrandbits(64)))
        for number in range(min(LANES, 1 + trial.aim["kills"] // KILLS_OF_A_LANE))
    ]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LISTENING * len(lanes)))
    met: set[tuple[str, str, str]] = set()
    await asyncio.gather(*(_lane(lane, met) for lane in lanes))
    trial.slowest = max((lane.slowest for lane in lanes if lane.slowest is not None), default=None)
    trial.done["kinds of moments"] = len(met)


async def _lane(trial: Trial, met: set[tuple[str, str, str]]) -> None:
    trial.folder.mkdir()
    with killable(trial) as broker:
        forms = [(kind, *await _undisturbed(trial, broker, kind)) for kind in (Invoked, Background)]
        for number in itertools.count():
            if trial.done["kills"] >= trial.aim["kills"] or len(trial.violations) > SHOWN:
                break
            kind, undisturbed, plans = forms[number % len(forms)]
            plan = next(plans)
            more = [_another(plans)] if trial.chance.random() < TWICE else []
            played = await kind(trial, broker, f"story-{number}", [plan, *more]).run()
            trial.violations += [
                f"{kind.__name__}, {[plan, *more]}, {dict(played.killed)}: {each}" for each in verdict(played, undisturbed)
            ]
            trial.done["runs"] += 1
            for victim, count in played.killed.items():
                trial.done[f"of {victim}s"] += count
                trial.done["kills"] += count
            if played.killed:
                met.add((plan.victim, *plan.moment[:2]))


def killable(trial: Trial) -> Broker:
    """A broker that ends itself at the moment that the file `moment` in the trial's folder names; not started yet."""
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    return Broker(trial.folder, lease=LEASE, program=PROGRAM, environment={"CHAOS_FOLDER": str(trial.folder), "PYTHONPATH": path})


async def _undisturbed(trial: Trial, broker: Broker, kind: type[Invoked | Background]) -> tuple[Played, Iterator[Plan]]:
    """A run without kills, and the kills that it offers."""
    room = f"undisturbed-{kind.victim}"
    played = await kind(trial, broker, room).run()
    trial.violations += verdict(played, played)
    commits = [json.loads(line) for line in (trial.folder / "commits").read_text().splitlines()]
    found = _moments(kind.victim, played, [(when, what) for where, when, what in commits if where == room])
    return played, _plans(found, trial.chance)


def _moments(caller: str, undisturbed: Played, commits: list[tuple[str, str]]) -> dict[str, dict[tuple[str, str], list[Plan]]]:
    """Every moment of a run at which somebody can be killed: by victim, and by what happens then."""
    found: dict[str, dict[tuple[str, str], list[Plan]]] = {victim: defaultdict(list) for victim in (caller, *VICTIMS)}

    def note(victim: str, moments: list[tuple[str, str]], command: int | None = None) -> None:
        seen: Counter[tuple[str, str]] = Counter()
        for when, what in moments:
            seen[when, what] += 1
            found[victim][when, what].append(Plan(victim, (when, what, seen[when, what]), command))

    for process in undisturbed.callers:
        note(caller, process.moments, process.command)
    note("worker", [moment for process in undisturbed.workers for moment in process.moments])
    note("broker", commits)
    return found


def _plans(found: dict[str, dict[tuple[str, str], list[Plan]]], chance: random.Random) -> Iterator[Plan]:
    """The victims in turn, and of each one every kind of moment in turn: for ever."""

    def of(victim: str) -> Iterator[Plan]:
        kinds = sorted(found[victim])
        while True:
            chance.shuffle(kinds)
            for kind in kinds:
                yield chance.choice(found[victim][kind])

    each = [of(victim) for victim in found]
    chance.shuffle(each)
    while True:
        for victim in each:
            yield next(victim)


def _another(plans: Iterator[Plan]) -> Plan:
    """A further kill in the same run: of the broker, or of whichever orchestrator comes then."""
    plan = next(plan for plan in plans if plan.victim != "worker")
    return Plan(plan.victim, (*plan.moment[:2], min(plan.moment[2], 3)), None)


ROWS = [
    Row(
        16,
        "kill -9 of a graph's orchestrators, its workers, the callers of its background runs, and the broker, before, at and after each "
        "put, put_writes, dispatch, claim, result and acknowledgement (durability `sync`)",
        "the final state of a run without kills; what had finished ran once; an effect is recorded once; no answer is asked for twice; "
        "a caller's stream has no hole and no repeat",
        graph_kills,
        full={"kills": 320},
        short={"kills": 4},
        least={"kills": 1},
    )
]
