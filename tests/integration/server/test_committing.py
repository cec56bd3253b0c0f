from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nolag_broker.core.turn import Turn

Start = Callable[..., Any]


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
    one = asyncio.create_task(client.call("blackboard.set", key="one", body=b"1"))
    while not happened:
        await asyncio.sleep(0.001)
    two = asyncio.create_task(client.call("blackboard.set", key="two", body=b"2"))
    while not node._changed:
        await asyncio.sleep(0.001)
    assert happened == ["commit"]
    first.set()
    assert (await one)["revision"] == (await two)["revision"] == 1
    assert happened == ["commit", "commit", "say", "say"]
