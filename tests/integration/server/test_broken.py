"""Defects in one room: it is loaded again, or refused, and the others do not notice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langgraph_nolag import BrokerDefect, connect
from nolag_broker.core.blackboard import Blackboard
from nolag_broker.core.event import Event
from nolag_broker.core.room import Room
from nolag_broker.engine.base import StorageFailed
from nolag_broker.server.fanout import Feed

if TYPE_CHECKING:
    from .conftest import Harness, Start


def break_in(patch: pytest.MonkeyPatch, method: str, room: str) -> None:
    """Let a method of the core raise in this room."""
    sound = getattr(Room, method)

    def broken(self: Any, *args: Any) -> Any:
        if (args[0] if method == "recover" else self.name) == room:
            raise ZeroDivisionError
        return sound(*args) if method == "recover" else sound(self, *args)

    patch.setattr(Room, method, classmethod(broken) if method == "recover" else broken)


async def test_a_fold_that_broke_half_way_leaves_nothing_behind(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged stays, what was asked meanwhile is done once, and who brought it about is told."""
    sound = Blackboard.apply_changed

    def broken(self: Blackboard, event: Event) -> None:
        if event.subject == "poison":
            self.__dict__["_entries"].clear()
            raise ZeroDivisionError
        sound(self, event)

    monkeypatch.setattr(Blackboard, "apply_changed", broken)
    broker = await start(engine="sqlite")
    url, mint = broker.broker.url, broker.broker.mint
    async with connect(url, token=mint("ana"), actor="ana") as ana, connect(url, token=mint("ben"), actor="ben") as ben:
        room, other = await ana.join("r"), await ben.join("r")
        await room.blackboard.set("n", 0)

        async def count() -> None:
            for _ in range(20):
                await room.blackboard.update("n", lambda n: n + 1)

        counting = [asyncio.create_task(count()) for _ in range(3)]
        while (await other.blackboard.get("n")).value < 5:
            await asyncio.sleep(0)
        with pytest.raises(BrokerDefect) as caught:
            await other.blackboard.set("poison", 1)
        assert caught.value.maybe_applied
        assert not caught.value.retryable
        await asyncio.gather(*counting)
        assert (await other.blackboard.get("n")).value == 60
        assert await other.blackboard.get("poison") is None
    assert broker.broker.failure is None


@pytest.mark.sources
async def test_a_room_that_breaks_by_itself_is_refused_after_a_while(start: Start) -> None:
    broker = await start()
    client, bystander = await broker.member("ana", "bad"), await broker.member("bob", "good")
    with pytest.MonkeyPatch.context() as fault:
        break_in(fault, "come_due", "bad")
        broker.broker._context.node.look_at_clocks()
        assert await client.close_code() == (1012, "restarting")
        again = await broker.client()
        async with asyncio.timeout(15):
            while broker.broker._context.node._broken.refusal("bad") is None:
                await asyncio.sleep(0.01)
        err = await again.refused("room.join", "bad")
        assert (err["code"], err["retryable"]) == ("internal", False)
        assert "'bad' can't go on (a defect of the broker, or its rows are damaged: ZeroDivisionError)" in err["message"]
        assert (await again.refused("log.subscribe", "bad", sub=1))["code"] == "internal"
        await again.call("log.subscribe", "good", sub=1)
        await bystander.call("blackboard.set", "good", key="k", body=b"v")
        await again.until(lambda: again.events())
    assert broker.broker.failure is None


@pytest.mark.sources
@pytest.mark.parametrize("method", ["recover", "come_due"])
async def test_a_room_that_rested_goes_on_by_itself(start: Start, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Its schedule comes again though nobody asks; while it can't, the broker starts and serves the others."""
    monkeypatch.setattr("nolag_broker.server.broken.REST", 0.1)
    broker = await start(engine="sqlite")
    client = await broker.client()
    fields = {"schedule": "s", "cron": "* * * * * *", "type": "a", "body": b"", "overlap": "skip"}
    await client.call("schedule.set", "bad", **fields)
    with pytest.MonkeyPatch.context() as fault:
        break_in(fault, method, "bad")
        await broker.restart()
        good = await broker.member("bob", "good")
        async with asyncio.timeout(15):
            while broker.broker._context.node._broken.refusal("bad") is None:
                await asyncio.sleep(0.01)
        await good.call("blackboard.set", "good", key="k", body=b"v")

    def fired() -> bool:
        rooms = {hosted.name: hosted.room for hosted in broker.broker._context.node.rooms()}
        return (room := rooms.get("bad")) is not None and room.tasks.backlog > 0

    async with asyncio.timeout(15):
        while not fired():
            await asyncio.sleep(0.02)
    assert broker.broker.failure is None


async def test_events_that_can_not_be_published_are_read_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await start()
    url, mint = broker.broker.url, broker.broker.mint
    sound, faults = Feed.publish, [1]

    def broken(self: Feed, events: Any) -> None:
        if any(event.subject == "k" for event in events) and faults:
            faults.pop()
            raise ZeroDivisionError
        sound(self, events)

    monkeypatch.setattr(Feed, "publish", broken)
    async with connect(url, token=mint("ana"), actor="ana") as ana:
        room = await ana.join("r")
        stream = room.observe.stream("blackboard.**", since=0)
        await room.blackboard.set("j", 1)
        await asyncio.wait_for(anext(stream), 10)
        await room.blackboard.set("k", 1)
        assert (await asyncio.wait_for(anext(stream), 10)).subject == "k"
    assert not faults
    assert broker.broker.failure is None


@pytest.mark.parametrize("group", [{}, {"group": "readers"}])
@pytest.mark.parametrize("error", [StorageFailed, ZeroDivisionError])
async def test_reading_that_breaks_is_no_silence_for_whoever_it_is_done_for(
    broker: Harness, monkeypatch: pytest.MonkeyPatch, group: dict[str, Any], error: type[Exception]
) -> None:
    async def broken(*where: Any) -> Any:
        raise error

    client = await broker.member()
    monkeypatch.setattr(broker.broker._engine, "events", broken)
    frame, _ = client.request("log.subscribe", sub=3, since=0, **group)
    await client.send(frame)
    if error is StorageFailed:
        assert (await client.push("failed", sub=3))["err"]["code"] == "storage_failed"
    else:
        assert await client.close_code() == (1012, "restarting")
    assert (broker.broker.failure is None) is (error is not StorageFailed)
