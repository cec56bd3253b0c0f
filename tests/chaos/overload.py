"""Row 18: twice as much work as can be done, until the room's backlog and an inbox are full, and longer."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph_nolag.client.body import encode
from langgraph_nolag.errors import Overloaded

from .history import Client, judged, new_history, stored, unfinished
from .processes import Broker, joined, until
from .trial import Row, Trial

PROGRAM = (sys.executable, str(Path(__file__).with_name("configured_broker.py")))
SLOTS, SECONDS = 8, 0.04
CAPACITY = SLOTS / SECONDS  # tasks a second; on a busy machine it is less
BACKLOG = 400
KEPT = 4_000  # events of the log
BODY = 1_000  # bytes
DISK = 32 << 20  # bytes that the database may take, whatever passes through it
IN_FLIGHT = 100  # requests that wait for their answer; more wait for their turn
PATIENCE = 120.0  # seconds


async def overload(trial: Trial) -> None:
    history = new_history()
    results: list[str] = []
    most = [0, 0]  # tasks that had not ended, events kept

    def refused(what: str, error: Overloaded) -> None:
        trial.done[f"refused {what}"] += 1
        trial.check(error.retryable and not error.maybe_applied, f"{what}: {error!r} does not say that nothing was accepted")

    async def offer(client: Client, end: float) -> None:
        """At twice the rate that is done, whether it is accepted or not."""
        begun, offered = time.monotonic(), 0
        answering = asyncio.Semaphore(IN_FLIGHT)

        async def one() -> None:
            async with answering:
                try:
                    task = await client.dispatch(secrets.token_hex(BODY // 2))
                except Overloaded as error:
                    refused("tasks", error)
                    return
            trial.done["tasks"] += 1
            await client.result(task, PATIENCE)
            results.append(task.id)

        async with asyncio.TaskGroup() as group:
            while (now := time.monotonic()) < end:
                while offered < 2 * CAPACITY * (now - begun):
                    offered += 1
                    group.create_task(one())
                    if answering.locked():
                        await asyncio.sleep(0)
                await asyncio.sleep(0.005)

    async def fill(client: Client, end: float) -> None:
        """Messages to somebody who does not come."""
        while time.monotonic() < end:
            try:
                await client.ask("inbox.send", to="nobody", keep=True, body=encode(secrets.token_hex(8)))
                trial.done["messages"] += 1
            except Overloaded as error:
                refused("messages", error)

    async def kept(room: Any) -> int:
        page = await room.link.acall("log.read", after=0, limit=1, bodies=False)
        return int(page.seq - (page["gap"]["to"] if page.get("gap") else 0))

    async def look(room: Any, end: float) -> None:
        while time.monotonic() < end:
            counts = (await room.link.acall("room.info"))["tasks"]
            most[0] = max(most[0], sum(counts.get(state, 0) for state in ("waiting", "delayed", "parked", "running")))
            most[1] = max(most[1], await kept(room))
            await asyncio.sleep(0.1)

    def saw(events: Sequence[Any], through: int) -> None:
        for event in map(stored, events):
            history.saw("live", event)

    bounds = {"max_backlog": BACKLOG, "log_count": KEPT, "trim_every": 0.2}
    with Broker(trial.folder, program=PROGRAM, environment={"CHAOS_SETTINGS": json.dumps(bounds)}) as broker:
        async with joined(broker) as reader, joined(broker) as room, joined(broker) as worker:
            reader.link.subscribe(since=0, on_events=saw)

            async def handler(task: Any) -> str:
                await asyncio.sleep(SECONDS)
                return str(task.payload)

            async with worker.handoff.serve(handler, capabilities=["work"], concurrency=SLOTS):
                end = time.monotonic() + trial.aim["seconds"]
                async with asyncio.TaskGroup() as group:
                    group.create_task(offer(Client(history, room, "dispatcher"), end))
                    group.create_task(fill(Client(history, room, "sender"), end))
                    group.create_task(look(reader, end))
                task, _ = await Client(history, room, "later").work("after all that")
                results.append(task.id)
            last = (await room.link.acall("room.info")).seq
            async with asyncio.timeout(PATIENCE):
                while await kept(room) > KEPT * 9 / 8:
                    await asyncio.sleep(0.05)
            await until(lambda: history.streams["live"][-1].seq >= last, "the reader is there")  # type: ignore[union-attr]
    events: list[Any] = list(history.streams["live"])
    size = sum(file.stat().st_size for file in broker.data.glob("rooms.db*"))
    trial.done["seconds"] = trial.aim["seconds"]
    trial.done["events"] = len(events)
    trial.done["most tasks"], trial.done["most events kept"], trial.done["MiB on the disk"] = most[0], most[1], size >> 20
    trial.check(most[0] <= BACKLOG, f"{most[0]} tasks at a time, more than {BACKLOG}")
    trial.check(most[1] <= 2 * KEPT * trial.patience, f"{most[1]} events kept, more than {KEPT} and what comes between two looks at them")
    trial.check(size <= DISK, f"{size} bytes on the disk, more than {DISK}")
    trial.violations += judged(history, events) + unfinished(results, events)


ROWS = [
    Row(
        18,
        "twice the work that can be done: the backlog is full, an inbox too",
        f"`overloaded`, nothing half-accepted; never more than {BACKLOG} tasks, the log and the disk bounded; then it goes on",
        overload,
        full={"seconds": 180},
        short={"seconds": 4},
        least={"refused tasks": 1, "tasks": 1},
    )
]
