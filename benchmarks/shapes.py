"""The load, the same for every contender: how many connections, and how many tasks of each are under way."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from .contenders.base import Contender

PAYLOAD = b"x" * 1024


@dataclass(frozen=True, slots=True)
class Shape:
    title: str
    connections: int
    in_flight: int  # of each connection


SHAPES = {
    "sequential": Shape("one after the other", 1, 1),
    "in_flight": Shape("100 in flight", 1, 100),
    "connections": Shape("100 connections, one task each", 100, 1),
}


async def drive(contender: Contender, address: str, shape: Shape, seconds: float) -> dict[str, float]:
    """Warms up for a fifth of the time, says `measuring` on standard output, and loads for `seconds`.

    Returns:
        `tasks` done, how long it took in `seconds`, and the latency's `p50` and `p99` in seconds.
    """
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(contender.client(address)) for _ in range(shape.connections)]

        async def load(duration: float) -> list[float]:
            latencies: list[float] = []
            until = time.perf_counter() + duration

            async def one_at_a_time(client: int) -> None:
                while (start := time.perf_counter()) < until:
                    if await clients[client](PAYLOAD) != PAYLOAD:
                        raise AssertionError("the result is not the payload")
                    latencies.append(time.perf_counter() - start)

            await asyncio.gather(*(one_at_a_time(client) for client in range(shape.connections) for _ in range(shape.in_flight)))
            return latencies

        await load(seconds / 5)
        print("measuring", flush=True)
        start = time.perf_counter()
        latencies = await load(seconds)
        elapsed = time.perf_counter() - start
    return {
        "tasks": len(latencies),
        "seconds": elapsed,
        "p50": statistics.median(latencies),
        "p99": sorted(latencies)[int(len(latencies) * 0.99)],
    }
