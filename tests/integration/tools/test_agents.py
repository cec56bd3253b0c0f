"""An agent with middleware over remote tools, its nodes in other processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import live_agent
import served
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_nolag import LocalBroker, ObserveCallbackHandler, distribute
from langgraph_nolag.testing import eventually

from .conftest import Join


def broken(why: str) -> str:
    """Always fails."""
    raise KeyError(why)


async def test_a_distributed_agent(broker: LocalBroker, agent: Join, stream: Callable[..., Any]) -> None:
    """Model, tools and middleware run on a worker, the tools of the room in this process, and what they say arrives here too."""
    (worker,) = broker.spawn_worker("live_agent:app")
    await asyncio.to_thread(worker.wait_ready)
    graph = distribute(live_agent.graph, broker.room("desk"), checkpointer=InMemorySaver())
    server = await agent("server")
    async with server.tools.serve([served.copy, served.read_aloud, broken]):
        given = {"messages": [HumanMessage("where spell copy read_aloud broken")]}
        handler = ObserveCallbackHandler(broker.room("desk"))
        config = {"configurable": {"thread_id": "t"}, "callbacks": [handler]}
        chunks = await stream(graph, given, ["custom", "tools", "values"], config, durability="sync")
    result = [chunk for mode, chunk in chunks if mode == "values"][-1]
    where, _, copied, read, failed = [message for message in result["messages"] if isinstance(message, ToolMessage)]
    assert int(where.content) == worker.pid != os.getpid()
    assert [message.content for message in (copied, read)] == ["2 pages", "done"]
    assert (failed.status, failed.artifact["error_type"]) == ("error", "KeyError")
    assert all(message.additional_kwargs == {"please": True} for message in (where, copied, read, failed))
    assert result["messages"][-1].content == "offered: broken, copy, read_aloud, spell, where"
    customs = [chunk for mode, chunk in chunks if mode == "custom"]
    assert [chunk for chunk in customs if "page" in chunk] == [{"page": 1}, {"page": 2}]
    assert [chunk for chunk in customs if "voice" in chunk] == [{"voice": "soft"}, {"voice": "off"}]
    said = [(chunk["tool_call_id"], chunk["delta"]) for mode, chunk in chunks if mode == "tools" and chunk["event"] == "tool-output-delta"]
    assert [delta for call, delta in said if call.startswith("read_aloud")] == ["one", "two"]
    assert [delta for call, delta in said if call.startswith("spell")] == ["t", "e", "a"]
    assert [delta for call, delta in said if call.startswith("copy")] == [{"page": 1}, {"page": 2}]

    await handler.aflush()
    events = (await server.link.acall("log.read", types="langchain.tool.start"))["events"]
    assert len(events) == 5  # told here, of tools that a worker called

    again = await graph.ainvoke({"messages": [HumanMessage("where copy")]}, config, durability="sync")  # the room's tools have left
    assert again["messages"][-1].content == "offered: spell, where"


async def test_a_worker_that_dies_while_its_tool_runs(broker: LocalBroker, agent: Join) -> None:
    """The next attempt at the node finds the call that was made."""
    paid: list[int] = []
    go_on = asyncio.Event()

    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        await go_on.wait()
        return f"paid {amount}"

    workers = broker.spawn_worker("live_agent:app", n=2)
    for worker in workers:
        await asyncio.to_thread(worker.wait_ready)
    graph = distribute(live_agent.graph, broker.room("desk"))
    server = await agent("server")

    async def claims() -> list[dict[str, Any]]:
        events = (await server.link.acall("log.read", types="task.claimed"))["events"]
        return [event for event in events if event["subject"].endswith("/tools")]

    async with server.tools.serve([pay]):
        running = asyncio.create_task(graph.ainvoke({"messages": [HumanMessage("pay")]}))
        await eventually(lambda: paid)
        (claim,) = await claims()
        next(worker for worker in workers if claim["data"]["actor"].startswith(f"{worker.actor}/")).kill()

        async def claimed_again() -> bool:
            return len(await claims()) == 2

        await eventually(claimed_again, timeout=20)
        go_on.set()
        result = await asyncio.wait_for(running, 20)
    assert [message.content for message in result["messages"] if isinstance(message, ToolMessage)] == ["paid 5"]
    assert paid == [5]
