"""When rows count as written."""

from __future__ import annotations

import asyncio

from nolag_broker.core.commands import parse
from nolag_broker.core.room import Room
from nolag_broker.core.turn import Caller, Env
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.server.behind import Behind
from nolag_broker.server.fanout import Feed
from nolag_broker.server.hosted import HostedRoom
from nolag_broker.wire.grants import Grants


async def test_rows_that_are_on_their_way_are_not_written_yet() -> None:
    """Whoever reads them from the engine would not find them."""
    behind = Behind(lambda rooms: None)
    hosted = HostedRoom("r", Feed("r", MemoryEngine(), asyncio.ensure_future))
    room = hosted.room = Room("r", "epoch")
    caller = Caller("s", "ana", "i", Grants.parse([{"room": "**"}]))
    room.decide(parse({"op": "event.emit", "type": "note"}), caller, 1, {}, Env(0.0, 0.0, lambda: 0.5, lambda: "id"))
    turn, hosted.turn = hosted.collect(rows=True), None
    hosted.in_flight = turn
    assert not room.behind
    waiting = behind.written(hosted)
    await asyncio.sleep(0)
    assert not waiting.done()
    hosted.in_flight = None
    behind.stored(hosted, turn)
    async with asyncio.timeout(5):
        await waiting
        await behind.written(hosted)
    behind.stop()
