"""Schedules over real connections, and over a broker that goes away."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from langgraph_nolag import BadRequest, ScheduleNotFound
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from .conftest import Restarting, enter

EVERY_SECOND = "* * * * * *"
NEVER_SOON = "0 0 1 1 *"


async def test_moments_bring_tasks_to_a_worker_and_results_to_the_owner(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    seen: list[tuple[float | None, Any, str]] = []

    async def handler(task: HandedTask) -> str:
        seen.append((task.moment, task.payload, task.dispatcher))
        return "done"

    schedule = await desk.handoff.schedule(EVERY_SECOND, "report", {"for": "ana"}, max_attempts=1)
    async with worker.handoff.serve(handler):
        results = desk.handoff.results(since=0)
        first = await asyncio.wait_for(anext(results), 10)
        await schedule.delete()
    assert (first.type, first.state, first.value) == ("report", "completed", "done")
    assert seen[0][1:] == ({"for": "ana"}, "desk")
    assert seen[0][0] == schedule.next
    assert (await desk.handoff.get(first.id)).dispatcher == "desk"
    with pytest.raises(ScheduleNotFound):
        await schedule.pause()


async def test_a_large_payload_is_one_for_all_tasks(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    payload = {"text": "tea " * 50_000}
    seen: list[bool] = []

    async def handler(task: HandedTask) -> None:
        seen.append(task.payload == payload)

    schedule = await desk.handoff.schedule(EVERY_SECOND, "report", payload)
    async with worker.handoff.serve(handler):
        await eventually(lambda: seen)
        await schedule.delete()
    assert all(seen)


async def test_it_can_be_listed_changed_paused_and_resumed(join: Any) -> None:
    desk = await join("desk")
    schedule = await desk.handoff.schedule(NEVER_SOON, "report", name="yearly", tz="Europe/Berlin", overlap="skip")
    assert (schedule.name, schedule.tz, schedule.overlap, schedule.owner, schedule.last) == (
        "yearly",
        "Europe/Berlin",
        "skip",
        "desk",
        None,
    )
    assert schedule.next is not None
    assert schedule.next > time.time()
    await schedule.pause()
    assert (schedule.paused, schedule.next) == (True, None)
    (listed,) = await desk.handoff.schedules()
    assert (listed.name, listed.paused) == ("yearly", True)
    await listed.resume()
    await schedule.refresh()
    assert (schedule.paused, schedule.next) == (False, listed.next)
    changed = await desk.handoff.schedule("0 0 1 7 *", "report", name="yearly")
    assert changed.next != schedule.next
    assert len(await desk.handoff.schedules()) == 1


async def test_what_is_wrong_is_said(join: Any) -> None:
    desk = await join("desk")
    for cron, options in (("61 * * * *", {}), ("@daily", {}), (NEVER_SOON, {"tz": "Europe/Atlantis"}), (NEVER_SOON, {"overlap": "maybe"})):
        with pytest.raises(BadRequest):
            await desk.handoff.schedule(cron, "report", **options)
    with pytest.raises(BadRequest, match="bad minute"):
        await desk.handoff.schedule("61 * * * *", "report")
    assert await desk.handoff.schedules() == []


async def events(room: Any) -> list[dict[str, Any]]:
    answer = await room.link.acall("log.read", types="schedule.fired", limit=1000)
    return [{**event["data"], "time": event["time"]} for event in answer["events"]]


async def test_each_moment_once_over_restarts_and_what_was_missed_once(durable: Restarting, stack: AsyncExitStack) -> None:
    desk = await (await enter(stack, durable.url, durable.token("desk"), "desk")).join("demo")
    ran: list[float | None] = []

    async def handler(task: HandedTask) -> None:
        ran.append(task.moment)

    async with desk.handoff.serve(handler):
        await desk.handoff.schedule(EVERY_SECOND, "report")
        await eventually(lambda: len(ran) >= 1)
        await asyncio.to_thread(durable.stop)
        stopped = time.time()
        await eventually(lambda: time.time() > stopped + 2.1)
        await asyncio.to_thread(durable.start)
        down_until = time.time()
        await eventually(lambda: ran[-1] > down_until)
        (schedule,) = await desk.handoff.schedules()
        await schedule.delete()
        await eventually(lambda: len(ran) == len(set(ran)) and ran[-1] == schedule.last)
    fired = await events(desk)
    assert sorted(ran) == [event["moment"] for event in fired]
    steps = [later.get("first", later["moment"]) - earlier["moment"] for earlier, later in itertools.pairwise(fired)]
    assert steps == [1] * len(steps)
    (missed,) = [event for event in fired if "first" in event]
    assert missed["moment"] - missed["first"] >= 1


async def test_it_goes_on_after_a_restart_where_nobody_enters_the_room(durable: Restarting) -> None:
    async with AsyncExitStack() as stack:
        desk = await (await enter(stack, durable.url, durable.token("desk"), "desk")).join("demo")
        await desk.handoff.schedule(EVERY_SECOND, "report")
        await eventually(lambda: events(desk))
    await durable.restart()
    restarted = time.time()
    await eventually(lambda: time.time() > restarted + 1.2)
    entering = time.time()
    async with AsyncExitStack() as stack:
        desk = await (await enter(stack, durable.url, durable.token("desk"), "desk")).join("demo")
        assert [event for event in await events(desk) if restarted < event["time"] < entering]
