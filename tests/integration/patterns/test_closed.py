"""What was closed stays closed: nothing of it comes back later, and no place is kept for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from langgraph_nolag import BadRequest, LocalBroker, connect
from langgraph_nolag.client import standing
from langgraph_nolag.testing import eventually
from nolag_broker.core.limits import Limits

AGAIN = 0.05  # seconds


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that refuses is asked again soon, and the first refusal is said."""
    monkeypatch.setattr(standing, "ASK_AGAIN", AGAIN)
    monkeypatch.setattr(standing, "REFUSALS", 1)


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:  # what is stored plays no part
        yield broker


async def asked_again() -> None:
    await asyncio.sleep(4 * AGAIN)


async def end_of_log(room: Any) -> int:
    seq: int = (await room.link.acall("room.info")).seq
    return seq


async def test_an_offer_that_was_refused_and_closed(join: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("nolag_broker.core.tasks.serving.MAX_OFFERS", 1)
    worker, desk = await join("worker"), await join("desk")
    first = worker.link.serve(types=["other"], on_task=lambda task: None)
    refused = worker.link.serve(types=["draft"], on_task=lambda task: None)
    await eventually(lambda: "task.serve in room demo waits" in caplog.text)
    refused.close()
    first.close()  # there is a place now
    await asked_again()
    await desk.handoff.dispatch("draft")
    before = await end_of_log(desk)
    await asked_again()
    assert await end_of_log(desk) == before, "it waits, and is not handed out and back"


async def test_a_serving_that_was_started_twice_and_closed(join: Any) -> None:
    worker, desk = await join("worker"), await join("desk")
    serving = worker.handoff.serve(lambda task: "served", types=["draft"])
    await serving.start()
    with pytest.raises(BadRequest, match="started already"):
        await serving.start()
    assert await (await desk.handoff.dispatch("draft")).result(10) == "served"
    await serving.close()
    task = await desk.handoff.dispatch("draft")
    before = await end_of_log(desk)
    await asked_again()
    assert await end_of_log(desk) == before
    async with serving:
        assert await task.result(10) == "served"


async def test_a_task_for_an_offer_that_nobody_knows_comes_once(join: Any) -> None:
    """However it came to stand there."""
    worker, desk = await join("worker"), await join("desk")
    await worker.link.acall("task.serve", offer=99, types=["draft"], slots=1)
    task = await desk.handoff.dispatch("draft")
    await eventually(lambda: _is(desk, task.id, "waiting"))
    before = await end_of_log(desk)
    await asked_again()
    assert await end_of_log(desk) == before


async def _is(room: Any, task: str, state: str) -> bool:
    return bool((await room.link.acall("task.get", task=task))["task"]["state"] == state)


async def test_an_offer_that_drains_over_a_reconnect_takes_nothing_new(broker: LocalBroker, stack: Any, proxy: Any, join: Any) -> None:
    desk = await join("desk")
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("worker"), actor="worker"))
    worker = await client.join("demo")
    held: list[Any] = []
    offer = worker.link.serve(types=["draft"], slots=2, on_task=held.append)
    for _ in range(2):
        await desk.handoff.dispatch("draft")
    await eventually(lambda: len(held) == 2)
    idle = offer.close()
    await worker.observe.emit("closed")
    proxy.cut()
    await eventually(lambda: proxy.connections == 2)
    await worker.observe.emit("settled")
    await desk.handoff.dispatch("draft")
    offer.complete(held[0], b"\xc0")  # a slot is free
    await eventually(lambda: len(offer.held) == 1)
    before = await end_of_log(desk)
    await asked_again()
    assert await end_of_log(desk) == before
    offer.complete(held[1], b"\xc0")
    await asyncio.wait_for(asyncio.wrap_future(idle), 10)


@pytest.mark.parametrize("cut", [False, True])
async def test_a_subscription_that_was_refused_and_closed(
    broker: LocalBroker, stack: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cut: bool
) -> None:
    monkeypatch.setattr("nolag_broker.server.log_ops.MAX_SUBSCRIPTIONS", 1)
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana"))
    room = await client.join("demo")
    first = room.link.subscribe("n", on_events=lambda events, through: None)
    refused = room.link.subscribe("n", on_events=lambda events, through: None)
    await eventually(lambda: "log.subscribe in room demo waits" in caplog.text)
    if cut:  # it is asked for under another number from then on
        proxy.cut()
        await eventually(lambda: proxy.connections == 2)
        await room.observe.emit("settled")
    refused.close()
    first.close()
    await asked_again()
    events: list[Any] = []
    room.link.subscribe("n", on_events=lambda found, through: events.extend(found))
    await room.observe.emit("n", 1)
    await eventually(lambda: events)


async def test_a_room_that_was_full_and_left(stack: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("nolag_broker.server.node.Limits", partial(Limits, members=1))
    broker = stack.enter_context(LocalBroker())
    ana, bo = [await stack.enter_async_context(connect(broker.url, token=broker.token(actor))) for actor in ("ana", "bo")]
    room = await ana.join("demo")
    link = bo._connection.link("demo", type(room.link)).hold()
    link.join()
    await eventually(lambda: "room.join in room demo waits" in caplog.text)
    link.close()
    await room.leave()
    await asked_again()
    assert (await link.acall("presence.list"))["members"] == []
