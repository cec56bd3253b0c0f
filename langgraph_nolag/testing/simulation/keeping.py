"""Who keeps items in the store: each process in a namespace of its own, so that it knows what it must find there."""

from __future__ import annotations

from typing import Any, Final

from ..log_rules import Violation
from .client import Client, Refused

KEYS: Final = ("a", "b", "c")
PASSING: Final = "passing"  # an item with a time to live: when it goes is what the log's rules judge


def keeper(client: Client) -> None:
    world, chance = client.world, client.world.chance
    space = ["kept", client.instance]
    known: dict[str, tuple[int, bytes] | None] = dict.fromkeys(KEYS)  # revision and value, None: there is none; absent: it may be either
    order: dict[str, None] = {}  # of those whose place is known: put where there surely was none, not perhaps deleted since

    async def go_on() -> None:
        while await world.next_operation(client):
            key, what = chance.choice(KEYS), chance.random()
            try:
                if what < 0.4:
                    await put(key)
                elif what < 0.55:
                    await delete(key)
                elif what < 0.75:
                    [item] = (await client.ask("store.get", paths=[[*space, key]]))["items"]
                    agree(key, item)
                elif what < 0.9:
                    await find()
                else:
                    await client.ask("store.write", puts=[[[*space, PASSING], world.body(), {"ttl": chance.uniform(0.5, 5.0)}]])
                    await client.ask("store.get", paths=[[*space, PASSING]])
            except Refused as refused:
                world.refused(refused)

    def expected(key: str) -> int | None:
        """None: whatever it is."""
        return (known[key] or (0,))[0] if key in known else None

    async def put(key: str) -> None:
        body, revision = world.body(), expected(key)
        known.pop(key, None)
        terms = {} if revision is None else {"expected": revision}
        [(revision, *_)] = (await client.ask("store.write", puts=[[[*space, key], body, terms]]))["items"]
        known[key] = revision, body
        if terms.get("expected") == 0:
            order[key] = None

    async def delete(key: str) -> None:
        revision = expected(key)
        known.pop(key, None)
        order.pop(key, None)
        path = [*space, key]
        await client.ask("store.write", deletes=[[path] if revision is None else [path, revision]])
        known[key] = None

    async def find() -> None:
        """All of them, in the order in which they came first."""
        sure = len(known) == len(KEYS)
        items = (await client.ask("store.search", prefix=space, refresh=False))["items"]
        found = {item["path"][-1]: item for item in items if item["path"][-1] != PASSING}
        for key in KEYS:
            agree(key, found.get(key))
        placed = [key for key in found if key in order]
        if sure and placed != list(order):
            world.violations.append(Violation("item", f"{space} holds {placed}, it was given {list(order)}"))

    def agree(key: str, item: dict[str, Any] | None) -> None:
        told = None if item is None else (item["revision"], item["body"])
        if key in known and told != known[key]:
            world.violations.append(Violation("item", f"{[*space, key]} is told as {told}, it was written as {known[key]}"))

    client.run(go_on())
