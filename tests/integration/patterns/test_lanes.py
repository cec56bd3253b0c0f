"""Concurrency keys over real connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from langgraph_nolag.patterns.handed import HandedTask


async def test_at_most_so_many_of_a_key_run_at_once(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", max_concurrency=10)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def handler(task: HandedTask) -> None:
        key = task.payload
        running[key] += 1
        most[key] = max(most[key], running[key])
        while sum(running.values()) < 5 and sum(most.values()) < 5:  # until as many run as may
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        running[key] -= 1

    async with worker.handoff.serve(handler):
        limits = {"a": 3, "b": 2}
        tasks = [
            await desk.handoff.dispatch("t", key, concurrency_key=key, concurrency_limit=limits[key]) for key in ["a"] * 12 + ["b"] * 8
        ]
        await asyncio.gather(*(task.result(20) for task in tasks))
    assert most == limits
