"""What a remote tool says while it runs: to its caller, and on the streams of the caller's graph."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import served
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from models import ToldModel, calling, in_turn

from langgraph_nolag import LocalBroker, remote_tools, tool_progress
from langgraph_nolag.graph.errors import NotSupported

from .conftest import Join

CALLS = [("copy", {"pages": 2}), ("read_aloud", {"text": "one two"}), ("write_down", {"text": "x"}), ("multiply", {"a": 3})]


def agent_with(tools: list[BaseTool]) -> Any:
    return create_agent(ToldModel(reply=in_turn(calling(*CALLS), AIMessage("done"))), tools)


def by_call(chunks: list[Any]) -> dict[str, list[Any]]:
    """The `tools` stream, call by call: the calls run side by side."""
    found: dict[str, list[Any]] = {}
    for mode, chunk in chunks:
        if mode == "tools":
            shown = chunk.get("delta") if chunk["event"] == "tool-output-delta" else getattr(chunk.get("output"), "content", None)
            found.setdefault(chunk["tool_call_id"], []).append((chunk["event"], shown))
    return found


async def test_a_callers_progress(agent: Join) -> None:
    server, caller = await agent("server"), await agent("caller")
    seen: list[Any] = []
    async with server.tools.serve([served.copy, served.read_aloud]):
        assert await caller.tools.invoke("copy", {"pages": 3}, on_progress=seen.append) == "3 pages"
        assert seen == [{"page": 1}, {"page": 2}, {"page": 3}]
        seen.clear()
        assert await caller.tools.invoke("read_aloud", {"text": "a b"}, on_progress=seen.append) == "done"
    assert seen == [{"voice": "soft"}, "a", "b", {"voice": "off"}]


async def test_the_streams_of_the_callers_graph(broker: LocalBroker, agent: Join, stream: Callable[..., Any]) -> None:
    """Those of tools written for LangGraph are what they would be had the tools run here."""
    written = [served.read_aloud, served.write_down, served.multiply]
    server = await agent("server")
    async with server.tools.serve([served.copy, *written]):
        remote = await asyncio.to_thread(remote_tools, broker.room("desk"))
        given = {"messages": [HumanMessage("go")]}
        there = await stream(agent_with(remote), given, ["custom", "tools"])
        local = agent_with([served.copy, *written])  # one of its tools is async only
        here = [chunk async for chunk in local.astream(given, stream_mode=["custom", "tools"])]
    customs = [chunk for mode, chunk in there if mode == "custom"]
    assert [chunk for chunk in customs if "page" in chunk] == [{"page": 1}, {"page": 2}]
    assert [chunk for chunk in customs if "voice" in chunk] == [{"voice": "soft"}, {"voice": "off"}]
    assert {"wrote": "x"} in customs
    theirs, ours = by_call(there), by_call(here)
    pages = [("tool-output-delta", {"page": number}) for number in (1, 2)]
    assert theirs.pop("copy-0") == [("tool-started", None), *pages, ("tool-finished", "2 pages")]
    assert ours.pop("copy-0") == [("tool-started", None), ("tool-finished", "2 pages")]
    assert theirs == ours
    assert [shown for event, shown in theirs["read_aloud-1"] if event == "tool-output-delta"] == ["one", "two"]


async def test_a_tool_that_wants_its_callers_state_is_refused(agent: Join) -> None:
    from typing import Annotated

    from langgraph.prebuilt import InjectedState

    def look(state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Look around."""
        return ""

    look.__annotations__["state"] = Annotated[dict, InjectedState]
    server = await agent("server")
    with pytest.raises(NotSupported, match=r"look.*state"):
        server.tools.serve([look])


def test_outside_of_a_call_it_says_nothing() -> None:
    tool_progress(1)
