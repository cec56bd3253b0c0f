"""Who keeps records, as checkpoints are kept: writes one and reads it behind that, while another writes and reads the same."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Final

from ..log_rules import Violation
from .client import Client, Refused

PREFIX: Final = "checkpoint/records/"
READS: Final[dict[str, dict[str, Any]]] = {  # few, so that many ask for the same
    "record.read": {"keys": [f"{PREFIX}recorder{n}" for n in (1, 2)]},
    "record.scan": {"prefix": PREFIX, "limit": 10},
}


def recorder(client: Client) -> None:
    world, chance = client.world, client.world.chance
    key, numbers = PREFIX + client.actor, count(1)

    async def go_on() -> None:
        while await world.next_operation(client):
            await asyncio.gather(*(record() for _ in range(chance.randint(3, 8))))

    async def record() -> None:
        await asyncio.sleep(chance.expovariate(60.0))
        number, op = next(numbers), chance.choice(list(READS))
        put = [key, f"{client.instance} {number}".encode(), False]
        written, read = await asyncio.gather(ask("record.write", puts=[put]), ask(op, **READS[op]))
        if written and read:
            found = dict(read["items"]) if "items" in read else dict(zip(READS[op]["keys"], read["bodies"], strict=True))
            instance, _, last = found[key].decode().partition(" ")
            if instance == client.instance and int(last) < number:  # a later one of ours may have come between, where both were sent again
                world.violations.append(Violation("record", f"{client.name} wrote {number}, and read {last} behind it"))

    async def ask(op: str, **fields: Any) -> dict[str, Any]:
        """Empty: its broker failed."""
        try:
            return await client.ask(op, **fields)
        except Refused as refused:
            world.refused(refused)
            return {}

    client.run(go_on())
