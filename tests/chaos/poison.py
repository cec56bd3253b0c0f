"""Row 19: tasks that always fail, tasks that wait for longer than a lease, and a schedule."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from langgraph_nolag.errors import TaskFailed

from .history import judged, new_history, whole_log
from .processes import LEASE, Broker, joined
from .trial import Row, Trial

ATTEMPTS = 3
DELAY = 2 * LEASE
KILLS = 2


class Poison(Exception):
    pass


async def poisoned(trial: Trial) -> None:
    """Both kinds at once, the broker killed while they wait."""
    ran: Counter[str] = Counter()
    early: list[str] = []
    ticked: set[str] = set()
    loop = asyncio.get_running_loop()
    due: dict[str, float] = {}

    async def handler(task: Any) -> None:
        ran[task.id] += 1
        if task.type == "tick":
            ticked.add(task.id)
        if task.type == "poison":
            raise Poison(f"attempt {task.attempt}")
        if loop.time() < task.payload["due"]:
            early.append(task.id)

    with Broker(trial.folder) as broker:
        async with joined(broker) as room, room.handoff.serve(handler, capabilities=["work"], concurrency=8):

            async def poison() -> None:
                task = await room.handoff.dispatch("poison", capabilities=["work"], max_attempts=ATTEMPTS)
                try:
                    await task.result(timeout=60)
                except TaskFailed as error:
                    trial.check(error.error_type == "Poison", f"{task.id} failed with {error}")
                info = await room.handoff.get(task.id)
                told = [entry["error"]["message"] for entry in info.errors]
                trial.check(told == [f"attempt {number}" for number in range(1, ATTEMPTS + 1)], f"{task.id} has the errors {told}")
                trial.check(ran[task.id] == ATTEMPTS, f"{task.id} ran {ran[task.id]} times")
                trial.done["poison tasks"] += 1

            async def delayed() -> None:
                task = await room.handoff.dispatch("later", {"due": loop.time() + DELAY}, capabilities=["work"], delay=DELAY)
                due[task.id] = loop.time() + DELAY
                await task.result(timeout=60)
                trial.done["delayed tasks"] += 1

            async def kill() -> None:
                for _ in range(KILLS):
                    await asyncio.sleep(trial.chance.uniform(0, DELAY / KILLS))
                    broker.kill()
                    trial.recovered(await asyncio.to_thread(broker.start), 2.0, "a start after a kill")
                    trial.done["kills"] += 1

            schedule = await room.handoff.schedule("* * * * * *", "tick", {"due": 0.0}, capabilities=["work"])
            async with asyncio.TaskGroup() as group:
                group.create_task(kill())
                for _ in range(trial.aim["tasks"]):
                    group.create_task(poison())
                    group.create_task(delayed())
            async with asyncio.timeout(60):
                while len(ticked) < trial.aim["moments"]:
                    await asyncio.sleep(0.05)
            await schedule.delete()
            async with asyncio.timeout(60):
                while await room.handoff.list(["waiting", "running"], limit=1):  # the last task of the schedule
                    await asyncio.sleep(0.01)
            dead = {info.id for info in await room.handoff.dead_letters(limit=1000)}
            events = await whole_log(room)
    trial.check(len(dead) == trial.aim["tasks"], f"{len(dead)} dead letters of {trial.aim['tasks']} poison tasks")
    trial.violations += [f"{task} ran {ran[task]} times" for task in due if ran[task] != 1]
    trial.violations += [f"{task} ran before its time" for task in early]
    fired = [event.data for event in events if event.type == "schedule.fired"]
    for earlier, later in itertools.pairwise(fired):  # of a moment that was missed, the firing says so
        step = later.get("first", later["moment"]) - earlier["moment"]
        trial.check(step == 1, f"after the moment {earlier['moment']:.0f} comes {later}")
    trial.violations += [f"{moment['task']} ran {ran[moment['task']]} times" for moment in fired if ran[moment["task"]] != 1]
    trial.done["moments"] = len(fired)
    trial.violations += judged(new_history(), events)


ROWS = [
    Row(
        19,
        "poison tasks, delays longer than the lease, and a schedule, the broker killed meanwhile",
        f"a dead letter after {ATTEMPTS} attempts with the errors of each; a delayed task fires once, and not before its time; "
        "so does each moment",
        poisoned,
        full={"tasks": 200, "moments": 10},
        short=None,
        least={"poison tasks": 1, "delayed tasks": 1, "kills": 1, "moments": 1},
    )
]
