"""When tasks may start, how long an attempt may take, and dead letters that are purged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from langgraph_nolag import BadRequest, LocalBroker, Retry, TaskFailed
from langgraph_nolag.patterns.handed import HandedTask


async def test_a_slow_attempt_is_stopped_and_the_next_one_does_it(join: Any) -> None:
    room = await join("worker")
    stopped: list[bool] = []

    async def slow_at_first(task: HandedTask) -> int:
        assert task.attempt_ends is not None
        if task.attempt == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.append(task.cancelled)
                raise
        return task.attempt

    async with room.handoff.serve(slow_at_first):
        task = await room.handoff.dispatch("t", attempt_timeout=0.2, retry=Retry(initial=0.01, jitter=0))
        assert await task.result(timeout=10) == 2
        assert stopped == [True]


async def test_a_task_starts_at_its_moment(join: Any) -> None:
    room = await join("worker")
    moment = time.time() + 0.3

    async def when(task: HandedTask) -> float:
        return time.time()

    async with room.handoff.serve(when):
        task = await room.handoff.dispatch("t", run_at=datetime.fromtimestamp(moment, UTC))
        assert task.state == "delayed"
        assert await task.result(timeout=10) >= moment - 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1},
        {"run_at": -1},
        {"run_at": datetime(2030, 1, 1)},  # no time zone
        {"attempt_timeout": 0},
        {"retry": "exponential"},
        {"retry": {"first": 1}},
        {"retry": Retry(initial=-1)},
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_dispatched(join: Any, wrong: dict[str, Any]) -> None:
    room = await join("desk")
    with pytest.raises(BadRequest) as caught:
        await room.handoff.dispatch("t", **wrong)
    assert (caught.value.detail["field"], caught.value.retryable, caught.value.maybe_applied) == (next(iter(wrong)), False, False)
    assert await room.handoff.list() == []


async def test_dead_letters_are_purged(join: Any) -> None:
    room = await join("worker", max_concurrency=2)

    async def fail(task: HandedTask) -> None:
        raise ValueError("no")

    async with room.handoff.serve(fail):
        tasks = [await room.handoff.dispatch("t", n, max_attempts=1) for n in range(3)]
        for task in tasks:
            with pytest.raises(TaskFailed):
                await task.result(timeout=10)
    assert await room.handoff.purge_dead_letters([tasks[0].id]) == 1
    assert {letter.id for letter in await room.handoff.dead_letters()} == {task.id for task in tasks[1:]}
    assert await room.handoff.purge_dead_letters() == 2
    assert await room.handoff.dead_letters() == []


LEAVES = """
import asyncio, sys
from langgraph_nolag import connect

async def leaves(task):
    sys.exit(3)

async def main():
    async with connect(sys.argv[1], token=sys.argv[2]) as client:
        room = await client.join("demo")
        async with room.handoff.serve(leaves, types=["leave"]):
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_handler_that_ends_its_process_has_failed(broker: LocalBroker, join: Any) -> None:
    room = await join("dispatcher")
    with subprocess.Popen([sys.executable, "-c", LEAVES, broker.url, broker.token("leaver")], stderr=subprocess.PIPE) as worker:
        try:
            task = await room.handoff.dispatch("leave", max_attempts=1)
            with pytest.raises(TaskFailed, match="SystemExit"):
                await task.result(timeout=20)
            assert await asyncio.to_thread(worker.wait, 20) == 3
        finally:
            worker.kill()
