"""Tools of the room in graphs and agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode

from langgraph_nolag import LocalBroker, NoLagSaver, ToolFailed, ToolNotFound, remote_tools
from langgraph_nolag.nodes import tools_node

from .conftest import DyingSaver

Join = Callable[..., Any]
calls: list[Any] = []


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    calls.append((a, b))
    return a + b


@tool
def divide(a: int, b: int) -> float:
    """Divide two numbers."""
    calls.append((a, b))
    return a / b


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.metadata = {"bound": [each.name for each in tools]}
        return self


def asking(*wanted: tuple[str, dict[str, Any]]) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call-{place}"} for place, (name, args) in enumerate(wanted)])


def graph_of(node: Any, saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=saver)


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def call(graph: Any, given: Any, config: Any = None) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(graph.invoke, given, config or thread())
        return await graph.ainvoke(given, config or thread())

    return call


async def test_in_an_agent(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server = await agent("calculator")
    async with server.tools.serve([add]):
        found = await asyncio.to_thread(remote_tools, broker.room("desk"))
        model = Model(messages=iter([asking(("add", {"a": 2, "b": 3})), AIMessage("five")]))
        result = await invoke(create_agent(model, found), {"messages": [HumanMessage("2 + 3?")]})
    assert model.metadata == {"bound": ["add"]}
    assert [message.content for message in result["messages"]] == ["2 + 3?", "", "5", "five"]
    assert calls == [(2, 3)]


async def test_in_a_tool_node(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server = await agent("calculator")
    async with server.tools.serve([add, divide]):
        found = await asyncio.to_thread(remote_tools, broker.room("desk"))
        assert [each.name for each in found] == ["add", "divide"]
        assert found[0].args == {"a": {"title": "A", "type": "integer"}, "b": {"title": "B", "type": "integer"}}
        given = {"messages": [asking(("add", {"a": 1, "b": 1}), ("divide", {"a": 1, "b": 0}))]}
        *_, fine, failed = (await invoke(graph_of(ToolNode(found, handle_tool_errors=True), None), given))["messages"]
        assert (fine.content, fine.status) == ("2", "success")
        assert failed.status == "error"
        assert "ZeroDivisionError" in failed.content
        assert (failed.artifact["code"], failed.artifact["error_type"]) == ("tool_failed", "ZeroDivisionError")
        raising = await asyncio.to_thread(remote_tools, broker.room("desk"), handle_tool_error=False)
        with pytest.raises(ToolFailed, match="division by zero") as caught:
            await invoke(graph_of(ToolNode(raising, handle_tool_errors=False), None), given)
        assert caught.value.error_type == "ZeroDivisionError"
    with pytest.raises(ToolNotFound):
        await invoke(graph_of(ToolNode(raising, handle_tool_errors=False), None), given)


async def test_tools_are_found_when_the_node_runs(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    graph = graph_of(tools_node(broker.room("desk")), None)
    given = {"messages": [asking(("add", {"a": 1, "b": 2}))]}
    (_, answer) = (await invoke(graph, given))["messages"]
    assert answer.status == "error"
    server = await agent("calculator")
    async with server.tools.serve([add, divide]):
        (_, answer) = (await invoke(graph, given))["messages"]
        assert (answer.content, answer.tool_call_id) == ("3", "call-0")
        (_, answer) = (await invoke(graph, {"messages": [asking(("divide", {"a": 1, "b": 0}))]}))["messages"]
        assert (answer.status, "ZeroDivisionError" in answer.content) == ("error", True)
        with pytest.raises(ToolFailed):
            await invoke(
                graph_of(tools_node(broker.room("desk"), handle_tool_errors=False), None),
                {"messages": [asking(("divide", {"a": 1, "b": 0}))]},
            )


async def test_a_second_run_does_not_call_again(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    """Each of the node's calls is made once; the same call with the same arguments, asked for twice, is made twice."""
    server = await agent("calculator")
    async with server.tools.serve([add]):
        graph = graph_of(tools_node(broker.room("desk")), DyingSaver(broker.room("desk")))
        with pytest.raises(ConnectionError):
            await invoke(graph, {"messages": [asking(("add", {"a": 1, "b": 2}), ("add", {"a": 1, "b": 2}))]})
        result = await invoke(graph, None)
    assert [message.content for message in result["messages"] if isinstance(message, ToolMessage)] == ["3", "3"]
    assert calls == [(1, 2), (1, 2)]


async def test_a_call_that_failed_is_made_again(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    down = [True, True]

    @tool
    def fetch(url: str) -> str:
        """Fetch a page."""
        if down:
            down.pop()
            raise ConnectionError("no route")
        return f"page {url}"

    server = await agent("browser")
    async with server.tools.serve([fetch]):
        graph = graph_of(tools_node(broker.room("desk"), handle_tool_errors=False), NoLagSaver(broker.room("desk")))
        with pytest.raises(ToolFailed):
            await invoke(graph, {"messages": [asking(("fetch", {"url": "x"}))]})
        with pytest.raises(ToolFailed):
            await invoke(graph, None)
        assert (await invoke(graph, None))["messages"][-1].content == "page x"
