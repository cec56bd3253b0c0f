"""`task.effect`: done once over attempts; refused to who lost the task."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from langgraph_nolag import BadRequest, Retry, StaleLease, TaskFailed
from langgraph_nolag.patterns.handed import HandedTask

SOON = Retry(initial=0.01, jitter=0)


async def test_a_second_attempt_gets_what_the_first_recorded(join: Any) -> None:
    room = await join("worker")
    calls: list[int] = []

    async def pay() -> dict[str, Any]:
        calls.append(1)
        return {"receipt": (1, 2)}

    async def handler(task: HandedTask) -> Any:
        receipt = await task.effect("charge", pay)
        plain = await task.effect("note", lambda: calls.append(2))
        if task.attempt < 3:
            raise RuntimeError("after the effect")
        return [receipt, plain, task.attempt]

    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("t", retry=SOON)
        assert await task.result(timeout=10) == [{"receipt": [1, 2]}, None, 3]
    assert calls == [1, 2]


@pytest.mark.parametrize("form", ["async", "sync", "of both"])
async def test_an_effect_inside_itself_is_refused_and_not_waited_for(join: Any, form: str) -> None:
    room = await join("worker")

    async def outer(task: HandedTask) -> Any:
        async def inside() -> Any:
            return [await task.effect("other", lambda: 1), await task.effect("charge", lambda: 2)]

        return await task.effect("charge", inside)

    def outer_sync(task: HandedTask) -> Any:
        async def inside_async() -> Any:
            return await asyncio.to_thread(inside)

        def inside() -> Any:
            return [task.effect("other", lambda: 1), task.effect("charge", lambda: 2)]

        return task.effect("charge", inside if form == "sync" else inside_async)

    async with room.handoff.serve(outer if form == "async" else outer_sync):
        task = await room.handoff.dispatch("t", max_attempts=1)
        with pytest.raises(TaskFailed, match="'charge' is asked for while it is being done") as failed:
            await task.result(timeout=10)
        assert failed.value.error_type == BadRequest.__name__


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_two_calls_at_once_do_it_once(join: Any, form: str) -> None:
    room = await join("worker")
    calls: list[int] = []

    async def pay() -> int:
        calls.append(1)
        await room.link.acall("room.info")  # long enough for the other one to ask
        return len(calls)

    async def at_once(task: HandedTask) -> list[int]:
        return await asyncio.gather(task.effect("charge", pay), task.effect("charge", pay))

    def on_threads(task: HandedTask) -> list[int]:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(lambda key: task.effect(key, pay), ["charge", "charge"]))

    async with room.handoff.serve(on_threads if form == "sync" else at_once):
        assert await (await room.handoff.dispatch("t")).result(timeout=10) == [1, 1]
    assert calls == [1]


async def test_sync_handlers_have_it_without_await(join: Any) -> None:
    room = await join("worker")
    calls: list[str] = []

    async def far() -> str:
        calls.append("far")
        return "async"

    def near() -> str:
        calls.append("near")
        return threading.current_thread().name

    def handler(task: HandedTask) -> Any:
        done = [task.effect("far", far), task.effect("near", near)]
        if task.attempt == 1:
            raise RuntimeError("after the effects")
        return done

    async with room.handoff.serve(handler):
        far_result, thread = await (await room.handoff.dispatch("t", retry=SOON)).result(timeout=10)
    assert (far_result, calls) == ("async", ["far", "near"])
    assert thread.startswith("nolag-handler")


async def test_a_worker_that_lost_the_task_is_refused_before_and_after(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    going, go = asyncio.Event(), asyncio.Event()
    done: list[str] = []
    refused: list[str] = []

    async def handler(task: HandedTask) -> str:
        async def act() -> str:
            going.set()
            await go.wait()
            return "done"

        async def stubborn() -> None:
            try:
                done.append(await task.effect("act", act))
            except StaleLease:
                refused.append("after")
            try:
                await task.effect("more", lambda: done.append("more"))
            except StaleLease:
                refused.append("before")

        work = asyncio.ensure_future(stubborn())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            go.set()
            await work
            raise
        return "not reached"

    async with worker.handoff.serve(handler):
        await desk.handoff.dispatch("t", attempt_timeout=0.3, retry=Retry(initial=60))
        async with asyncio.timeout(10):
            await going.wait()
        async with asyncio.timeout(10):
            while len(refused) < 2:
                await asyncio.sleep(0.01)
    assert (refused, done) == (["after", "before"], [])


async def test_a_result_that_cannot_be_recorded_fails_the_task_for_good(join: Any) -> None:
    room = await join("worker")
    calls: list[int] = []

    def act() -> object:
        calls.append(1)
        return object()

    async def handler(task: HandedTask) -> Any:
        return await task.effect("act", act)

    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("t", retry=SOON)
        with pytest.raises(TaskFailed) as caught:
            await task.result(timeout=10)
    assert (caught.value.error_type, calls) == ("NotEncodable", [1])
    assert "'act' is done" in caught.value.error_message
