"""A tool whose answer is the agent's (`return_direct`), and what else its caller's side does with a tool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from models import ToldModel, calling, in_turn

from langgraph_nolag import LocalBroker, live_tools, remote_tools
from langgraph_nolag.client.body import encode

from .conftest import Join

GIVEN = {"messages": [HumanMessage("go")]}
LAST = AIMessage("the model was asked again")


@tool(return_direct=True)
def direct(n: int) -> str:
    """Says the last word."""
    return f"directly {n}"


@tool
def other(n: int) -> str:
    """Is told to the model."""
    return f"other {n}"


def asking(tools: Sequence[BaseTool], *calls: str, **options: Any) -> Any:
    model = ToldModel(reply=in_turn(calling(*((name, {"n": n}) for n, name in enumerate(calls))), LAST))
    return create_agent(model, tools, **options)


CALLS = (["direct"], ["direct", "direct"], ["direct", "other"], ["other"])


@pytest.mark.parametrize("calls", CALLS)
async def test_an_agent_ends_as_with_the_tool_here(broker: LocalBroker, agent: Join, invoke: Callable[..., Any], calls: list[str]) -> None:
    expected = [message.content for message in (await invoke(asking([direct, other], *calls), GIVEN))["messages"]]
    assert (expected[-1] == LAST.content) == ("other" in calls)
    server = await agent("server")
    async with server.tools.serve([direct, other]):
        proxies = await asyncio.to_thread(remote_tools, broker.room("desk"))
        live = {"middleware": [live_tools(broker.room("desk"))]}
        for each in (asking(proxies, *calls), asking([], *calls, **live), asking([other], *calls, **live)):
            result = await invoke(each, GIVEN)
            assert [message.content for message in result["messages"]] == expected


async def test_what_a_person_says_next_is_the_models(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server, config = await agent("server"), {"configurable": {"thread_id": "t"}}
    async with server.tools.serve([direct]):
        model = asking([], "direct", middleware=[live_tools(broker.room("desk"))], checkpointer=InMemorySaver())
        await invoke(model, GIVEN, config)
        result = await invoke(model, {"messages": [HumanMessage("and then?")]}, config)
    assert [message.content for message in result["messages"]] == ["go", "", "directly 0", "and then?", LAST.content]


async def test_an_agents_own_tool_of_that_name_is_its_own(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server = await agent("server")
    async with server.tools.serve([direct.model_copy(update={"name": "other"})]):
        result = await invoke(asking([other], "other", middleware=[live_tools(broker.room("desk"))]), GIVEN)
    assert [message.content for message in result["messages"]] == ["go", "", "other 0", LAST.content]


async def test_what_its_callers_side_needs_is_told(agent: Join, caplog: pytest.LogCaptureFixture) -> None:
    room = await agent("server")
    told = {"tags": ["slow"], "metadata": {"owner": "ana"}, "extras": {"defer_loading": True}}
    full = direct.model_copy(update={"name": "full", **told})
    odd = direct.model_copy(update={"name": "odd", **told, "metadata": {"lock": asyncio.Lock()}})
    async with room.tools.serve([full, odd, other]):
        found = {each.name: each for each in await room.tools.list()}
    assert found["full"].return_direct
    assert {what: getattr(found["full"], what) for what in told} == told
    assert (found["odd"].tags, found["odd"].metadata) == (["slow"], None)
    assert "metadata of tool 'odd' (dict) stays in this process: asyncio.locks.Lock has no plain form" in caplog.text
    plain = found["other"]
    assert (plain.return_direct, plain.tags, plain.metadata, plain.extras) == (False, None, None, None)
    assert set(ToolNode(list(found.values())).tools_by_name) == {"full", "odd", "other"}


async def test_descriptions_of_others_are_read(agent: Join, caplog: pytest.LogCaptureFixture) -> None:
    """Of a server before this was told; and what is told wrongly hides no other tool."""
    room = await agent("stranger")
    specs = {"old": encode({"description": "as before"}), "wrong": encode({"tags": 5}), "many": encode({"max_attempts": [3]})}
    offer = room.link.serve(kind="tool", types=list(specs), specs=specs, on_task=lambda task: None)
    await asyncio.wrap_future(offer.ready)
    (old,) = await room.tools.list()
    assert (old.name, old.return_direct, old.tags, old.extras) == ("old", False, None, None)
    assert all(name in caplog.text for name in ("wrong", "many"))
    await asyncio.wrap_future(offer.close())
