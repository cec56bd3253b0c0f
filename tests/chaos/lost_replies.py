"""Rows 8 and 9: replies that are lost after their commit, and keys that are used again."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from langgraph_nolag.client.body import encode
from langgraph_nolag.errors import KeyConflict

from .history import Client, judged, new_history, whole_log
from .processes import Broker, joined
from .proxy import Cutting
from .trial import Row, Trial

CLIENTS = 16
MANY_CLIENTS = 50

REACH = 4_000  # bytes from the broker, at most, before a cut


async def lost_replies(trial: Trial) -> None:
    """Connections are cut at random bytes; every request is answered none the less, and was done once. Then everything with a key is said
    again, to a broker that was started anew, and answers as it did."""
    history = new_history()
    keyed: list[tuple[str, dict[str, Any], Any]] = []

    async def ask(number: int, chance: random.Random, proxy: Cutting) -> None:
        async with joined(broker, url=f"ws://127.0.0.1:{proxy.port}") as room:
            client = Client(history, room, number)
            count = 0
            while proxy.cuts < trial.aim["cuts"]:
                count += 1
                name = f"{number}/{count}"
                said: tuple[str, dict[str, Any]] = chance.choice(
                    (
                        ("event.emit", {"type": "load.event", "key": name, "body": encode(name)}),
                        ("topic.publish", {"topic": "load", "key": name, "body": encode(name)}),
                        ("task.dispatch", {"type": "work", "task": name, "key": name, "body": encode(name), "capabilities": ["nobody"]}),
                        ("blackboard.set", {"key": f"key/{number}", "body": encode(name)}),
                    )
                )
                answer = await client.ask(said[0], **said[1])
                if said[0] != "blackboard.set":
                    keyed.append((*said, answer))

    with Broker(trial.folder) as broker:
        async with Cutting(trial.chance, broker.port, trial.aim["cuts"], REACH) as proxy:
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(ask(number, random.Random(trial.chance.random()), proxy))
            trial.done["cuts"] = proxy.cuts
        trial.done["requests"] = len(history.operations)
        broker.kill()
        broker.start()
        async with joined(broker) as room:
            client = Client(history, room, "again")
            for op, fields, first in keyed:
                again = await client.ask(op, **{**fields, **({"task": f"again-{fields['task']}"} if "task" in fields else {})})
                name = "task" if op == "task.dispatch" else "seq"
                trial.check(again[name] == first[name], f"{op} {fields['key']} answered {first[name]}, and after a restart {again[name]}")
            trial.done["said again after a restart"] = len(keyed)
            events = await whole_log(room)
    trial.violations += judged(history, events)


async def reused_keys(trial: Trial) -> None:
    """Many clients use the same few keys with the same few payloads: a key belongs to the first payload."""
    history = new_history()
    share = max(1, trial.aim["requests"] // MANY_CLIENTS)

    async def ask(number: int, chance: random.Random) -> None:
        async with joined(broker) as room:
            client = Client(history, room, number)
            for _ in range(share):
                key, payload = f"key-{chance.randrange(share)}", encode(chance.randrange(2))
                try:
                    if chance.random() < 0.5:
                        await client.ask("topic.publish", topic="load", key=key, body=encode([key, payload]))
                    else:
                        await client.ask("task.dispatch", type="work", task=room.link.new_id(), key=key, body=encode([key, payload]))
                except KeyConflict:
                    trial.done["conflicts"] += 1

    with Broker(trial.folder) as broker:
        async with asyncio.TaskGroup() as group:
            for number in range(MANY_CLIENTS):
                group.create_task(ask(number, random.Random(trial.chance.random())))
        async with joined(broker) as room:
            events = await whole_log(room)
    trial.done["requests"] = len(history.operations)
    trial.violations += judged(history, events)
    for type in ("topic.published", "task.dispatched"):
        first: dict[str, bytes | None] = {}
        for event in events:
            if event.type == type and first.setdefault(event.data["key"], event.body) != event.body:
                trial.violations.append(f"{event.data['key']} has two payloads, the second at {event.seq}")


ROWS = [
    Row(
        8,
        "replies lost after the commit: connections cut at random bytes",
        "the same key returns the stored result, after a restart too",
        lost_replies,
        full={"cuts": 10_000},
        short={"cuts": 20},
        least={"cuts": 1, "said again after a restart": 1},
    ),
    Row(
        9,
        "the same key with another payload, from 50 clients",
        "`key_conflict`; no cross-talk",
        reused_keys,
        full={"requests": 20_000},
        short=None,
        least={"requests": 1, "conflicts": 1},
    ),
]
