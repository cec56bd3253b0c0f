"""Agents by the hundred, each with a connection of its own, in one room.

They share a constant rate of tasks: 10 of them, then more. What a task takes from end to end should not tell how many there are.

`python -m benchmarks.agents CREDENTIALS FROM TO SKILL` is one process of agents. A `{}` in the skill stands for one of so many
numbers.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from .contenders.base import process, wait_for_line
from .contenders.nolag import NoLag, connected
from .shapes import PAYLOAD

COUNTS = (10, 100, 1000)
PROCESSES = 4  # that the agents live in
SKILLS = 100  # different ones, where theirs has a number
SETTLE = 3.0  # seconds until what joining brought about has passed
WARM = 1.0  # seconds of the rate that do not count


def measure(folder: Path, rate: int, seconds: float, rounds: int) -> dict[int, list[float]]:
    """Milliseconds from the moment that a task was due to its result, by the number of agents."""
    taken: dict[int, list[float]] = {count: [] for count in COUNTS}
    for number in range(rounds):
        for count in COUNTS:
            place = folder / f"{count}-{number}"
            place.mkdir(parents=True)
            with ExitStack() as stack:
                address = stack.enter_context(NoLag().server(place)).address
                start_agents(stack, place, address, count, "echo")
                time.sleep(SETTLE)
                taken[count] += asyncio.run(_dispatch_steadily(address, rate, seconds))
    return taken


def ratio(taken: dict[int, list[float]]) -> float:
    """The p99 with the most agents beside that with the fewest."""
    few, many = (statistics.quantiles(taken[count], n=100)[98] for count in (min(COUNTS), max(COUNTS)))
    return many / few


def start_agents(stack: ExitStack, folder: Path, address: str, count: int, skill: str) -> None:
    """So many agents that serve; they end with the stack."""
    for number in range(PROCESSES):
        log = folder / f"agents-{number}.log"
        first, end = count * number // PROCESSES, count * (number + 1) // PROCESSES
        child = stack.enter_context(process([sys.executable, "-m", "benchmarks.agents", address, str(first), str(end), skill], log))
        wait_for_line("serving", child, log, 120.0)


async def _dispatch_steadily(address: str, rate: int, seconds: float) -> list[float]:
    """At moments that do not depend on how long tasks take: who is late is seen to be."""
    latencies: list[float] = []
    async with connected(address) as client:
        room = await client.join("bench")

        async def one(due: float) -> None:
            task = await room.handoff.dispatch("echo", PAYLOAD, capabilities=["echo"])
            if await task.result(30) != PAYLOAD:
                raise AssertionError("the result is not the payload")
            if due >= counts_from:
                latencies.append((time.perf_counter() - due) * 1000)

        start = time.perf_counter()
        counts_from = start + WARM
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * (WARM + seconds))):
                due = start + number / rate
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(one(due))
    return latencies


async def _be_agents(address: str, numbers: range, skill: str) -> None:
    async def echo(task: Any) -> bytes:
        return bytes(task.payload)

    async with AsyncExitStack() as stack:
        for number in numbers:
            skills = [skill.format(number % SKILLS)]
            client = await stack.enter_async_context(connected(address))
            room = await client.join("bench", capabilities=skills, max_concurrency=4)
            await stack.enter_async_context(room.handoff.serve(echo, capabilities=skills, concurrency=4))
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_be_agents(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3])), sys.argv[4]))
