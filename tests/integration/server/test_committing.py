from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from nolag_broker.core.room import Room
from nolag_broker.core.turn import Turn
from nolag_broker.engine.base import StorageFailed
from nolag_broker.server.deciding import LEAST

Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def rows_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit comes that no test asked for."""
    monkeypatch.setattr("nolag_broker.server.behind.EVERY", 3600.0)


@pytest.mark.sources
async def test_what_a_commit_has_to_say_is_said_while_the_next_one_is_written(start: Start) -> None:
    broker = await start(engine="sqlite")
    client, node = await broker.member(), broker.broker._context.node
    first, happened, engine, say = asyncio.Event(), [], node.engine, node._speaker.say

    def commit(turns: Sequence[tuple[str, Turn]], commit: Any = engine.commit) -> Awaitable[Any]:
        happened.append("commit")
        begun = commit(turns)

        async def stored() -> Any:
            await first.wait()
            return await begun

        return stored()

    def said(hosted: Any, turn: Turn) -> None:
        happened.append("say")
        say(hosted, turn)

    engine.commit, node._speaker.say = commit, said
    engine.commit_at_once = lambda turns: None
    one = asyncio.create_task(client.call("blackboard.set", key="one", body=b"1"))
    while not happened:
        await asyncio.sleep(0.001)
    two = asyncio.create_task(client.call("blackboard.set", key="two", body=b"2"))
    while not node._commits._changed:
        await asyncio.sleep(0.001)
    assert happened == ["commit"]
    first.set()
    assert (await one)["revision"] == (await two)["revision"] == 1
    assert happened == ["commit", "commit", "say", "say"]


async def test_a_small_commit_is_made_at_once_and_said(start: Start) -> None:
    broker = await start(engine="sqlite")
    client, engine = await broker.member(), broker.broker._engine
    engine._pace.allows = lambda now: True
    at_once, made = engine.commit_at_once, []
    engine.commit_at_once = lambda turns: made.append(at_once(turns)) or made[-1]
    assert (await client.call("blackboard.set", key="one", body=b"1"))["revision"] == 1
    assert [None] in made
    await broker.restart()
    assert (await (await broker.member()).call("blackboard.get", key="one"))["entry"]["body"] == b"1"


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_program_may_have_its_tasks_begin_at_once(start: Start, engine: str) -> None:
    """As those of Python 3.12's factory do. A commit that did could be over before anybody knew that it had begun."""
    loop, made = asyncio.get_running_loop(), []

    def plain(loop: Any, work: Any, **options: Any) -> Any:
        return asyncio.Task(work, loop=loop, **options)

    task: Callable[..., Any] = getattr(asyncio, "eager_task_factory", plain)

    def factory(loop: Any, work: Any, **options: Any) -> Any:
        made.append(work.__qualname__)
        return task(loop, work, **options)

    loop.set_task_factory(factory)
    try:
        broker = await start(engine=engine)
        client = await broker.member()
        for number in range(5):
            assert (await client.call("blackboard.set", key=f"k{number}", body=b"v"))["revision"] == 1
    finally:
        loop.set_task_factory(None)
    assert made
    assert "Committer._commit" not in made


async def test_storage_that_fails_at_once_is_told_and_stops_the_broker(start: Start) -> None:
    broker = await start(engine="sqlite")
    client, engine = await broker.member(), broker.broker._engine

    def fails(turns: Sequence[tuple[str, Turn]]) -> None:
        raise StorageFailed("no space left")

    engine.commit_at_once = fails
    err = await client.refused("blackboard.set", key="k", body=b"v")
    assert (err["code"], err["maybe_applied"]) == ("storage_failed", True)
    assert str(await asyncio.wait_for(broker.broker.failed(), 10)) == "no space left"


async def test_a_part_of_what_waits_is_stored_and_said_before_the_rest_is_decided(start: Start) -> None:
    """Whoever gets something to do by it works on that meanwhile."""
    broker = await start(engine="sqlite")
    client, engine = await broker.member(), broker.broker._engine
    engine._pace.allows = lambda now: True
    at_once, parts = engine.commit_at_once, []

    def commit_at_once(turns: Sequence[tuple[str, Turn]]) -> Any:
        parts.append(len(turns[0][1].events))
        return at_once(turns)

    engine.commit_at_once = commit_at_once
    frames, answers = zip(*(client.request("event.emit", type="a.b") for _ in range(300)), strict=True)
    await client.send(list(frames))
    sequences = [(await answer)["seq"] for answer in answers]
    assert sequences == sorted(sequences)
    assert parts[0] == 150
    assert min(parts[:-1]) >= LEAST
    assert sum(parts) == 300


async def test_what_is_stored_is_said_though_the_next_commit_fails_at_once(start: Start) -> None:
    broker = await start(engine="sqlite")
    ana, ben = await broker.member("ana", "a"), await broker.member("ben", "b")
    node, engine = broker.broker._context.node, broker.broker._engine
    stored, real, made = asyncio.Event(), engine.commit, []

    def commit(turns: Sequence[tuple[str, Turn]]) -> Awaitable[Any]:
        begun = real(turns)

        async def later() -> Any:
            await stored.wait()
            return await begun

        return later()

    def at_once(turns: Sequence[tuple[str, Turn]]) -> None:
        made.append(turns)
        if len(made) > 1:
            raise StorageFailed("no space left")

    engine.commit, engine.commit_at_once = commit, at_once
    first = asyncio.create_task(ana.call("blackboard.set", "a", key="k", body=b"v"))
    while not made:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(ben.refused("blackboard.set", "b", key="k", body=b"v"))
    while not node._commits._changed:
        await asyncio.sleep(0.001)
    stored.set()
    assert (await first)["revision"] == 1
    assert (await second)["code"] == "storage_failed"


async def test_a_commit_that_outlasts_the_broker_is_no_failure(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.broker.STOP_WITHIN", 0.5)
    monkeypatch.setattr("nolag_broker.server.broker.CLOSE_TIMEOUT", 0.25)
    broker = await start(engine="sqlite")
    client, node, engine = await broker.member(), broker.broker._context.node, broker.broker._engine
    real, begun = engine.commit, asyncio.Event()

    def commit(turns: Sequence[tuple[str, Turn]]) -> Awaitable[Any]:
        committing = real(turns)

        async def later() -> Any:
            takes = 0.0 if begun.is_set() else 1.0
            begun.set()
            await asyncio.sleep(takes)
            return await committing

        return later()

    engine.commit, engine.commit_at_once = commit, lambda turns: None
    await client.send(client.request("blackboard.set", key="one", body=b"1")[0])
    await begun.wait()
    await client.send(client.request("blackboard.set", key="two", body=b"2")[0])
    while not node._commits._changed:
        await asyncio.sleep(0.001)
    await broker.broker.stop()
    await asyncio.sleep(1.0)
    assert broker.broker.failure is None


@pytest.mark.sources
async def test_a_defect_beyond_the_rooms_stops_the_broker(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than that nothing is ever decided again."""
    broker = await start()
    client = await broker.member()

    def breaks(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Room, "needs", breaks)
    monkeypatch.setattr(broker.broker._context.node, "broke", breaks)
    await client.send(client.request("blackboard.set", key="k", body=b"v")[0])
    assert isinstance(await asyncio.wait_for(broker.broker.failed(), 10), ZeroDivisionError)
