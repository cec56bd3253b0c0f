"""A room's retention from the SDK, and the gap that a reader of the past sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from langgraph_nolag import BadRequest, Gap, LocalBroker, NotAuthorized, connect
from langgraph_nolag.client.stream import Stream
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.patterns.observe import Event
from nolag_broker.server.auth import EVERYTHING


async def take(stream: Stream[Event | Gap], last: int) -> AsyncIterator[Event | Gap]:
    """Up to a sequence."""
    async for item in stream:
        yield item
        if item.seq >= last:
            return


async def test_only_an_admin_configures(broker: LocalBroker) -> None:
    async with connect(broker.url, token=broker.token("root", EVERYTHING)) as client:
        room = await client.join("demo")
        assert await room.configure(retention={"age": 60, "bytes": None}) == {"age": 60.0, "count": None, "bytes": None}
        with pytest.raises(BadRequest, match="retention"):
            await room.configure(retention={"years": 1})
    async with connect(broker.url, token=broker.token("ana")) as client:
        room = await client.join("demo")
        with pytest.raises(NotAuthorized):
            await room.configure(retention={})


async def test_a_reader_of_the_past_sees_a_gap_and_then_what_is_kept() -> None:
    with LocalBroker(trim_every=0.02) as broker:
        async with connect(broker.url, token=broker.token("root", EVERYTHING)) as client:
            room = await client.join("demo")
            await room.configure(retention={"count": 5})
            last = [await room.observe.emit("tick", n) for n in range(40)][-1]
            async with asyncio.timeout(15):
                while (await room.link.acall("log.read")).get("gap", {"to": 0})["to"] < last - 5:
                    await asyncio.sleep(0.01)
                found = [item async for item in take(room.observe.stream(since=0), last)]
            gap, *events = found
            assert isinstance(gap, Gap)
            assert (gap.from_seq, gap.to_seq) == (1, last - 5)
            assert [event.body for event in events if isinstance(event, Event)] == [35, 36, 37, 38, 39]


async def test_a_result_is_found_though_its_dispatch_was_trimmed() -> None:
    """Whose task it was is not in the log any more."""
    waits = asyncio.Event()

    async def handler(task: HandedTask) -> str:
        await waits.wait()
        return "done"

    with LocalBroker(trim_every=0.02) as broker:
        async with (
            connect(broker.url, token=broker.token("root", EVERYTHING)) as client,
            connect(broker.url, token=broker.token("w")) as other,
        ):
            room, worker = await client.join("demo"), await other.join("demo")
            await room.configure(retention={"count": 5})
            async with worker.handoff.serve(handler):
                task = await room.handoff.dispatch("t", key="k")  # without one it is forgotten once it is acknowledged
                await worker.handoff.dispatch("t", "not ours")
                last = [await room.observe.emit("tick", n) for n in range(40)][-1]
                async with asyncio.timeout(15):
                    while (await room.link.acall("log.read")).get("gap", {"to": 0})["to"] < last - 5:
                        await asyncio.sleep(0.01)
                results = room.handoff.results(since=last)
                waits.set()
                async with asyncio.timeout(15):
                    ended = await anext(results)
                assert (ended.id, ended.value) == (task.id, "done")
