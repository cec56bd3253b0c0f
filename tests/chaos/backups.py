"""Row 29, the second half: copies of a broker that is busy, and brokers that go on from them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from math import inf
from typing import Any

from langgraph_nolag import Gap
from langgraph_nolag.client.body import encode
from langgraph_nolag.testing.history import History

from .history import Client, Stored, judged, new_history, unfinished, whole_log
from .processes import Broker, joined, until
from .trial import Row, Trial
from .upgrades import newer, upgrades

FILL = 200  # messages of 60 kB before it begins: a copy takes many pieces
CLIENTS = 4


async def backups(trial: Trial) -> None:
    history = new_history()
    over = asyncio.Event()

    async def load(client: Client, number: int) -> None:
        while not over.is_set():
            number += CLIENTS
            await client.work(number)
            await client.ask("event.emit", type="load.event", body=encode(number))
            await client.ask("blackboard.set", key=f"key/{number % 7}", body=encode(number))

    with Broker(trial.folder / "original") as broker:
        async with joined(broker) as room, joined(broker) as worker, worker.handoff.serve(_echo, capabilities=["work"], concurrency=4):
            filling = Client(history, room, "filling")
            for number in range(FILL):
                await filling.ask("topic.publish", topic="large", body=number.to_bytes(4) + bytes(60_000))
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(load(Client(history, room, f"client {number}"), number))
                copies = [await _copied(trial, history, room, number) for number in range(trial.aim["backups"])]
                over.set()
            original = await whole_log(room)
            epoch = (await room.link.acall("room.info")).epoch
        for number, cut in enumerate(copies):
            trial.violations += [f"copy {number}: {what}" for what in await _restored(trial, number, cut, original, epoch)]
        trial.violations += judged(history, original)


async def _copied(trial: Trial, history: History, room: Any, number: int) -> History:
    """Make a copy. What clients were told before it began, as told; what they asked before it ended, as what may be in it or not."""
    before = len(history.operations)
    await until(lambda: len(history.operations) > before + 20, "the load goes on")
    (trial.folder / f"copy-{number}").mkdir()
    begun = time.monotonic()
    await room.link.connection.acall("broker.backup", within=60.0, folder=str(trial.folder / f"copy-{number}" / "data"))
    ended = time.monotonic()
    trial.done["backups"] += 1
    trial.done["acknowledged meanwhile"] += sum(begun < operation.ended < ended for operation in history.operations)
    cut = new_history()
    cut.operations = [
        replace(operation) if operation.ended <= begun else replace(operation, ended=inf, ok=None, at=None, code=None)
        for operation in history.operations
        if operation.invoked <= ended
    ]
    return cut


async def _restored(trial: Trial, number: int, history: History, original: list[Stored], epoch: str) -> list[str]:
    """Start a broker on a copy, and work with it. What is wrong."""
    wrong: list[str] = []
    with Broker(trial.folder / f"copy-{number}") as broker:
        async with joined(broker) as room:
            events = await whole_log(room)
            same = next((at for at, (one, other) in enumerate(zip(events, original, strict=False)) if one != other), len(events))
            told = max((operation.at or 0 for operation in history.operations if operation.ended < inf), default=0)
            if same < told:
                wrong.append(f"it is the original only up to {same}, and {told} was acknowledged before it was made")
            if (now := (await room.link.acall("room.info")).epoch) == epoch:
                wrong.append(f"its epoch is the original's, {now}, and its history is not")
            async with room.observe.stream(since=len(original), epoch=epoch) as stream:
                if not isinstance(first := await asyncio.wait_for(anext(stream), 20), Gap):
                    wrong.append(f"a reader of the original was told of {first}, not of a gap")
            async with room.handoff.serve(_echo, capabilities=["work"], concurrency=8):
                task, _ = await Client(history, room, "later").work("after the restore")
                await asyncio.wait_for(_at_rest(room), 60)
        broker.kill()
        await asyncio.to_thread(broker.start)
        async with joined(broker) as room:
            events = await whole_log(room)
    begun = [event.data["task"] for event in events if event.type == "task.dispatched"]
    return wrong + judged(history, events) + unfinished([*begun, task.id], events)


async def _at_rest(room: Any) -> None:
    while any(count for state, count in (await room.link.acall("room.info"))["tasks"].items() if state in ("waiting", "running")):
        await asyncio.sleep(0.02)


async def _echo(task: Any) -> Any:
    return task.payload


async def databases(trial: Trial) -> None:
    await upgrades(trial)
    await newer(trial)
    await backups(trial)


ROWS = [
    Row(
        29,
        "a database of each older version, one of a newer; copies of a busy broker, and brokers started on them",
        "migrates with everything in it, or refuses in one line; a copy has what was acknowledged, passes the checker, has new epochs",
        databases,
        full={"backups": 50},
        short={"backups": 1},
        least={"backups": 1, "upgrades": 5, "newer refused": 1},
    )
]
