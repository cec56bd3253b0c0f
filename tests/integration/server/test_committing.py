from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from nolag_broker.core.turn import Turn
from nolag_broker.engine.base import StorageFailed
from nolag_broker.server.deciding import LEAST

Start = Callable[..., Any]


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
