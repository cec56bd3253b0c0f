"""The log from a time on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from nolag_broker.core.event import Event
from nolag_broker.core.turn import Turn
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.server.moments import first_since

if TYPE_CHECKING:
    from .conftest import Client, Harness, Start


async def engine_with(times: list[float]) -> MemoryEngine:
    engine = MemoryEngine()
    await engine.open()
    await engine.create("r", "e")
    events = [Event(seq, "t", time, "a", {}) for seq, time in enumerate(times, 1)]
    assert await engine.commit([("r", Turn(0, events))]) == [None]
    return engine


@pytest.mark.parametrize("first", [1, 3])
async def test_the_first_event_at_a_time_or_after_it(first: int) -> None:
    times = [10.0, 10.0, 20.0, 20.0, 20.0, 30.0]
    engine = await engine_with(times)
    await engine.trim("r", first, [])
    for time in (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 31.0):
        expected = next((seq for seq, at in enumerate(times, 1) if at >= time and seq >= first), 7)
        assert await first_since(engine, "r", first, 6, time) == expected
    assert await first_since(engine, "r", 7, 6, 0.0) == 7


async def emitted(client: Client, count: int) -> list[dict[str, Any]]:
    """So many events, each at a time of its own."""
    for _ in range(count):
        seq = (await client.call("event.emit", type="a.b"))["seq"]
        before = (await client.call("log.read", after=seq - 1))["events"][0]["time"]
        async with asyncio.timeout(15):
            while (await client.call("ping", None))["time"] <= before:
                await asyncio.sleep(0)
    return list((await client.call("log.read", limit=1000, types="a.b"))["events"])


async def test_reading_and_subscribing_from_a_time(any_broker: Harness) -> None:
    client = await any_broker.member()
    events = await emitted(client, 6)
    for sub, event in enumerate(events, 1):
        wanted = [later["seq"] for later in events if later["time"] >= event["time"]]
        page = await client.call("log.read", types="a.b", since_time=event["time"])
        assert [found["seq"] for found in page["events"]] == wanted
        answer = await client.call("log.subscribe", sub=sub, types="a.b", since_time=event["time"])
        assert answer["since"] in (0, event["seq"] - 1)
        await client.until(lambda sub=sub, wanted=wanted: [found["seq"] for found in client.events(sub)] == wanted)
    now = (await client.call("ping", None))["time"]
    await client.call("log.subscribe", sub=50, types="a.b", since_time=now + 3600)
    last = (await client.call("event.emit", type="a.b"))["seq"]
    await client.until(lambda: client.events(50))
    assert [event["seq"] for event in client.events(50)] == [last], "from the end on, when the time is still to come"


async def test_a_time_before_what_is_kept_is_a_gap(start: Start) -> None:
    broker = await start(trim_every=0.02)
    client = await broker.member()
    began = (await client.call("ping", None))["time"]
    await (await broker.admin()).call("room.configure", retention={"count": 3})
    await emitted(client, 20)
    async with asyncio.timeout(15):
        while "gap" not in (page := await client.call("log.read", since_time=began)):
            await asyncio.sleep(0.01)
    assert page["gap"]["from"] == 1
    await client.call("log.subscribe", sub=1, since_time=began)
    assert (await client.push("gap"))["from"] == 1


@pytest.mark.parametrize("fields", [{"since_time": "now"}, {"since_time": float("nan")}, {"since_time": -1}, {"since": 1, "since_time": 1}])
async def test_no_moments(broker: Harness, fields: dict[str, Any]) -> None:
    client = await broker.member()
    assert (await client.refused("log.subscribe", sub=1, **fields))["code"] == "bad_request"
