"""Row 1: the broker is killed under load."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from langgraph_nolag.client.body import encode

from .history import Client, judged, new_history, unfinished, whole_log
from .processes import Broker, joined, until
from .trial import Row, Trial

READY = 2.0  # seconds
CLIENTS = 8  # producers, and as many workers
IN_FLIGHT = 16  # operations of a producer


async def broker_kills(trial: Trial) -> None:
    history = new_history()
    results: list[str] = []
    began = 0
    killed = asyncio.Event()

    async def work(broker: Broker, ready: asyncio.Barrier) -> None:
        async def handler(task: Any) -> Any:
            return task.payload

        async with joined(broker) as room, room.handoff.serve(handler, capabilities=["work"], concurrency=4):
            await ready.wait()
            await asyncio.Event().wait()

    async def produce(broker: Broker, producer: int, ready: asyncio.Barrier) -> None:
        async with joined(broker) as room:
            client = Client(history, room, f"producer {producer}")
            await ready.wait()

            async def lane(number: int) -> None:
                nonlocal began
                while began < trial.aim["tasks"] or not killed.is_set():
                    began += 1
                    number += IN_FLIGHT
                    load = [producer, number]
                    task, result = await client.work(load)
                    trial.check(result == load, f"{task.id} returned {result} for {load}")
                    results.append(task.id)
                    if number % 3 == 0:
                        await client.ask("event.emit", type="load.event", body=encode(load))
                    elif number % 3 == 1:
                        await client.ask("topic.publish", topic="load", qos=2, key=f"{producer}/{number}", body=encode(load))

            async with asyncio.TaskGroup() as lanes:
                for number in range(IN_FLIGHT):
                    lanes.create_task(lane(number))

    async def assassin(broker: Broker) -> None:
        for _ in range(trial.aim["kills"]):
            before = len(results)
            await until(lambda: len(results) > before + 20, "the load goes on")  # noqa: B023
            await asyncio.sleep(trial.chance.uniform(0, 0.1))
            broker.kill()
            trial.recovered(await asyncio.to_thread(broker.start), READY, "a start after a kill")
            trial.done["kills"] += 1
        killed.set()

    with Broker(trial.folder) as broker:
        ready = asyncio.Barrier(2 * CLIENTS)
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work(broker, ready)) for _ in range(CLIENTS)]
            producers = [group.create_task(produce(broker, producer, ready)) for producer in range(CLIENTS)]
            group.create_task(assassin(broker))
            await asyncio.gather(*producers)
            for worker in workers:
                worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*workers)
        async with joined(broker) as room:
            events = await whole_log(room)

    trial.done["tasks"] = len(results)
    trial.done["events"] = len(events)
    trial.violations += judged(history, events) + unfinished(results, events)


ROWS = [
    Row(
        1,
        "broker kill -9 under the load of 8 producers and 8 workers",
        "nothing acknowledged is lost, one completion a task, no hole, ready in 2 s",
        broker_kills,
        full={"kills": 200, "tasks": 100_000},
        short={"kills": 3, "tasks": 300},
        least={"kills": 1, "tasks": 1},
    )
]
