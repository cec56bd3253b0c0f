"""Who lives is not taken for dead, whatever keeps the broker from hearing it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgpack
import pytest

from nolag_broker.server.node import Node

if TYPE_CHECKING:
    from .conftest import Client, Start

LEASE = 1.5
PAUSE = 2.2  # seconds


async def test_a_large_message_is_a_sign_of_life_while_it_comes(start: Start) -> None:
    """Nothing else can be said before it ends."""
    broker = await start(lease=LEASE)
    ana = await broker.member("ana")
    body = msgpack.packb({"op": "event.emit", "room": "r", "type": "large", "body": bytes(60_000)})
    message = b"\x82\xfe" + len(body).to_bytes(2, "big") + bytes(4) + body
    for begin in range(0, len(message), 4000):
        ana.socket.transport.write(message[begin : begin + 4000])
        await asyncio.sleep(PAUSE / 15)
    assert await types(ana) == ["room.opened", "presence.joined", "large"]


async def test_who_is_not_read_is_not_silent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker can take no more for longer than a lease: a disk hangs. It reads no heartbeats either, then."""
    broker = await start(lease=LEASE)
    ana = await broker.member("ana")
    relieved = asyncio.Event()

    async def relief(self: Node) -> None:
        await relieved.wait()

    monkeypatch.setattr(Node, "overloaded", property(lambda self: not relieved.is_set()))
    monkeypatch.setattr(Node, "relief", relief)
    for _ in range(10):
        await ana.send({"op": "event.emit", "room": "r", "type": "note", "body": b""})
    end = time.monotonic() + PAUSE
    while time.monotonic() < end:
        await ana.send(b"")
        await asyncio.sleep(LEASE / 10)
    relieved.set()
    assert await types(ana) == ["room.opened", "presence.joined", *["note"] * 10]


async def types(client: Client) -> list[str]:
    return [event["type"] for event in (await client.call("log.read", limit=1000))["events"]]
