"""The durable task round trip: starts server, worker and dispatcher of each contender in turn, for several rounds."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import psutil

from .contenders import ALL
from .contenders.base import process, wait_for_line
from .machine import fdatasync_ms
from .shapes import SHAPES

PATIENCE = 60.0  # seconds beyond what a load takes, until its dispatcher is given up


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one shape: tasks a second, latencies in ms, the server's CPU time a task in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Figure:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Figure:
        return cls(statistics.median(values), min(values), max(values))


Samples = dict[tuple[str, str], list[Sample]]
"""By contender and shape, one a round."""


def measure(contenders: list[str], rounds: int, seconds: float, folder: Path, say: Callable[[str], None]) -> tuple[Samples, Figure]:
    """Returns the samples, and the cost of one fdatasync in ms as it was before every contender's turn."""
    samples: Samples = {}
    syncs: list[float] = []
    for number in range(rounds):
        for key in contenders:
            place = folder / f"{key}-{number}"
            place.mkdir(parents=True)
            syncs.append(fdatasync_ms(place))
            for shape, sample in _turn(key, seconds, place):
                samples.setdefault((key, shape), []).append(sample)
                title = f"round {number + 1}: {ALL[key].name}, {SHAPES[shape].title}"
                say(f"{title}: {sample.rate:,.0f}/s, p50 {sample.p50:.2f} ms")
            shutil.rmtree(place)
    return samples, Figure.of(syncs)


def _turn(key: str, seconds: float, place: Path) -> list[tuple[str, Sample]]:
    contender = ALL[key]
    with ExitStack() as stack:
        server = stack.enter_context(contender.server(place))
        log = place / "worker.log"
        worker = stack.enter_context(process([sys.executable, "-m", "benchmarks.roles", "worker", key, server.address], log))
        wait_for_line("ready", worker, log)
        return [(shape, _dispatch(key, shape, server.address, server.pid, seconds)) for shape in contender.shapes]


def _dispatch(key: str, shape: str, address: str, server: int, seconds: float) -> Sample:
    command = [sys.executable, "-m", "benchmarks.roles", "dispatcher", key, address, shape, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        bound = Timer(PATIENCE + 3 * seconds, child.kill)  # of a worker that is gone it waits for ever
        bound.start()
        try:
            if child.stdout.readline().strip() != "measuring":
                raise RuntimeError(f"the dispatcher of {key} ended before it measured")
            before = psutil.Process(server).cpu_times()
            output = child.stdout.readline()
            after = psutil.Process(server).cpu_times()
        finally:
            bound.cancel()
            child.kill()
    if not output:
        raise RuntimeError(f"the dispatcher of {key} ended while it measured {shape}")
    found = json.loads(output)
    cpu = (after.user + after.system) - (before.user + before.system)
    return Sample(found["tasks"] / found["seconds"], found["p50"] * 1000, found["p99"] * 1000, cpu / found["tasks"] * 1e6)
