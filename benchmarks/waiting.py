"""What tasks that wait and agents that stand by cost the others: the same round trips in a room that is empty and in one that is crowded.

Nobody there can do what waits: each task needs a skill that some agents have, and another one that none has.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from .agents import SKILLS, start_agents
from .contenders.base import process, wait_for_line
from .contenders.nolag import NoLag
from .peer import Peer
from .shapes import SHAPES, drive

TASKS = 99_000  # a room takes 100,000
AGENTS = 1_000
TOGETHER = 250  # frames of a message
PLACES = ("nothing else is", f"{TASKS:,} tasks wait and {AGENTS:,} other agents stand by")


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """The median milliseconds of each round, one task after the other, by place. Both brokers are there, and have their turns."""
    with ExitStack() as stack:
        addresses = []
        for place in PLACES:
            data = folder / str(len(addresses))
            data.mkdir(parents=True)
            address = stack.enter_context(NoLag().server(data)).address
            log = data / "worker.log"
            worker = stack.enter_context(process([sys.executable, "-m", "benchmarks.roles", "worker", "nolag", address], log))
            wait_for_line("ready", worker, log)
            if place != PLACES[0]:
                start_agents(stack, data, address, AGENTS, "skill-{}")
                asyncio.run(_crowd(address))
            addresses.append(address)
        taken: dict[str, list[float]] = {place: [] for place in PLACES}
        for _ in range(rounds):
            for place, address in zip(PLACES, addresses, strict=True):
                with contextlib.redirect_stdout(io.StringIO()):  # it says when it begins, to another process as a rule
                    found = asyncio.run(drive(NoLag(), address, SHAPES["sequential"], seconds))
                taken[place].append(found["p50"] * 1000)
        return taken


def ratio(taken: dict[str, list[float]]) -> float:
    empty, crowded = (statistics.median(taken[place]) for place in PLACES)
    return crowded / empty


async def _crowd(address: str) -> None:
    found = json.loads(Path(address).read_text())
    async with Peer(found["url"], found["token"], "crowd", "bench") as peer:
        for first in range(0, TASKS, TOGETHER):
            numbers = range(first, min(first + TOGETHER, TASKS))
            needs = ([f"skill-{n % SKILLS}", "what nobody can"] for n in numbers)
            frames = [
                peer.request("task.dispatch", task=f"w{n}", type="echo", body=b"x", capabilities=skills, follow=False)
                for n, skills in zip(numbers, needs, strict=True)
            ]
            await peer.send(frames)
            answered = 0
            while answered < len(frames):
                answered += len(list(await peer.receive()))
        waits = (await peer.ask("room.info"))["tasks"]["waiting"]
        if waits != TASKS:
            raise AssertionError(f"{waits} tasks wait")
