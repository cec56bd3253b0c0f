"""A worker that is refused when it comes back ends, and says why: a supervisor starts it again, or somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from langgraph_nolag import AccessDenied, Disconnected, LocalBroker, NotAuthorized, Worker, connect
from langgraph_nolag.patterns.handed import HandedTask


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:  # what is stored plays no part
        yield broker


async def work(task: HandedTask) -> Any:
    return task.payload


async def started(url: str, token: Any) -> asyncio.Task[None]:
    ready = asyncio.Event()
    worker = Worker(room="demo")
    worker.task("draft")(work)
    running = asyncio.create_task(worker.arun(url=url, token=token, on_ready=lambda line: ready.set()))
    async with asyncio.timeout(10):
        await ready.wait()
    return running


@pytest.mark.parametrize(
    ("room", "verbs"), [pytest.param("other", ["publish"], id="the room"), pytest.param("demo", ["subscribe"], id="its offers")]
)
async def test_a_worker_that_comes_back_with_narrower_grants(broker: LocalBroker, proxy: Any, room: str, verbs: list[str]) -> None:
    tokens = [broker.token("jack")]
    running = await started(proxy.url, lambda: tokens[-1])
    tokens.append(broker.token("jack", grants=[{"room": room, "verbs": verbs}]))
    proxy.cut()
    with pytest.raises(NotAuthorized):
        await asyncio.wait_for(running, 10)


async def test_a_worker_that_comes_back_with_the_same_grants_goes_on(broker: LocalBroker, proxy: Any, join: Any) -> None:
    desk = await join("desk")
    running = await started(proxy.url, broker.token("jack"))
    proxy.cut()
    assert await (await desk.handoff.dispatch("draft", 1)).result(10) == 1
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


async def test_a_worker_whose_fresh_token_has_narrower_grants(broker: LocalBroker, join: Any, stack: Any) -> None:
    """What it holds it finishes: here it is asked for by name, and gets nothing more."""
    desk, jack = await join("desk"), await join("jack")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(task: HandedTask) -> Any:
        begun.set()
        await go_on.wait()
        return task.payload

    await stack.enter_async_context(jack.handoff.serve(slow, types=["draft"]))
    held = await desk.handoff.dispatch("draft", 1)
    await begun.wait()
    narrower = broker.token("jack", grants=[{"room": jack.name, "verbs": ["subscribe"]}])
    await jack.link.connection.acall("auth.refresh", token=narrower)
    async with asyncio.timeout(10):
        assert isinstance(await jack.link.shut_out.wait(), NotAuthorized)
    waiting = await desk.handoff.dispatch("draft", 2)
    go_on.set()
    assert await held.result(10) == 1
    assert (await desk.handoff.get(waiting.id)).state == "waiting"


async def test_an_end_that_is_refused_with_a_fresh_token_is_a_failure_that_others_may_mend(
    broker: LocalBroker, join: Any, stack: Any
) -> None:
    """A large result is stored apart, which takes a grant of its own: the task must not stay this worker's for ever."""
    desk, jack, jill = await join("desk"), await join("jack"), await join("jill")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(task: HandedTask) -> Any:
        begun.set()
        await go_on.wait()
        return "x" * 100_000

    await stack.enter_async_context(jack.handoff.serve(slow, types=["draft"]))
    held = await desk.handoff.dispatch("draft", 1)
    await begun.wait()
    await stack.enter_async_context(jill.handoff.serve(work, types=["draft"]))
    narrower = broker.token("jack", grants=[{"room": jack.name, "verbs": ["subscribe"]}])
    await jack.link.connection.acall("auth.refresh", token=narrower)
    go_on.set()
    assert await held.result(10) == 1
    (error,) = (await desk.handoff.get(held.id)).errors
    assert error["error"]["type"] == "NotAuthorized"


async def test_a_worker_whose_fresh_token_does_not_cover_the_room(broker: LocalBroker, join: Any, stack: Any) -> None:
    """It has left: what it holds goes to others, and what it waits for ends."""
    desk, jack, jill = await join("desk"), await join("jack"), await join("jill")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(task: HandedTask) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await stack.enter_async_context(jack.handoff.serve(slow, types=["draft"]))
    held, his = await desk.handoff.dispatch("draft", 1), await jack.handoff.dispatch("other")
    await begun.wait()
    await stack.enter_async_context(jill.handoff.serve(work, types=["draft"]))
    elsewhere = broker.token("jack", grants=[{"room": "elsewhere"}])
    await jack.link.connection.acall("auth.refresh", token=elsewhere)
    async with asyncio.timeout(10):
        assert isinstance(await jack.link.shut_out.wait(), NotAuthorized)
        await ended.wait()
    assert await held.result(10) == 1
    with pytest.raises(NotAuthorized):
        await his.result(10)


async def test_a_worker_whose_token_is_revoked(broker: LocalBroker, stack: Any) -> None:
    running = await started(broker.url, broker.token("jack"))
    boss = await stack.enter_async_context(connect(broker.url, token=broker.token("boss", grants=[{"room": "**", "verbs": ["admin"]}])))
    await boss._connection.acall("token.revoke", actor="jack")
    with pytest.raises((Disconnected, AccessDenied)):
        await asyncio.wait_for(running, 10)
