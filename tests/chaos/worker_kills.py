"""Rows 5 and 6: workers are killed, or stopped for longer than their lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

from .history import Client, judged, new_history, unfinished, whole_log
from .processes import LEASE, Broker, Worker, joined, until
from .trial import Row, Trial
from .worker import echo, late

WORKERS = 4
SECONDS = 0.06  # of a task
LOAD = 24  # tasks under way: more than two workers' slots, so that whoever is killed holds some


async def worker_kills(trial: Trial) -> None:
    """One of four workers is killed again and again and replaced at once; what it held goes to others."""
    history = new_history()
    results: list[str] = []
    killed: list[tuple[int, float]] = []  # process, and when
    over = asyncio.Event()

    with Broker(trial.folder) as broker, contextlib.ExitStack() as stack:
        alive = [Worker(broker, echo, SECONDS) for _ in range(WORKERS)]
        stack.callback(lambda: [worker.kill() for worker in alive])
        for worker in alive:
            assert await worker.says() == "serving"

        async def assassin() -> None:
            for _ in range(trial.aim["kills"]):
                before = len(results)
                await until(lambda: len(results) > before + 2, "the work goes on")  # noqa: B023
                await asyncio.sleep(trial.chance.uniform(0.0, 0.2))
                victim = trial.chance.randrange(WORKERS)
                pid = alive[victim].pid
                alive[victim].kill()
                killed.append((pid, time.time()))
                alive[victim] = Worker(broker, echo, SECONDS)
                assert await alive[victim].says() == "serving"
            over.set()

        async with joined(broker) as room:
            client = Client(history, room, "dispatcher")

            async def lane(number: int) -> None:
                while not over.is_set():
                    task, result = await client.work({"number": number})
                    trial.check(result["number"] == number, f"{task.id} returned another's result")
                    results.append(task.id)
                    number += LOAD

            async with asyncio.TaskGroup() as group:
                group.create_task(assassin())
                for number in range(LOAD):
                    group.create_task(lane(number))
            events = await whole_log(room)

    trial.done["kills"] = len(killed)
    trial.done["tasks"] = len(results)
    trial.violations += judged(history, events) + unfinished(results, events)
    claims: dict[str, float] = {}
    lost: dict[str, float] = {}  # when the hand-outs were made that ended with a lease
    for event in events:
        if event.type == "task.claimed":
            task = event.data["task"]
            if task in lost:
                # its worker died between the hand-out and its end: the kill is the last one before the lease was given up
                died = max((at for _, at in killed if at <= lost[task]), default=event.time)
                trial.recovered(event.time - died, LEASE + 1.0, "a task of a killed worker: the way to the next")
                trial.done["redeliveries"] += 1
                del lost[task]
            claims[task] = event.time
        elif event.type == "task.released":
            lost[event.data["task"]] = event.time


async def pauses(trial: Trial) -> None:
    """Eight workers at a time sleep past their lease while others do their tasks, wake up, and complete them none the less."""
    sleepers_at_a_time = min(8, trial.aim["pauses"])
    tasks: list[Any] = []
    with Broker(trial.folder) as broker, contextlib.ExitStack() as stack:
        sleepers = [Worker(broker, late) for _ in range(sleepers_at_a_time)]
        for sleeper in sleepers:
            stack.callback(sleeper.kill)
            assert await sleeper.says() == "serving"
        async with joined(broker) as room:

            async def awake(task: Any) -> str:
                return "awake"

            while trial.done["pauses"] < trial.aim["pauses"]:
                tasks_now = [await room.handoff.dispatch("work", capabilities=["work"]) for _ in sleepers]
                for sleeper in sleepers:
                    assert await sleeper.says() in {task.id for task in tasks_now}
                    os.kill(sleeper.pid, signal.SIGSTOP)
                    sleeper.pipe.send("complete it")
                slept = time.monotonic()
                async with room.handoff.serve(awake, capabilities=["work"], concurrency=len(sleepers)):
                    results = await asyncio.gather(*(task.result(timeout=30) for task in tasks_now))
                trial.recovered(time.monotonic() - slept, 2 * LEASE + 1.0, "the tasks of stopped workers: done by others")
                trial.check(set(results) == {"awake"}, f"results {results} of workers that slept")
                for sleeper in sleepers:
                    os.kill(sleeper.pid, signal.SIGCONT)
                for sleeper in sleepers:
                    told = await sleeper.says()
                    trial.check(told == "stale_lease", f"a worker that slept past its lease was told {told!r}")
                    trial.done["pauses"] += 1
                tasks += tasks_now
            events = await whole_log(room)
    trial.violations += judged(new_history(), events) + unfinished([task.id for task in tasks], events)


ROWS = [
    Row(
        5,
        "worker kill -9",
        "its tasks go to others within lease + 1 s; one completion a task",
        worker_kills,
        full={"kills": 500},
        short={"kills": 5},
        least={"kills": 1, "redeliveries": 1},
    ),
    Row(
        6,
        "SIGSTOP past the lease, then SIGCONT",
        "`stale_lease` for who slept; one completion a task",
        pauses,
        full={"pauses": 300},
        short={"pauses": 4},
        least={"pauses": 1},
    ),
]
