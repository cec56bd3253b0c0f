"""Who keeps large values: puts them, refers to them, reads them again. Few values and many references, so that they are shared."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from nolag_broker.wire.blobs import BLOB, PIECE, Reference

from ..log_rules import Violation
from .client import Client, Refused

VALUES: Final = (*(b"value %d" % number for number in range(5)), b"of two pieces".ljust(PIECE + 1, b"."))
BY_HASH: Final = {Reference.to(value).hash: value for value in VALUES}


def hoarder(client: Client) -> None:
    world, chance = client.world, client.world.chance

    async def put(reference: Reference) -> None:
        """Piece by piece, from where the broker is: it may be another one than before."""
        value, at = BY_HASH[reference.hash], 0
        while True:
            piece = value[at : at + PIECE] if chance.random() < 0.8 else b""
            try:
                answer = await client.ask("blob.put", hash=reference.hash, size=len(value), offset=at, body=piece)
            except Refused as refused:
                world.refused(refused, "overloaded")
                await asyncio.sleep(0.1)
                continue
            if answer["whole"]:
                return
            at = answer["at"]

    async def provide(frame: dict[str, Any]) -> None:
        world.hit("large value put again")
        await put(Reference.from_body(frame["body"]))

    async def go_on() -> None:
        while await world.next_operation(client):
            reference = Reference.to(chance.choice(VALUES), world.name("large"))  # the content type makes each reference its own
            await put(reference)
            fields = {"type": "large"} if chance.random() < 0.5 else {"key": f"large{chance.randrange(2)}"}
            try:
                await client.ask("event.emit" if "type" in fields else "blackboard.set", body=reference.body, ct=BLOB, **fields)
                if chance.random() < 0.5:
                    await look(f"large{chance.randrange(2)}")
            except Refused as refused:
                world.refused(refused)

    async def look(key: str) -> None:
        """What the blackboard or its history refers to can be had."""
        if (entry := (await client.ask("blackboard.get", key=key))["entry"]) is None:
            return
        reference, value = Reference.from_body(entry["body"]), b""
        try:
            while len(value) < reference.size:
                value += (await client.ask("blob.get", hash=reference.hash, offset=len(value)))["body"]
        except Refused as refused:
            if refused.maybe_applied:
                raise
            world.violations.append(Violation("value", f"what {key} refers to: {refused}"))
        else:
            if value != BY_HASH[reference.hash]:
                world.violations.append(Violation("value", f"what {key} refers to is another value"))

    client.provide = provide
    client.run(go_on())
