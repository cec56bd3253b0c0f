"""Pattern nodes in worker processes, and what happens when one is killed in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import node_graphs
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from langgraph_nolag import LocalBroker, NoLagSaver, await_decisions, distribute


@pytest.fixture
def broker() -> Any:
    with LocalBroker(lease=1.0, disconnect_grace=0.1) as broker:
        yield broker


async def test_every_pattern_remotely_and_a_worker_killed(broker: LocalBroker, agent: Callable[..., Any]) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    drafts: list[Any] = []
    counted: list[Any] = []

    async def write(task: Any) -> str:
        drafts.append(task.payload)
        begun.set()
        await go_on.wait()
        return f"On {task.payload['topic']}"

    @tool
    def count(text: str) -> int:
        """Count letters."""
        counted.append(text)
        return len(text)

    (first,) = broker.spawn_worker("node_graphs:app")
    await asyncio.to_thread(first.wait_ready)
    writer, editor = await agent("writer"), await agent("editor")
    await writer.blackboard.set("plan", "long")
    graph = distribute(node_graphs.graph, broker.room("desk"), checkpointer=NoLagSaver(broker.room("desk")))
    config: Any = {"configurable": {"thread_id": "t"}}
    asked = AIMessage("", tool_calls=[{"name": "count", "args": {"text": "tea"}, "id": "c1"}])
    async with writer.handoff.serve(write, types=["draft"]), writer.tools.serve([count]):
        running = asyncio.create_task(graph.ainvoke({"brief": {"topic": "tea"}, "messages": [asked]}, config, durability="sync"))
        await asyncio.wait_for(begun.wait(), 20)
        first.kill()  # it held the node that waits for the draft
        (second,) = broker.spawn_worker("node_graphs:app")
        await asyncio.to_thread(second.wait_ready)
        go_on.set()
        waiting = await asyncio.wait_for(running, 30)
        assert [each.value["name"] for each in waiting["__interrupt__"]] == ["publish"]
        (pending,) = await editor.approve.pending()
        await editor.approve.decide(pending.id, "edit", args={"text": "On TEA"})
        result = await graph.ainvoke(await await_decisions(graph, config, 10), config, durability="sync")
    assert (result["draft"], result["plan"], result["messages"][-1].content) == ("On tea", "long", "3")
    assert result["decision"]["args"] == {"text": "On TEA"}
    assert (drafts, counted) == ([{"topic": "tea"}], ["tea"])
    assert (await writer.blackboard.get("draft")).revision == 1
    events = (await writer.link.acall("log.read", types="newsroom.**"))["events"]
    assert len(events) == 1
    message = await asyncio.wait_for(anext(aiter(editor.inbox)), 10)
    assert message.body == "On tea"
    assert message.sender.startswith("worker-2")
