"""Rate limits over real connections, and over a restart of the broker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from langgraph_nolag import BadRequest
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from .conftest import Restarting, enter

LIMIT = (3, 1.0)


async def test_a_rate_holds_over_a_restart_of_the_broker(durable: Restarting, stack: AsyncExitStack) -> None:
    desk = await (await enter(stack, durable.url, durable.token("desk"), "desk")).join("demo")
    worker = await (await enter(stack, durable.url, durable.token("worker"), "worker")).join("demo", max_concurrency=10)
    ran: list[Any] = []

    async def handler(task: HandedTask) -> None:
        ran.append(task.payload)

    async with worker.handoff.serve(handler):
        tasks = [await desk.handoff.dispatch("t", n, rate_key="k", rate_limit=LIMIT) for n in range(7)]
        await eventually(lambda: len(ran) >= LIMIT[0])
        await durable.restart()
        await asyncio.gather(*(task.result(20) for task in tasks))
    events = (await desk.link.acall("log.read", types="task.claimed"))["events"]
    times = [event["time"] for event in events]
    assert len(times) == 7
    assert all(later - earlier >= LIMIT[1] for earlier, later in zip(times, times[LIMIT[0] :], strict=False))


async def test_what_waits_says_why(join: Any) -> None:
    desk = await join("desk")
    first = await desk.handoff.dispatch("t", 1, rate_key="mail", rate_limit=(1, 60))
    second = await desk.handoff.dispatch("t", 2, rate_key="mail", rate_limit=(1, 60))
    assert (first.state, second.state) == ("waiting", "parked")
    info = await desk.handoff.get(second.id)
    assert (info.parked_by, info.rate_key, info.concurrency_key) == ("rate_key", "mail", None)
    with pytest.raises(BadRequest):
        await desk.handoff.dispatch("t", 3, rate_key="mail")
