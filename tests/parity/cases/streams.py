"""Every streaming mode by itself, tokens, `astream_events`, tracers."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import MessagesState
from langgraph.graph.message import push_message

from ..case import ASYNC, MODES, SYNC, Events, Run, Traced, case
from .build import State, chain


def model() -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage("hello wide world", id="ai1")]))


def llm(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model().invoke(state["messages"])]}


async def allm(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await model().ainvoke(state["messages"], {"tags": ["mine"], "metadata": {"of": "the call"}})]}


async def astreams(state: MessagesState) -> dict[str, Any]:
    parts = [part async for part in model().astream(state["messages"])]
    return {"messages": [AIMessage("".join(str(part.content) for part in parts), id="ai1")]}


def silent_llm(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model().invoke(state["messages"], {"tags": ["nostream"]})]}


def says(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage("said without a model", id="ai2")]}


def pushes(state: MessagesState) -> dict[str, Any]:
    push_message(AIMessage("pushed", id="p1"))
    push_message(AIMessage("shown only", id="p2"), state_key=None)
    return {"messages": [AIMessage("returned", id="p3")]}


async def apushes(state: MessagesState) -> dict[str, Any]:
    push_message(AIMessage("pushed", id="p1"))
    return {"messages": [AIMessage("returned", id="p3")]}


def one(state: State) -> State:
    get_stream_writer()("one")
    return {"x": state["x"] + 1, "log": ["one"]}


def two(state: State) -> State:
    return {"log": ["two"]}


async def custom_events(state: State) -> State:
    await adispatch_custom_event("thought", {"a": (1, 2)})
    inner = RunnableLambda(lambda x: x + 1).with_config(run_name="adds", tags=["inner"])
    return {"x": await inner.ainvoke(state["x"]), "log": ["thought"]}


def sync_events(state: State) -> State:
    dispatch_custom_event("thought", "sync")
    inner = RunnableLambda(lambda x: x + 1).with_config(run_name="adds", tags=["inner"])
    return {"x": inner.invoke(state["x"]), "log": ["thought"]}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls_a_tool(state: State) -> State:
    return {"x": add.invoke({"a": state["x"], "b": 5}), "log": ["called"]}


def breaks_inside(state: State) -> State:
    def fails(x: int) -> int:
        raise ValueError("inside")

    RunnableLambda(fails).with_config(run_name="fails").invoke(1)
    return {}


steps = chain(one, ("sub", chain(one, two).compile()), two).compile()
tokens = chain(llm, schema=MessagesState).compile()
atokens = chain(allm, schema=MessagesState).compile()
astreamed = chain(astreams, schema=MessagesState).compile()
sub_tokens = chain(("sub", chain(llm, schema=MessagesState).compile()), schema=MessagesState).compile()
quiet = chain(silent_llm, schema=MessagesState).compile()
saying = chain(says, schema=MessagesState).compile()
pushing = chain(pushes, schema=MessagesState).compile()
apushing = chain(apushes, schema=MessagesState).compile()
sub_pushing = chain(("sub", chain(pushes, schema=MessagesState).compile()), schema=MessagesState).compile()
eventful = chain(custom_events).compile()
eventful_sync = chain(sync_events).compile()
using_a_tool = chain(calls_a_tool).compile()
breaking = chain(breaks_inside).compile()

HI = {"messages": [("user", "hi")]}

CASES = [
    *(case(f"mode {mode}", steps, {"x": 1}, modes=(mode,)) for mode in (*MODES, "debug")),
    *(case(f"mode {mode} without sub-graphs", steps, {"x": 1}, modes=(mode,), subgraphs=False) for mode in (*MODES, "debug")),
    case("one mode that is not in a list", steps, Run({"x": 1}, {"stream_mode": "values"})),
    case("output keys", steps, Run({"x": 1}, {"output_keys": ["x"]})),
    case("second version of stream parts", steps, Run({"x": 1}, {"version": "v2"})),
    case("durability async", steps, Run({"x": 1}, {"durability": "async"})),
    case("durability exit", steps, Run({"x": 1}, {"durability": "exit"})),
    case("tokens", tokens, HI),
    case("tokens of an async node", atokens, HI, how=ASYNC),
    case("tokens of a model that is streamed", astreamed, HI, how=ASYNC),
    case("tokens of a sub-graph", sub_tokens, HI),
    case("tokens of a sub-graph without sub-graphs", sub_tokens, HI, subgraphs=False),
    case("tokens without messages mode", tokens, HI, modes=("updates",)),
    case("a model that must not be streamed", quiet, HI),
    case("messages without a model", saying, HI),
    case("pushed messages", pushing, HI),
    case("pushed messages of an async node", apushing, HI, how=ASYNC),
    case("pushed messages of a sub-graph", sub_pushing, HI),
    case("pushed messages without messages mode", pushing, HI, modes=("updates",)),
    case("events of a chain", steps, Events({"x": 1}), how=ASYNC),
    case("events of a model", atokens, Events(HI), how=ASYNC),
    case("events of a sync model", tokens, Events(HI), how=ASYNC),
    case("custom events", eventful, Events({"x": 1}), how=ASYNC),
    case("events of a sub-graph", sub_tokens, Events(HI), how=ASYNC),
    case("events of a tool", using_a_tool, Events({"x": 1}), how=ASYNC),
    case("events of an error", breaking, Events({"x": 1}), how=ASYNC),
    case("runs of a chain", steps, Traced({"x": 1})),
    case("runs of a model", tokens, Traced(HI), config={"tags": ["T"], "metadata": {"m": 1}}),
    case("runs of an async model", atokens, Traced(HI), how=ASYNC),
    case("runs of inner runnables", eventful, Traced({"x": 1}), how=ASYNC),
    case("runs of inner sync runnables", eventful_sync, Traced({"x": 1}), how=SYNC),
    case("runs of a tool", using_a_tool, Traced({"x": 1})),
    case("runs of an error", breaking, Traced({"x": 1})),
]
