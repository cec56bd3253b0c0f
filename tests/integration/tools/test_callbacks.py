"""LangChain's callbacks on the room's events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import served
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler, dispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from models import ToldModel, calling, in_turn

from langgraph_nolag import Disconnected, LocalBroker, ObserveCallbackHandler, Room, remote_tools
from langgraph_nolag.graph.callbacks import EVENTS
from langgraph_nolag.patterns.observe import as_event

from .conftest import Join


async def on_the_log(room: Room) -> list[Any]:
    answer = await room.link.acall("log.read", types="lang*.**")
    return [as_event(event) for event in answer["events"]]


def test_every_callback_is_known() -> None:
    """Those of the LangChain that is installed."""
    known = {name for name in dir(BaseCallbackHandler) if name.startswith("on_")}
    assert known - set(EVENTS) == set()


async def test_a_run_of_an_agent(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    room = await agent("reader")
    handler = ObserveCallbackHandler(broker.room("desk"))
    async with room.tools.serve([served.multiply, served.refuse]):
        tools = await asyncio.to_thread(remote_tools, broker.room("desk"))
        model = ToldModel(reply=in_turn(calling(("multiply", {"a": 3})), AIMessage("six")))
        await invoke(create_agent(model, tools, name="teller"), {"messages": [HumanMessage("go")]}, {"callbacks": [handler], "tags": ["x"]})
    await handler.aflush()
    events = await on_the_log(room)
    types = [event.type for event in events]
    assert types[0] == "langchain.chain.start"
    assert types[-1] == "langchain.chain.end"
    assert [each for each in types if "langchain.chain" not in each] == [
        *("langchain.chat_model.start", "langchain.llm.end", "langchain.tool.start", "langchain.tool.end"),
        *("langchain.chat_model.start", "langchain.llm.end"),
    ]
    first, last = events[0].body, events[-1].body
    assert (first["name"], first["tags"], first["run_id"]) == ("teller", ["x"], last["run_id"])
    assert "parent_run_id" not in first
    assert [message["content"] for message in last["outputs"]["messages"]] == ["go", "", "6", "six"]
    started = {event.body["run_id"] for event in events if event.type.endswith(".start")}
    assert all(event.body["parent_run_id"] in started for event in events[1:-1])
    (called,) = [event.body for event in events if event.type == "langchain.tool.start"]
    assert called["inputs"] == {"a": 3}
    assert handler.dropped == 0


async def test_errors_events_of_ones_own_and_what_is_large(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    room = await agent("reader")
    handler = ObserveCallbackHandler(broker.room("desk"))

    def work(text: str) -> str:
        dispatch_custom_event("halfway", {"at": object})
        raise KeyError(text)

    with pytest.raises(KeyError):
        await invoke(RunnableLambda(work), "x" * 100_000, {"callbacks": [handler]})
    await handler.aflush()
    begun, own, failed = await on_the_log(room)
    assert (begun.body["cut"], len(begun.body["inputs"])) == (True, 2000)
    assert (own.type, own.body["name"], own.body["data"]) == ("langchain.custom_event", "halfway", {"at": "<class 'object'>"})
    assert failed.type == "langchain.chain.error"
    assert failed.data["severity"] == "error"


async def test_questions_of_a_graph(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    room = await agent("reader")
    handler = ObserveCallbackHandler(broker.room("desk"))

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt({"sure": True}))]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"callbacks": [handler], "configurable": {"thread_id": "t"}}
    await invoke(graph, {"messages": [HumanMessage("go")]}, config)
    await invoke(graph, Command(resume="yes"), config)
    await handler.aflush()
    events = [event for event in await on_the_log(room) if event.type.startswith("langgraph.")]
    assert [event.type for event in events] == ["langgraph.interrupt", "langgraph.resume"]
    assert events[0].body["event"]["interrupts"][0]["value"] == {"sure": True}


async def test_tokens_if_wanted(broker: LocalBroker, agent: Join) -> None:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    room = await agent("reader")
    for tokens in (True, False):
        handler = ObserveCallbackHandler(broker.room("desk"), tokens=tokens)
        model = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
        spoken = [chunk.content async for chunk in model.astream("x", {"callbacks": [handler]})]
        await asyncio.to_thread(handler.flush)
        assert "".join(map(str, spoken)) == "one two"
        seen = [event.body["token"] for event in await on_the_log(room) if event.type == "langchain.llm.new_token"]
        assert "".join(seen) == "one two"


async def test_a_broker_that_is_gone_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with LocalBroker() as other:
        handler = ObserveCallbackHandler(other.room("desk"))
        await RunnableLambda(lambda text: text).ainvoke("x", {"callbacks": [handler]})
        await handler.aflush()
    assert await RunnableLambda(lambda text: text).ainvoke("y", {"callbacks": [handler]}) == "y"
    await handler.aflush(10)
    assert handler.dropped == 2
    assert "not on the log" in caplog.text


async def test_each_of_two_events_at_once_is_answered_for_itself(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = ObserveCallbackHandler(broker.room("desk"))
    sent: list[Future[Any]] = []

    def request(op: str, **fields: Any) -> Future[Any]:
        sent.append(Future())
        return sent[-1]

    class Meanwhile:
        """Once it is let go of the first time, another node's event comes."""

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None:
            if len(sent) == 1:
                handler.on_text("second")  # type: ignore[attr-defined]

    monkeypatch.setattr(handler._link, "request", request)
    monkeypatch.setattr(handler, "_lock", Meanwhile())
    handler.on_text("first")  # type: ignore[attr-defined]
    first, second = sent
    first.set_exception(Disconnected("away"))
    second.set_result(None)
    assert handler.dropped == 1


async def test_a_served_tool_is_invoked_and_a_served_function_called(agent: Join) -> None:
    room, heard = await agent("server"), []

    class Listener(BaseCallbackHandler):
        def on_tool_start(self, serialized: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            heard.append(serialized["name"])

    def double(a: int) -> int:
        """Twice as much."""
        return 2 * a

    watched = StructuredTool.from_function(double, name="watched", callbacks=[Listener()])
    async with room.tools.serve([watched, double]):
        assert await room.tools.invoke("double", {"a": "3"}) == await room.tools.invoke("watched", {"a": "3"}) == 6
    assert heard == ["watched"]
