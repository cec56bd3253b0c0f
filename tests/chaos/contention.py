"""Rows 13 to 15: many who write at once, and the broker killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from langgraph_nolag import connect
from langgraph_nolag.errors import AlreadyDecided, RevisionConflict
from langgraph_nolag.testing.history import History

from .history import Client, judged, new_history, stored, whole_log
from .processes import ROOM, Broker, joined, until
from .trial import Row, Trial

CLIENTS, KEYS = 50, 20
COUNTING, INCREMENTS = 10, 4  # clients that count on one key
WRITERS = 16
ROOMS = 16


async def _killing(trial: Trial, broker: Broker, kills: int, done: Callable[[], int], over: Callable[[], bool]) -> None:
    """Kills spread over the work, as far as it goes."""
    for _ in range(kills):
        before = done()
        await until(lambda: over() or done() > before + 10, "the work goes on")  # noqa: B023
        if over():
            return
        await asyncio.sleep(trial.chance.uniform(0, 0.1))
        broker.kill()
        trial.recovered(await asyncio.to_thread(broker.start), 2.0, "a start after a kill")
        trial.done["kills"] += 1


async def _together(trial: Trial, broker: Broker, kills: int, done: Callable[[], int], work: list[Awaitable[None]]) -> None:
    finished = False

    async def all_work() -> None:
        nonlocal finished
        await asyncio.gather(*work)
        finished = True

    async with asyncio.TaskGroup() as group:
        group.create_task(all_work())
        group.create_task(_killing(trial, broker, kills, done, lambda: finished))


async def published_order(trial: Trial) -> None:
    """16 writers write to 16 rooms; in every room, a reader that was there all the time and one that comes later see the same."""
    histories = [new_history() for _ in range(ROOMS)]
    share = max(1, trial.aim["events"] // WRITERS)
    names = [f"{ROOM}-{number}" for number in range(ROOMS)]

    async def write(writer: int, chance: random.Random) -> None:
        async with connect(broker.url, token=broker.token) as connection:
            clients = [Client(history, await connection.join(name), writer) for history, name in zip(histories, names, strict=True)]

            async def lane(numbers: range) -> None:
                for number in numbers:
                    client = clients[chance.randrange(ROOMS)]
                    await client.ask("topic.publish", topic=f"from/{writer}", body=number.to_bytes(4))
                    trial.done["events"] += 1

            lanes = 4
            await asyncio.gather(*(lane(range(first, share, lanes)) for first in range(lanes)))

    async def read(connection: Any, history: History, name: str, ready: asyncio.Event) -> None:
        room = await connection.join(name)
        room.link.subscribe(since=0, on_events=lambda events, through: [history.saw("live", stored(event)) for event in events])
        ready.set()
        await asyncio.Event().wait()

    with Broker(trial.folder) as broker:
        async with connect(broker.url, token=broker.token) as reading:
            ready = [asyncio.Event() for _ in names]
            readers = [
                asyncio.create_task(read(reading, history, name, event))
                for history, name, event in zip(histories, names, ready, strict=True)
            ]
            await asyncio.gather(*(event.wait() for event in ready))
            work = [write(writer, random.Random(trial.chance.random())) for writer in range(WRITERS)]
            await _together(trial, broker, trial.aim["kills"], lambda: trial.done["events"], work)
            for history, name in zip(histories, names, strict=True):
                async with joined(broker, room=name) as room:
                    events = await whole_log(room)
                last = events[-1].seq
                await until(lambda: history.streams["live"] and history.streams["live"][-1].seq >= last, "the reader is there")  # noqa: B023
                history.streams["live"] = [
                    event for event in history.streams["live"] if event.seq <= last
                ]  # what came after it is presence
                trial.violations += [f"{name}: {violation}" for violation in judged(history, events)]
            for reader in readers:
                reader.cancel()


async def blackboard(trial: Trial) -> None:
    """Reads, writes, compare-and-sets and deletions of few keys by many clients."""
    history = new_history()
    share = max(1, trial.aim["operations"] // CLIENTS)

    async def use(number: int, chance: random.Random) -> None:
        async with joined(broker) as room:
            client = Client(history, room, number)
            for _ in range(share):
                key = f"key/{chance.randrange(KEYS)}"
                kind = chance.random()
                with contextlib.suppress(RevisionConflict):
                    if kind < 0.3:
                        await client.ask("blackboard.get", key=key)
                    elif kind < 0.7:
                        entry = (await client.ask("blackboard.get", key=key))["entry"]
                        expected = 0 if entry is None else entry["revision"]
                        await client.ask("blackboard.set", key=key, body=_unique(), expected=expected)
                    elif kind < 0.95:
                        await client.ask("blackboard.set", key=key, body=_unique())
                    else:
                        await client.ask("blackboard.delete", key=key)

    async def count() -> None:
        async with joined(broker, room="counting") as room:
            for _ in range(INCREMENTS):
                await room.blackboard.update("count", lambda value: (value or 0) + 1)
                trial.done["increments"] += 1

    with Broker(trial.folder) as broker:
        work = [use(number, random.Random(trial.chance.random())) for number in range(CLIENTS)]
        work += [count() for _ in range(COUNTING)]
        await _together(trial, broker, trial.aim["kills"], lambda: len(history.operations), work)
        async with joined(broker) as room:
            events = await whole_log(room)
        async with joined(broker, room="counting") as room:
            entry = await room.blackboard.get("count")
    trial.check(entry.value == entry.revision == COUNTING * INCREMENTS, f"{COUNTING * INCREMENTS} increments of one key made {entry}")
    trial.done["operations"] = len(history.operations)
    trial.done["conflicts"] = sum(operation.code == "revision_conflict" for operation in history.operations)
    trial.violations += judged(history, events)


def _unique() -> bytes:
    return secrets.token_bytes(8)


async def two_deciders(trial: Trial) -> None:
    """Two people decide the same approval at the same moment, one for it and one against."""
    history = new_history()
    turns = [asyncio.Semaphore(0), asyncio.Semaphore(0)]
    asked: list[str] = []

    async def ask() -> None:
        async with joined(broker) as room:
            client = Client(history, room, "requester")
            for number in range(trial.aim["approvals"]):
                asked.append(f"approval-{number}")
                await client.ask("approval.request", approval=asked[-1], action="publish", body=b"\xc0", allow=["approve", "reject"])
                for turn in turns:
                    turn.release()

    async def decide(turn: asyncio.Semaphore, actor: str, type: str) -> None:
        async with connect(path=broker.data, actor=actor) as connection:
            client = Client(history, await connection.join(ROOM), actor)
            for number in range(trial.aim["approvals"]):
                await turn.acquire()
                told: Any = None
                try:
                    told = (await client.ask("approval.decide", approval=asked[number], type=type))["decision"]
                except AlreadyDecided as error:
                    told = error.detail["decision"]
                    trial.check(told["actor"] != actor, f"{actor} was told of its own decision of {asked[number]} that it came too late")
                    trial.done["already decided"] += 1
                answers.append((asked[number], told["actor"]))

    answers: list[tuple[str, str]] = []
    with Broker(trial.folder) as broker:
        work = [ask(), decide(turns[0], "ana", "approve"), decide(turns[1], "bob", "reject")]
        await _together(trial, broker, trial.aim["kills"], lambda: len(history.operations), work)
        async with joined(broker) as room:
            events = await whole_log(room)
    decided = {event.data["approval"]: event.sender for event in events if event.type == "approval.decided"}
    trial.done["approvals"] = len(decided)
    trial.check(len(answers) == 2 * len(decided) == 2 * trial.aim["approvals"], f"{len(answers)} answers about {len(decided)} approvals")
    trial.check(
        trial.done["already decided"] == len(decided), f"{trial.done['already decided']} of {len(decided)} were told they were late"
    )
    trial.violations += [
        f"{actor} was named as decider of {id}, {decided.get(id)} was" for id, actor in answers if decided.get(id) != actor
    ]
    trial.violations += judged(history, events)


ROWS = [
    Row(
        13,
        "16 writers to 16 rooms at once, the broker killed meanwhile",
        "one order a room, the same for all readers",
        published_order,
        full={"events": 100_000, "kills": 20},
        short=None,
        least={"events": 1},
    ),
    Row(
        14,
        "50 clients on 20 keys of the blackboard, the broker killed meanwhile",
        "linearizable, no lost update",
        blackboard,
        full={"operations": 100_000, "kills": 20},
        short={"operations": 400, "kills": 1},
        least={"operations": 1, "kills": 1, "conflicts": 1},
    ),
    Row(
        15,
        "two deciders of one approval, the broker killed meanwhile",
        "the first wins, the other gets `already_decided`",
        two_deciders,
        full={"approvals": 3_000, "kills": 50},  # so many that the kills have their time
        short={"approvals": 30, "kills": 1},
        least={"approvals": 1, "kills": 1},
    ),
]
