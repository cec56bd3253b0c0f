"""Many tasks at once: given back as they end, or all together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langgraph_nolag import BadRequest, TaskFailed, TaskTimeout
from langgraph_nolag.patterns.handed import HandedTask


async def test_tasks_of_a_batch_come_as_they_end(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", max_concurrency=3)
    gates = [asyncio.Event() for _ in range(3)]

    async def handler(task: HandedTask) -> Any:
        await gates[task.payload].wait()
        if task.payload == 1:
            raise ValueError("one")
        return task.payload

    async with worker.handoff.serve(handler):
        batch = await desk.handoff.batch({"type": "t", "payload": n, "max_attempts": 1} for n in range(3))
        order = [2, 1, 0]
        gates[order.pop(0)].set()
        seen = []
        async with asyncio.timeout(10):
            async for task in batch:
                seen.append(batch.tasks.index(task))
                if order:
                    gates[order.pop(0)].set()
        assert seen == [2, 1, 0]
        assert [task.state for task in batch.tasks] == ["completed", "failed", "completed"]
        with pytest.raises(TaskFailed, match="one"):
            await batch.gather(timeout=10)


async def test_all_results_in_the_order_of_the_tasks(join: Any) -> None:
    room = await join("worker", max_concurrency=5)

    async def double(task: HandedTask) -> int:
        return int(task.payload) * 2

    async with room.handoff.serve(double):
        jobs = [{"type": "t", "payload": n, "key": f"k{n}"} for n in range(200)]
        batch = await room.handoff.batch(jobs)
        assert await batch.gather(timeout=20) == [2 * n for n in range(200)]
        again = await room.handoff.batch(jobs[:3])
        assert [task.attached for task in again.tasks] == [True] * 3
    assert await (await room.handoff.batch([])).gather() == []


async def test_a_batch_that_waits_too_long_or_makes_no_sense(join: Any) -> None:
    room = await join("desk")
    batch = await room.handoff.batch([{"type": "nobody"}])
    with pytest.raises(TaskTimeout):
        await batch.gather(timeout=0.05)
    with pytest.raises(BadRequest):
        await room.handoff.batch([{"type": "t"}, {"type": "t", "delay": -1}])
