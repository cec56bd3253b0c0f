"""A broker that is told to stop under load, and started again: those who use it wait a moment, and notice nothing else."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

from .history import judged, new_history, unfinished, whole_log
from .processes import Broker, joined, until

RESTARTS = 2
STOPS_WITHIN = 10.0  # seconds


async def test_nobody_notices_a_broker_that_is_restarted(tmp_path: Path) -> None:
    done: list[str] = []
    enough = asyncio.Event()

    async def handler(task: Any) -> Any:
        return task.payload

    async def produce(room: Any, producer: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            task = await room.handoff.dispatch("work", [producer, number], capabilities=["work"], key=f"{producer}/{number}")
            assert await task.result(timeout=30) == [producer, number]
            await room.publish("done", number)
            done.append(task.id)

    with Broker(tmp_path, lease=10.0) as broker:
        async with (
            joined(broker) as working,
            joined(broker) as asking,
            working.handoff.serve(handler, capabilities=["work"], concurrency=4),
        ):
            producers = [asyncio.create_task(produce(asking, number)) for number in range(8)]
            for _ in range(RESTARTS):
                before = len(done)
                await until(lambda: len(done) > before + 20, "the load goes on")  # noqa: B023
                assert broker.process is not None
                begun = time.monotonic()
                broker.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(broker.wait) == 0
                assert time.monotonic() - begun < STOPS_WITHIN
                await asyncio.to_thread(broker.start)
            before = len(done)
            await until(lambda: len(done) > before + 20, "the load goes on")
            enough.set()
            await asyncio.gather(*producers)
            events = await whole_log(asking)
    assert judged(new_history(), events) + unfinished(done, events) == []
    assert not any(event.type == "task.released" for event in events), "no worker lost its tasks"
