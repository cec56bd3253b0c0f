"""Who leaves a room is gone, and nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from langgraph_nolag import BadRequest, Disconnected, LocalBroker, NotAuthorized, NotJoined, Room, connect, open_room
from langgraph_nolag.testing import eventually
from nolag_broker.core.limits import Limits


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:  # what is stored plays no part
        yield broker


async def present(room: Any) -> list[str]:
    return [member["actor"] for member in (await room.link.acall("presence.list"))["members"]]


async def test_who_leaves_is_gone_when_leave_returns_however_often_it_joined(broker: LocalBroker, stack: Any, join: Any) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    for status in ("starting", "available"):
        room = await client.join("demo", status=status)
    reading = asyncio.create_task(anext(room.observe.stream("never")))
    await room.leave()
    assert await present(desk) == ["desk"]
    with pytest.raises(Disconnected, match="was left"):
        await asyncio.wait_for(reading, 10)
    await room.leave()
    again = await client.join("demo")
    assert len(await present(desk)) == 2
    await room.leave()
    assert len(await present(desk)) == 2, "that room was left before"
    await again.leave()
    assert await present(desk) == ["desk"]


async def test_joining_goes_after_the_leaving_before_it(broker: LocalBroker, stack: Any, join: Any) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    for _ in range(10):
        room = await client.join("demo")
        await asyncio.gather(room.leave(), client.join("demo"))
        assert len(await present(desk)) == 2


async def test_a_join_that_was_given_up_holds_nothing(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langgraph_nolag.client.standing.ASK_AGAIN", 0.02)
    monkeypatch.setattr("nolag_broker.server.node.Limits", partial(Limits, members=1))
    broker = stack.enter_context(LocalBroker())
    ana, bo = [await stack.enter_async_context(connect(broker.url, token=broker.token(actor))) for actor in ("ana", "bo")]
    room = await ana.join("demo")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bo.join("demo"), 0.1)
    await room.leave()
    await asyncio.sleep(0.1)
    assert await present(room) == []
    await (await bo.join("demo")).leave()
    assert await present(room) == []


async def test_a_join_that_was_refused_holds_nothing(broker: LocalBroker, stack: Any, proxy: Any, join: Any) -> None:
    desk = await join("desk")
    tokens = [broker.token("ana"), broker.token("ana", grants=[{"room": "other", "verbs": ["publish"]}])]
    client = await stack.enter_async_context(connect(proxy.url, token=tokens.pop))
    with pytest.raises(NotAuthorized):
        await client.join("demo")
    proxy.cut()
    await client.ping()
    await (await client.join("demo")).leave()
    assert await present(desk) == ["desk"]


@pytest.mark.parametrize("cut", [False, True], ids=["in the session that had joined", "over a reconnect"])
async def test_a_second_join_that_was_refused_changes_nothing(broker: LocalBroker, stack: Any, proxy: Any, join: Any, cut: bool) -> None:
    async def work(task: Any) -> Any:
        return task.payload

    desk = await join("desk")
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana"))
    room = await client.join("demo", capabilities=["draft"])
    reading = asyncio.create_task(anext(room.observe.stream("n")))
    async with room.handoff.serve(work):
        if cut:
            proxy.hold_answers()
        again = asyncio.create_task(client.join("demo", max_concurrency=0))
        if cut:
            await eventually(lambda: len(client._connection._unanswered))
            proxy.cut()
        with pytest.raises(BadRequest, match="max_concurrency"):
            await asyncio.wait_for(again, 10)
        for n in range(2):
            assert await (await desk.handoff.dispatch("t", n, capabilities=["draft"])).result(10) == n
            proxy.cut()
            await client.ping()
    await desk.observe.emit("n", 1)
    assert (await asyncio.wait_for(reading, 10)).body == 1
    assert not room.link.shut_out.is_set
    await room.leave()
    assert await present(desk) == ["desk"]


async def test_of_joins_at_once_each_has_its_own_answer(broker: LocalBroker, stack: Any, join: Any) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    joins = [client.join("demo", max_concurrency=n, status=f"asked with {n}") for n in (0, 1, 0, 2, 0)]
    joined = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(each) for each in joined] == [BadRequest, Room, BadRequest, Room, BadRequest]
    assert [agent.status for agent in await desk.presence.list() if agent.actor == "ana"] == ["asked with 2"]


@pytest.mark.parametrize("shared", [False, True], ids=["joined", "opened"])
async def test_a_room_that_was_left_is_not_joined_by_what_is_done_in_it(broker: LocalBroker, stack: Any, join: Any, shared: bool) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    room = Room(open_room(broker.room("demo"))) if shared else await client.join("demo")
    await room.leave()
    for needs_a_member in (
        room.open_stream(to="desk"),
        room.handoff.serve(lambda task: None).start(),
        room.tools.serve([]).start(),
        room.presence.update(status="here"),
        anext(aiter(room.inbox)),
    ):
        with pytest.raises(NotJoined):
            await needs_a_member
        assert await present(desk) == ["desk"]
    await room.blackboard.set("k", 1)
    again = Room(open_room(broker.room("demo"))) if shared else await client.join("demo")
    async with again.handoff.serve(lambda task: None):
        assert len(await present(desk)) == 2
    await again.leave()
    assert await present(desk) == ["desk"]


async def test_leaving_twice_takes_nothing_from_others_of_the_process(broker: LocalBroker) -> None:
    one, two = [Room(open_room(broker.room("demo"))) for _ in range(2)]
    reading = asyncio.create_task(anext(two.observe.stream("n")))
    await two.observe.emit("settled")
    await one.leave()
    await one.leave()
    await two.observe.emit("n", 1)
    assert (await asyncio.wait_for(reading, 10)).body == 1


async def test_what_was_read_in_a_room_that_is_left_keeps_no_place(
    broker: LocalBroker, stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nolag_broker.server.log_ops.MAX_SUBSCRIPTIONS", 1)
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    for turn in range(3):
        room = await client.join("demo")
        stream = room.observe.stream("n")
        await room.observe.emit("n", turn)
        assert (await asyncio.wait_for(anext(stream), 10)).body == turn
        await room.leave()


async def test_leaving_while_the_broker_is_away_does_not_wait_for_it(broker: LocalBroker, stack: Any, proxy: Any, join: Any) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana"))
    room = await client.join("demo")
    proxy.refuses = True
    proxy.cut()
    async with asyncio.timeout(1):
        while client._connection.is_live:
            await asyncio.sleep(0.005)
        await room.leave()
    proxy.refuses = False
    await client.ping()
    async with asyncio.timeout(10):
        while await present(desk) != ["desk"]:
            await asyncio.sleep(0.02)
