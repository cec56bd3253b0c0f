"""A cancellation that waits until whoever runs the task has let go of it."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from langgraph_nolag import TaskCancelled, connect
from langgraph_nolag.client.body import encode
from langgraph_nolag.errors import TaskFinished
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from .conftest import Restarting


async def test_what_a_handler_does_to_clean_up_counts_and_is_waited_for(join: Any) -> None:
    room = await join("worker")
    began, cleaned = asyncio.Event(), []

    async def handler(task: HandedTask) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await task.progress("cleans up")
            cleaned.append(await task.effect("undo", lambda: "undone"))

    said: list[Any] = []
    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("draft", on_progress=said.append)
        await began.wait()
        assert task.let_go is None
        assert await task.cancel("enough", wait=20) == "cancelled"
        assert (cleaned, said, task.let_go) == (["undone"], ["cleans up"], True)
        with pytest.raises(TaskCancelled, match="enough"):
            await task.result()
        assert await task.cancel(wait=20) == "cancelled"


async def test_a_result_that_comes_in_time_counts(join: Any) -> None:
    """It was on its way, or the worker gives it all the same."""
    desk, worker = await join("desk"), await join("worker")
    began = threading.Semaphore(0)
    offer = worker.link.serve(
        types=["draft"], on_task=lambda task: began.release(), on_cancel=lambda task, reason: task.offer.complete(task, encode("done"))
    )
    task, other = [await desk.handoff.dispatch("draft") for _ in "ab"]
    assert await asyncio.to_thread(began.acquire, timeout=20)
    assert await task.cancel(wait=20) == "completed"
    assert (await task.result(10), task.let_go) == ("done", None)
    assert await asyncio.to_thread(began.acquire, timeout=20)
    assert await desk.handoff.cancel(other.id, wait=20) == "completed"
    await asyncio.wrap_future(offer.close())


async def finishes(task: HandedTask) -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.1)  # what can't be stopped half-way
    return "done"


def sync_finishes(task: HandedTask) -> str:
    while not task.cancelled:
        time.sleep(0.01)
    return "done"


@pytest.mark.parametrize("handler", [finishes, sync_finishes])
async def test_a_value_that_a_handler_returns_in_time_counts(join: Any, handler: Any) -> None:
    room = await join("worker")
    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("draft")
        await eventually(lambda: _runs(room, task.id))
        assert await task.cancel(wait=20) == "completed"
        assert (await task.result(10), task.let_go) == ("done", None)
        other = await room.handoff.dispatch("draft")
        await eventually(lambda: _runs(room, other.id))
        assert await other.cancel() == "cancelled"


async def test_a_sync_handler_that_returns_nothing_has_stopped(join: Any) -> None:
    room = await join("worker")

    def stops(task: HandedTask) -> None:
        sync_finishes(task)

    async with room.handoff.serve(stops):
        task = await room.handoff.dispatch("draft")
        await eventually(lambda: _runs(room, task.id))
        assert await task.cancel(wait=20) == "cancelled"
        assert task.let_go is True


async def _runs(room: Any, task: str) -> bool:
    return bool((await room.handoff.get(task)).state == "running")


async def test_a_task_that_is_cancelled_before_its_handler_began_is_let_go(join: Any) -> None:
    """It comes and is cancelled while the loop that serves stands still."""
    desk, worker = await join("desk"), await join("worker")
    began: list[str] = []

    async def handler(task: HandedTask) -> None:
        began.append(task.id)

    async with worker.handoff.serve(handler) as serving:
        desk.link.request("task.dispatch", task="early", type="draft", kind="handoff", body=b"\xc0")
        time.sleep(0.3)
        cancelled = desk.link.request("task.cancel", task="early", wait=20.0)
        time.sleep(0.3)
        assert "until" in cancelled.result(1)
        await eventually(lambda: serving.running == 0)
        await eventually(lambda: desk.link.call("task.get", task="early")["task"]["state"] == "cancelled")
        assert await (await desk.handoff.dispatch("draft")).result(10) is None
    assert len(began) == 1


async def test_what_comes_after_the_time_is_refused(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    began, go_on = threading.Event(), threading.Event()
    late: list[Any] = []

    def handler(task: HandedTask) -> str:
        began.set()
        go_on.wait(20)
        try:
            task.effect("charge", lambda: late.append("charged"))
        except TaskFinished as error:
            late.append(error.code)
        return "late"

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        await asyncio.to_thread(began.wait, 20)
        assert (await desk.handoff.get(task.id)).cancelling is None
        assert await worker.handoff.cancel(task.id, wait=0.3) == "cancelled"
        assert await task.cancel(wait=20) == "cancelled"
        assert task.let_go is False
        go_on.set()
        await eventually(lambda: late)
    assert late == ["task_finished"]


async def test_a_task_that_nobody_runs_is_not_waited_for(join: Any) -> None:
    task = await (await join("desk")).handoff.dispatch("draft")
    assert await asyncio.wait_for(task.cancel(wait=60), 10) == "cancelled"
    assert task.let_go is None


async def test_nor_is_a_worker_whose_connection_is_gone(join: Any, proxy: Any, broker: Any, stack: AsyncExitStack) -> None:
    desk, began = await join("desk"), asyncio.Event()
    away = await stack.enter_async_context(connect(proxy.url, token=broker.token("away")))
    ends: list[bool] = []

    async def handler(task: HandedTask) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(task.cancelled)
            proxy.refuses = True
            proxy.cut()
            await asyncio.sleep(0.2)

    async with (await away.join("demo")).handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        await began.wait()
        assert await asyncio.wait_for(task.cancel(wait=60), 10) == "cancelled"
        assert (ends, task.let_go) == ([True], False)
        proxy.refuses = False


@pytest.mark.parametrize("cleans_up", [True, False])
async def test_over_a_restart_of_the_broker(durable: Restarting, stack: AsyncExitStack, cleans_up: bool) -> None:
    clients = [await stack.enter_async_context(connect(durable.url, token=lambda: durable.token("ana"))) for _ in "ab"]
    desk, worker = [await client.join("demo") for client in clients]
    began, cleaning, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(task: HandedTask) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaning.set()
            await go_on.wait()

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        await asyncio.wait_for(began.wait(), 10)
        cancelled = asyncio.create_task(task.cancel(wait=30 if cleans_up else 1.5))
        await asyncio.wait_for(cleaning.wait(), 10)
        await durable.restart()
        if cleans_up:
            go_on.set()
        assert await asyncio.wait_for(cancelled, 20) == "cancelled"
        assert task.let_go is cleans_up
        go_on.set()
