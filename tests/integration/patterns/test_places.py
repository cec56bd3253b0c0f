"""A worker's places: one that a handler has is its until it ends, whatever has become of the task; and then it is free."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, NoLagError, Permanent, Room, TaskFailed
from langgraph_nolag.client.offer import Assigned
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from .conftest import Proxy, Restarting, enter


class Stalling(Proxy):
    """What is held back is what the client says."""

    async def _pump(self, source: Any, sink: Any, gate: Any) -> None:
        await super()._pump(source, sink, None if gate else self._answers)


async def two(broker: LocalBroker, stack: AsyncExitStack, proxy: Proxy) -> tuple[Room, Room]:
    """A worker behind a proxy, and somebody else."""
    await proxy.start(broker.url)
    stack.push_async_callback(proxy.stop)
    worker = await enter(stack, proxy.url, broker.token("worker"), "worker")
    return await worker.join("demo"), await (await enter(stack, broker.url, broker.token("other"), "other")).join("demo")


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_a_handler_that_outlives_its_attempt_keeps_its_place(join: Any, form: str) -> None:
    room, goes_on, running, most = await join("worker"), threading.Event(), 0, 0

    def begin() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)

    def end(task: HandedTask) -> int:
        nonlocal running
        running -= 1
        return task.attempt

    def blocking(task: HandedTask) -> int:
        begin()
        if task.type == "long":
            assert goes_on.wait(30)
        return end(task)

    async def tidying(task: HandedTask) -> int:
        begin()
        try:
            if task.type == "long":
                await asyncio.sleep(60)
        finally:
            if task.type == "long":
                assert await asyncio.to_thread(goes_on.wait, 30)
            end(task)
        return task.attempt

    async with room.handoff.serve(blocking if form == "sync" else tidying, concurrency=2):
        for _ in range(2):
            assert await (await room.handoff.dispatch("quick")).result(10) == 1, "a place is free"
            long = await room.handoff.dispatch("long", attempt_timeout=0.1, max_attempts=1)
            with pytest.raises(TaskFailed, match="attempt_timeout"):
                await long.result(10)
        quick = [await room.handoff.dispatch("quick", attempt_timeout=5) for _ in range(3)]
        assert [task.state for task in quick] == ["waiting"] * 3
        goes_on.set()
        assert [await task.result(10) for task in quick] == [1, 1, 1]
    assert most == 2


async def test_a_handler_of_a_task_that_was_lost_keeps_its_place_over_reconnects(durable: Restarting, stack: AsyncExitStack) -> None:
    client = await enter(stack, durable.url, durable.token("worker"), "worker")
    room, goes_on, began = await client.join("demo"), threading.Event(), []

    def work(task: HandedTask) -> str:
        began.append(task.type)
        if task.type == "long":
            assert goes_on.wait(30)
        return "done"

    async with room.handoff.serve(work):
        long = await room.handoff.dispatch("long")
        await eventually(lambda: began)
        await room.handoff.cancel(long.id)
        for _ in range(2):
            await durable.restart()
            await eventually(room.presence.list)
        quick = await room.handoff.dispatch("quick")
        assert quick.state == "waiting"
        goes_on.set()
        assert await quick.result(10) == "done"


async def test_a_place_is_free_whose_end_was_heard_before_the_offer_stood_again(join: Any) -> None:
    room, handed, told = await join("worker"), asyncio.Queue[Assigned](), asyncio.Event()
    loop = asyncio.get_running_loop()
    offer = room.link.serve(
        on_task=lambda assigned: loop.call_soon_threadsafe(handed.put_nowait, assigned),
        on_cancel=lambda assigned, reason: loop.call_soon_threadsafe(told.set),
    )
    cancelled = await room.handoff.dispatch("t")
    assigned = await asyncio.wait_for(handed.get(), 10)
    await room.handoff.cancel(cancelled.id)
    await asyncio.wait_for(told.wait(), 10)

    io = room.link.connection.io

    def end_and_stand_again() -> None:
        offer.complete(assigned, b"")
        io.post(io.post, room.link._offers._serve, offer)  # behind the request that the end becomes

    io.post(end_and_stand_again)
    for _ in range(3):
        await room.handoff.dispatch("t")
        offer.complete(await asyncio.wait_for(handed.get(), 10), b"")
    await asyncio.wrap_future(offer.close())


@pytest.mark.parametrize("form", ["fails", "completes", "lets go"])
async def test_an_end_whose_answer_was_lost_frees_its_place(broker: LocalBroker, stack: AsyncExitStack, form: str) -> None:
    room, other = await two(broker, stack, proxy := Proxy())
    began, goes_on = threading.Event(), threading.Event()

    def work(task: HandedTask) -> str | None:
        if task.type != "long":
            return "done"
        began.set()
        assert goes_on.wait(30)
        if form == "fails":
            raise Permanent("no")
        return "late" if form == "completes" else None

    async with room.handoff.serve(work):
        long = await other.handoff.dispatch("long")
        assert await asyncio.to_thread(began.wait, 10)
        cancelling = asyncio.create_task(other.handoff.cancel(long.id, wait=20)) if form == "lets go" else None
        await eventually(lambda: form != "lets go" or room.link._offers._held[long.id].counts_until)
        proxy.hold_answers()
        goes_on.set()
        with contextlib.suppress(NoLagError):
            await long.result(10)
        proxy.cut()
        await room.link.acall("room.info")  # comes behind what the new session begins with
        if cancelling is not None:
            await cancelling
        assert await (await other.handoff.dispatch("quick")).result(10) == "done"


async def test_an_end_under_way_when_the_lease_ended_frees_its_place(broker: LocalBroker, stack: AsyncExitStack) -> None:
    room, other = await two(broker, stack, proxy := Stalling())
    began, goes_on = threading.Event(), threading.Event()

    def work(task: HandedTask) -> str:
        began.set()
        assert goes_on.wait(30)
        return "done"

    async with room.handoff.serve(work):
        long = await other.handoff.dispatch("long", max_attempts=1)
        assert await asyncio.to_thread(began.wait, 10)
        proxy.hold_answers()  # nothing that the worker says arrives, for longer than its lease
        goes_on.set()
        with pytest.raises(TaskFailed, match="silent"):
            await long.result(10)
        proxy._answers.set()
        assert await (await other.handoff.dispatch("quick")).result(10) == "done"


async def test_all_hand_outs_of_a_task_that_still_run_keep_their_places(broker: LocalBroker, stack: AsyncExitStack) -> None:
    room, other = await two(broker, stack, proxy := Proxy())
    goes_on = threading.Event()

    def work(task: HandedTask) -> int:
        if task.type == "long":
            assert goes_on.wait(30)
        return task.attempt

    async with room.handoff.serve(work, concurrency=2):
        long = await other.handoff.dispatch("long", max_attempts=2, attempt_timeout=0.2)
        with pytest.raises(TaskFailed, match="attempt_timeout"):
            await long.result(10)
        proxy.cut()
        await room.link.acall("room.info")
        quick = await other.handoff.dispatch("quick")
        assert quick.state == "waiting"
        goes_on.set()
        assert await quick.result(10) == 1


async def test_a_serving_whose_loop_was_closed_hands_its_tasks_back(broker: LocalBroker, stack: AsyncExitStack) -> None:
    other = await (await enter(stack, broker.url, broker.token("other"), "other")).join("demo")
    room = await (await enter(stack, broker.url, broker.token("worker"), "worker")).join("demo")
    began, loop = threading.Event(), asyncio.new_event_loop()

    async def work(task: HandedTask) -> None:
        began.set()
        await asyncio.sleep(60)

    serving = room.handoff.serve(work)
    await asyncio.to_thread(loop.run_until_complete, serving.start())
    long = await other.handoff.dispatch("long", attempt_timeout=1, max_attempts=1)
    await asyncio.to_thread(loop.run_until_complete, asyncio.sleep(0.3))
    assert began.is_set()
    offer = serving._offer
    assert offer is not None
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    with pytest.raises(TaskFailed, match="attempt_timeout"):
        await long.result(10)
    await eventually(lambda: offer.closing and not offer.held)
