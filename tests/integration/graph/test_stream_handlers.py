"""The streams `messages` and `tools` of graphs whose nodes are remote, beside those of the same graphs in process."""

import asyncio
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages, push_message
from langgraph.prebuilt import ToolNode, ToolRuntime

from langgraph_nolag import LocalBroker
from langgraph_nolag.testing import Loopback


@pytest.fixture
def loopback(broker: LocalBroker, request: pytest.FixtureRequest) -> Iterator[Loopback]:
    with Loopback(broker.room(request.node.name)) as loopback:
        yield loopback


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class Log(TypedDict):
    log: Annotated[list[Any], operator.add]


def model(*answers: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(answer, id=f"ai-{answer}") for answer in answers]))


def graph_of(node: Any, schema: Any = Chat) -> Any:
    return StateGraph(schema).add_node("node", node).add_edge(START, "node").compile()


def shown(part: Any) -> Any:
    """A part of a stream without what differs from run to run."""
    if isinstance(part, tuple):
        return tuple(shown(each) for each in part)
    if isinstance(part, (AIMessage, AIMessageChunk, HumanMessage, ToolMessage)):
        return type(part).__name__, part.content
    if isinstance(part, str):
        return part.partition(":")[0]
    if isinstance(part, dict) and "langgraph_node" in part:
        return part["langgraph_node"]
    if isinstance(part, dict) and "event" in part:
        return part["event"], part.get("tool_call_id"), part.get("delta"), shown(part.get("output"))
    return part


def both(make: Any, loopback: Loopback, given: Any = None, **options: Any) -> list[Any]:
    """The stream of the graph, the same in process and remote, and sync and async."""
    given = {"messages": [HumanMessage("hi", id="h")]} if given is None else given

    async def read(graph: Any) -> list[Any]:
        return [shown(part) async for part in graph.astream(given, **options)]

    expected = [shown(part) for part in make().stream(given, **options)]
    assert [shown(part) for part in loopback.distribute(make()).stream(given, **options)] == expected
    assert asyncio.run(read(loopback.distribute(make()))) == asyncio.run(read(make())) == expected
    return expected


def test_a_message_is_streamed_once(loopback: Loopback) -> None:
    """Token by token, and not again when the node returns it, whether the model gave it an id or not."""

    def make() -> Any:
        chat = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
        return graph_of(lambda state: {"messages": [chat.invoke(state["messages"]), HumanMessage("made here", id="m")]})

    parts = both(make, loopback, stream_mode="messages")
    assert [text for (_, text), _ in parts if text] == ["one", " ", "two", "made here"]


def test_pushed_messages(loopback: Loopback) -> None:
    def node(state: Chat) -> None:
        push_message(AIMessage("first", id="1"))
        push_message(AIMessage("not kept", id="2"), state_key=None)

    parts = both(lambda: graph_of(node), loopback, stream_mode=["messages", "values"])
    assert [part for mode, part in parts if mode == "messages"] == [(("AIMessage", "first"), "node"), (("AIMessage", "not kept"), "node")]
    assert [message.content for message in parts[-1][1]["messages"]] == ["hi", "first"]


@pytest.mark.parametrize("subgraphs", [True, False])
def test_what_a_graph_called_in_a_node_streams(loopback: Loopback, subgraphs: bool) -> None:
    """Its messages are the outer stream's only if that takes those of sub-graphs; a message that both had is streamed once."""

    def make() -> Any:
        chat = model("inner words")
        inner = graph_of(lambda state: {"messages": [HumanMessage("asked", id="q"), chat.invoke(state["messages"])]})

        def call(state: Chat) -> Any:
            said = [part[0].content for part in inner.stream(state, stream_mode="messages")]
            return {"messages": [AIMessage("|".join(said), id="outer"), HumanMessage("asked", id="q")]}

        return graph_of(call)

    both(make, loopback, stream_mode="messages", subgraphs=subgraphs)


def test_parts_of_a_tools_output(loopback: Loopback) -> None:
    @tool
    def count(to: int, runtime: ToolRuntime) -> str:
        """Count."""
        for number in range(to):
            runtime.emit_output_delta(number)
        return "counted"

    calls = [{"name": "count", "args": {"to": 2}, "id": "one", "type": "tool_call"}]
    given = {"messages": [AIMessage("", tool_calls=calls)]}
    parts = both(lambda: graph_of(ToolNode([count])), loopback, given, stream_mode="tools")
    assert [part[:3] for part in parts] == [
        ("tool-started", "one", None),
        ("tool-output-delta", "one", 0),
        ("tool-output-delta", "one", 1),
        ("tool-finished", "one", None),
    ]


def test_listeners_beside_the_streams_hear_all(loopback: Loopback) -> None:
    def make() -> Any:
        chat = model("a b")
        return graph_of(lambda state: {"messages": [chat.invoke(state["messages"])]})

    async def heard_of(graph: Any) -> list[Any]:
        options: Any = {"version": "v2", "stream_mode": ["messages", "values"]}
        heard = [(event["event"], event["name"]) async for event in graph.astream_events({"messages": []}, **options)]
        # What the graph streams goes through a queue of its own, in process too: only how much it is can be said.
        streamed = ("on_chain_stream", "LangGraph")
        return [[event for event in heard if event != streamed], heard.count(streamed)]

    remote, local = asyncio.run(heard_of(loopback.distribute(make()))), asyncio.run(heard_of(make()))
    assert remote == local
    assert ("on_chat_model_stream", "GenericFakeChatModel") in remote[0]
