"""Row 20: the broker's wall clock is set forward and back by an hour while tasks run for longer than a lease."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from langgraph_nolag.client.body import encode

from .history import Client, judged, new_history, stored, unfinished, whole_log
from .processes import Broker, Worker, joined, until
from .trial import Row, Trial
from .worker import echo

PROGRAM = (sys.executable, str(Path(__file__).with_name("jumping_broker.py")))
WORKERS, SLOTS = 4, 4
SECONDS = 1.0  # of a task
LEASE = 5.0  # seconds: an hour's jump would end it at once, a busy machine does not
LOAD = 24
KILL_EVERY = 10  # jumps: a lease that must end, ends in time


async def clock_jumps(trial: Trial) -> None:
    history = new_history()
    results: list[str] = []
    kills: list[float] = []
    lost: dict[str, float] = {}
    over = asyncio.Event()

    def saw(events: Sequence[Any], through: int) -> None:
        """On a clock that nobody sets: what the log says of time is what is being tried."""
        now = time.monotonic()
        for event in map(stored, events):
            task = event.data.get("task")
            if event.type == "task.released":
                lost[task] = now
                trial.done["redeliveries"] += 1
                trial.check(trial.done["redeliveries"] <= SLOTS * len(kills), f"{task} was taken from a worker that lives")
            elif event.type == "task.claimed" and task in lost and kills:
                died = max((at for at in kills if at <= lost[task]), default=lost[task])
                trial.recovered(now - died, LEASE + 1.0, "a task of a killed worker: the way to the next")
                del lost[task]

    with Broker(trial.folder, lease=LEASE, program=PROGRAM) as broker, contextlib.ExitStack() as stack:
        alive = [Worker(broker, echo, SECONDS) for _ in range(WORKERS)]
        stack.callback(lambda: [worker.kill() for worker in alive])
        for worker in alive:
            assert await worker.says() == "serving"

        async def jump(room: Any) -> None:
            ahead = 0
            await until(lambda: history.operations, "there is work")
            while trial.done["jumps"] < trial.aim["jumps"]:
                await asyncio.sleep(trial.chance.uniform(0.05, 0.5))
                step = trial.chance.choice([step for step in (-1, 1) if abs(ahead + step) <= 1])
                ahead += step
                assert broker.process is not None
                broker.process.send_signal(signal.SIGUSR1 if step > 0 else signal.SIGUSR2)
                trial.done["jumps"] += 1
                await Client(history, room, "clock").ask("event.emit", type="clock.set", body=encode([trial.done["jumps"], ahead]))
                if trial.done["jumps"] % KILL_EVERY == 0:
                    victim = trial.chance.randrange(WORKERS)
                    kills.append(time.monotonic())
                    alive[victim].kill()
                    alive[victim] = Worker(broker, echo, SECONDS)
                    assert await alive[victim].says() == "serving"
                    trial.done["kills"] += 1
            over.set()

        async with joined(broker) as room:
            client = Client(history, room, "dispatcher")
            room.link.subscribe(types="task.*", on_events=saw)

            async def lane(number: int) -> None:
                while not over.is_set():
                    task, _ = await client.work({"number": number})
                    results.append(task.id)
                    number += LOAD

            async with asyncio.TaskGroup() as group:
                group.create_task(jump(room))
                for number in range(LOAD):
                    group.create_task(lane(number))
            events = await whole_log(room)
    trial.done["tasks"] = len(results)
    trial.done["times the log goes back"] = sum(after.time < before.time for before, after in pairwise(events))
    trial.violations += judged(history, events) + unfinished(results, events)


ROWS = [
    Row(
        20,
        "the broker's clock is set forward and back by an hour, workers killed meanwhile",
        "no lease ends by it, those of killed workers end within lease + 1 s; one completion a task",
        clock_jumps,
        full={"jumps": 200},
        short={"jumps": 10},
        least={"jumps": 1, "kills": 1, "redeliveries": 1, "times the log goes back": 1},
    )
]
