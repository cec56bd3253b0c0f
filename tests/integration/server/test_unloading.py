"""Rooms that nobody uses leave the memory, and come back as they were."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from nolag_broker.core.room import Room
from nolag_broker.server.alarms import STALE

if TYPE_CHECKING:
    from .conftest import Harness, Start


@pytest.fixture(params=["memory", "sqlite"])
async def unloading(start: Start, request: pytest.FixtureRequest) -> Harness:
    """A broker that unloads rooms almost at once."""
    return await start(engine=request.param, trim_every=0.02, unload_after=0.1)


def loaded(broker: Harness) -> set[str]:
    return {hosted.name for hosted in broker.broker._context.node.rooms()}


async def unloaded(broker: Harness, room: str) -> None:
    async with asyncio.timeout(15):
        while room in loaded(broker):
            await asyncio.sleep(0.01)


async def test_a_room_comes_back_as_it_was(unloading: Harness) -> None:
    ana = await unloading.member("ana")
    await ana.call("blackboard.set", key="plan", body=b"1")
    await ana.call("topic.publish", topic="state", body=b"retained", retain=True)
    await ana.call("inbox.send", to="carl", body=b"unread", keep=True)
    await ana.call("task.serve", offer=1, slots=1)
    await ana.call("task.dispatch", task="t", type="a", key="k", body=b"payload", follow=False)
    push = await ana.push("task")
    await ana.call("task.complete", task="t", token=push["token"], body=b"result")
    await ana.call("approval.request", approval="p", action="pay", body=b"shown", allow=["approve"], follow=False)
    await ana.call("room.leave")
    last = (await ana.response("room.info"))["seq"]
    await ana.close()
    await unloaded(unloading, "r")

    ben = await unloading.client("ben")
    info: dict[str, Any] = await ben.response("room.info")
    assert "r" in loaded(unloading)
    assert info["seq"] == last
    await ben.call("log.subscribe", sub=1, since=0)
    await ben.until(lambda: len(ben.events()) == last)
    assert [event["seq"] for event in ben.events()] == list(range(1, last + 1))
    assert (await ben.call("blackboard.get", key="plan"))["entry"]["body"] == b"1"
    assert (await ben.call("task.get", task="t"))["task"]["state"] == "completed"
    assert (await ben.call("task.dispatch", task="t2", type="a", key="k", body=b"payload"))["attached"]
    assert (await ben.push("result"))["body"] == b"result"
    assert (await ben.call("approval.get", approval="p"))["approval"]["state"] == "pending"
    carl = await unloading.member("carl")
    (message,) = (await carl.call("inbox.open"))["messages"]
    assert message["body"] == b"unread"


async def test_what_goes_on_keeps_a_room(unloading: Harness) -> None:
    member, listener, asker = await unloading.member("ana", "member"), await unloading.client("ben"), await unloading.client("carl")
    await listener.call("log.subscribe", "listened", sub=1)
    for room in ("task", "expiring"):
        await asker.call("blackboard.set", room, key="k", body=b"")
    await asker.call("task.dispatch", "task", task="t", type="a", body=b"", follow=False)
    fields = {"approval": "p", "action": "pay", "body": b"", "allow": ["approve"], "follow": False}
    await asker.call("approval.request", "expiring", expires=600, **fields)
    await asker.call("blackboard.set", "left", key="k", body=b"")
    await asker.close()
    await unloaded(unloading, "left")
    await listener.call("room.info", "left")
    other = await unloading.client("dora")
    await other.call("blackboard.set", "later", key="k", body=b"")
    await other.close()
    await unloaded(unloading, "later")
    assert {"member", "listened", "task", "expiring", "left"} <= loaded(unloading)
    await member.call("topic.publish", "listened", topic="t", body=b"heard")
    await listener.until(lambda: [event["body"] for event in listener.events() if event["type"] == "topic.published"] == [b"heard"])


async def test_nothing_of_an_unloaded_room_waits_for_a_garbage_collection(unloading: Harness) -> None:
    ana = await unloading.member("ana")
    await ana.call("blackboard.set", key="plan", body=b"1")
    gc.collect()
    gc.disable()
    try:
        assert in_memory("r")
        await ana.call("room.leave")
        await ana.close()
        await unloaded(unloading, "r")
        assert not in_memory("r")
    finally:
        gc.enable()


def in_memory(name: str) -> bool:
    """Whether anything of the room is: all its parts refer to it. (A compiled class admits no weak reference.)"""
    return any(isinstance(thing, Room) and thing.name == name for thing in gc.get_objects())


async def test_deadlines_that_moved_are_forgotten(broker: Harness) -> None:
    """Each nearer one takes the place of the one before, which would be kept until it is due, and the room with it."""
    ana = await broker.member("ana")
    for number in range(300):
        await ana.call("task.dispatch", task=f"t{number}", type="a", body=b"", timeout=25 - number / 20, follow=False)
    assert len(broker.broker._context.node._alarms._heap) <= 2 * (STALE + 1)
