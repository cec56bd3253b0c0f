"""Graphs in graphs."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from ..case import ASYNC, Answers, BackTo, Events, Run, Traced, case
from ..ledger import noted
from .build import State, chain, single


def one(state: State) -> State:
    get_stream_writer()("from one")
    return {"log": ["one"]}


def ask(state: State) -> State:
    return {"log": [interrupt("sub?")]}


def last(state: State) -> State:
    return {"log": ["last"]}


def before(state: State) -> State:
    return {"log": ["before"]}


def after(state: State) -> State:
    return {"log": ["after"]}


async def aone(state: State) -> State:
    get_stream_writer()("from aone")
    return {"log": ["aone"]}


inner = chain(one, last).compile()
ainner = chain(aone, last).compile()
asking_inner = chain(one, ask, last).compile()
nested = chain(before, ("sub", inner), after).compile()
anested = chain(before, ("sub", ainner), after).compile()
asking = chain(("sub", asking_inner), after).compile()
deep = chain(("middle", chain(("sub", asking_inner), ("beside", one)).compile()), after).compile()
stopping = chain(("sub", chain(one, last).compile(interrupt_before=["last"])), after).compile()
two_of_them = chain(("first", asking_inner), ("second", asking_inner)).compile()

# --- another state --------------------------------------------------------------------------------------------


class Other(TypedDict):
    question: str
    notes: Annotated[list[str], operator.add]


def note(state: Other) -> dict[str, Any]:
    return {"notes": [state["question"] + "!"]}


other = chain(note, schema=Other).compile()


def call_other(state: State) -> State:
    return {"log": other.invoke({"question": "why", "notes": []})["notes"]}


async def acall_other(state: State) -> State:
    return {"log": (await other.ainvoke({"question": "why", "notes": []}))["notes"]}


def stream_other(state: State) -> State:
    return {"log": [sorted(chunk) for chunk in other.stream({"question": "why", "notes": []}, stream_mode="updates")]}


def call_asking(state: State) -> State:
    return {"log": asking_inner.invoke({"log": []})["log"]}


async def acall_asking(state: State) -> State:
    return {"log": (await asking_inner.ainvoke({"log": []}))["log"]}


calling = chain(call_other, after).compile()
acalling = chain(acall_other, after).compile()
streaming = chain(stream_other).compile()
called_asks = chain(call_asking).compile()
acalled_asks = chain(acall_asking).compile()

# --- memory of their own --------------------------------------------------------------------------------------


def count(state: State) -> State:
    return {"x": state.get("x", 0) + 1, "log": [state.get("x", 0)]}


counter = chain(count).compile(checkpointer=True)
forgetful = chain(count).compile(checkpointer=False)


def call_counter(state: State) -> State:
    return {"log": [counter.invoke({"log": []})["x"]]}


def call_forgetful(state: State) -> State:
    return {"log": [forgetful.invoke({"log": []})["x"]]}


remembering = chain(call_counter).compile()
forgetting = chain(call_forgetful).compile()
remembering_node = chain(("sub", chain(count).compile(checkpointer=True))).compile()

# --- called by what is tried again ----------------------------------------------------------------------------


def answer(state: State, config: RunnableConfig) -> State:
    """Another one each time, as a model's."""
    note = noted(config)
    note("asked")
    return {"x": len(note.lines), "log": [len(note.lines)]}


agent = chain(answer).compile()
memory = chain(answer).compile(checkpointer=True)


def _valid(result: dict[str, Any]) -> State:
    if result["x"] < 5:
        raise ConnectionError(f"{result['log']} is no good, try again")
    return {"log": result["log"]}


def validate(state: State) -> State:
    agent.invoke({"log": []})
    return _valid(agent.invoke({"log": []}))


async def avalidate(state: State) -> State:
    return _valid(await agent.ainvoke({"log": []}))


def validate_memory(state: State) -> State:
    return _valid(memory.invoke({"log": []}))


def valid_part(state: State, config: RunnableConfig) -> State:
    return _valid({"x": len(noted(config).lines), "log": state["log"]})


RETRIED = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=6, retry_on=ConnectionError)


@task(retry_policy=RETRIED)
def validated_task(x: int) -> Any:
    return _valid(agent.invoke({"log": [x]}))


@entrypoint()
def validating(x: int) -> Any:
    return validated_task(x).result()


validated = single(validate, retry_policy=RETRIED).compile()
avalidated = single(avalidate, retry_policy=RETRIED).compile()
validated_memory = single(validate_memory, retry_policy=RETRIED).compile()
validated_whole = single(chain(answer, valid_part).compile(), name="sub", retry_policy=RETRIED).compile()

# --- to the parent --------------------------------------------------------------------------------------------


def to_parent(state: State) -> Command[Any]:
    return Command(goto="other", update={"log": ["to parent"]}, graph=Command.PARENT)


def send_to_parent(state: State) -> Command[Any]:
    return Command(goto=[Send("other", {"x": 5}), Send("other", {"x": 6})], graph=Command.PARENT)


def other_node(state: State) -> State:
    return {"log": [f"other {state.get('x')}"]}


def _parent(child: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("child", chain(child).compile(), destinations=("other",))
    builder.add_node("other", other_node)
    builder.add_edge(START, "child")
    return builder.compile()


to_the_parent = _parent(to_parent)
sending_to_the_parent = _parent(send_to_parent)


def to_nowhere(state: State) -> Command[Any]:
    return Command(goto="other", graph=Command.PARENT)


no_parent = chain(to_nowhere).compile()

# --- fan-out of graphs ----------------------------------------------------------------------------------------


class Part(TypedDict, total=False):
    i: int
    log: Annotated[list[Any], operator.add]


def part_one(state: Part) -> Part:
    return {"log": [("part", state["i"])]}


def part_ask(state: Part) -> Part:
    return {"log": [interrupt(f"part {state['i']}?")]}


def _fan(*nodes: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("part", chain(*nodes, schema=Part).compile())
    builder.add_conditional_edges(START, lambda state: [Send("part", {"i": i}) for i in range(3)], ["part"])
    return builder.compile()


fanned = _fan(part_one)
fanned_asking = _fan(part_one, part_ask)


def breaks(state: State) -> State:
    raise ValueError("in a sub-graph")


breaking = chain(("sub", chain(one, breaks).compile()), after).compile()

CASES = [
    case("sub-graph", nested, {"x": 1}),
    case("sub-graph without its events", nested, {"x": 1}, subgraphs=False),
    case("async sub-graph", anested, {"x": 1}, how=ASYNC),
    case("sub-graph that asks", asking, {"x": 1}, Command(resume="R")),
    case("sub-graph in a sub-graph that asks", deep, {"x": 1}, Command(resume="R")),
    case("sub-graph with a breakpoint", stopping, {"x": 1}, None),
    case("the same sub-graph twice", two_of_them, {"x": 1}, Command(resume="1"), Command(resume="2")),
    case("a body that calls a graph", calling, {"x": 1}),
    case("a sub-graph that is listened to", asking, Traced({"x": 1}), Traced(Command(resume="R"))),
    case("a called graph that is listened to", called_asks, Traced({"x": 1}), Traced(Command(resume="R"))),
    case("a body that awaits a graph", acalling, {"x": 1}, how=ASYNC),
    case("a body that streams a graph", streaming, {"x": 1}),
    case("events of a body that awaits a graph", acalling, Events({"x": 1}), how=ASYNC),
    case("events of a body that streams a graph", streaming, Events({"x": 1}), how=ASYNC),
    case("a called graph that asks", called_asks, {"x": 1}, Command(resume="R")),
    case("an awaited graph that asks", acalled_asks, {"x": 1}, Command(resume="R"), how=ASYNC),
    case("a called graph that remembers", remembering, {"x": 1}, {"x": 1}, {"x": 1}),
    case("a called graph that forgets", forgetting, {"x": 1}, {"x": 1}),
    case("a sub-graph that remembers", remembering_node, {"x": 1}, {"x": 1}),
    case("Command to the parent", to_the_parent, {"x": 1}),
    case("Sends to the parent", sending_to_the_parent, {"x": 1}, ordered=False),
    case("Command to a parent that is not there", no_parent, {"x": 1}),
    case("fan-out of sub-graphs", fanned, {"x": 1}, ordered=False),
    case("fan-out of sub-graphs that ask", fanned_asking, {"x": 1}, Answers({f"part {i}?": i for i in range(3)}), ordered=False),
    case("error in a sub-graph", breaking, {"x": 1}),
    case("time travel with a sub-graph", nested, {"x": 1}, BackTo("sub"), None),
    case("time travel with a sub-graph that asks", asking, {"x": 1}, Command(resume="R"), BackTo("sub"), None, Command(resume="S")),
]

WHOLE = {"distribution": {"whole": ["sub"]}}
CASES += [
    case("whole sub-graph", nested, {"x": 1}, **WHOLE),
    case("whole sub-graph without its events", nested, {"x": 1}, subgraphs=False, **WHOLE),
    case("whole async sub-graph", anested, {"x": 1}, how=ASYNC, **WHOLE),
    case("whole sub-graph that asks", asking, {"x": 1}, Command(resume="R"), **WHOLE),
    case("whole sub-graph that is listened to", asking, Traced({"x": 1}), Traced(Command(resume="R")), **WHOLE),
    case("events of a whole sub-graph", anested, Events({"x": 1}), how=ASYNC, **WHOLE),
    case("whole sub-graph with a breakpoint", stopping, {"x": 1}, None, **WHOLE),
    case("whole sub-graph that remembers", remembering_node, {"x": 1}, {"x": 1}, **WHOLE),
    case("whole sub-graph without a saver", nested, {"x": 1}, saver=False, **WHOLE),
    case("whole sub-graph, stored at the end", asking, Run({"x": 1}, {"durability": "exit"}), Command(resume="R"), **WHOLE),
    case("whole sub-graph in a sub-graph", deep, {"x": 1}, Command(resume="R"), distribution={"whole": ["middle/sub"]}),
    case("whole sub-graph around a sub-graph", deep, {"x": 1}, Command(resume="R"), distribution={"whole": ["middle"]}),
    case(
        "whole sub-graphs, one after the other",
        two_of_them,
        {"x": 1},
        Command(resume="1"),
        Command(resume="1"),
        distribution={"whole": ["first", "second"]},
    ),
    case("whole sub-graph with a Command to the parent", to_the_parent, {"x": 1}, distribution={"whole": ["child"]}),
    case("whole sub-graph with Sends to the parent", sending_to_the_parent, {"x": 1}, distribution={"whole": ["child"]}, ordered=False),
    case("whole fan-out of sub-graphs", fanned, {"x": 1}, ordered=False, distribution={"whole": ["part"]}),
    case(
        "whole fan-out of sub-graphs that ask",
        fanned_asking,
        {"x": 1},
        Answers({f"part {i}?": i for i in range(3)}),
        ordered=False,
        distribution={"whole": ["part"]},
    ),
    case("error in a whole sub-graph", breaking, {"x": 1}, **WHOLE),
    case("whole sub-graph that may not go on", asking, {"x": 1}, config={"recursion_limit": 1}, **WHOLE),
    case("time travel with a whole sub-graph", nested, {"x": 1}, BackTo("sub"), None, **WHOLE),
    case(
        "time travel with a whole sub-graph that asks",
        asking,
        {"x": 1},
        Command(resume="R"),
        BackTo("sub"),
        None,
        Command(resume="S"),
        **WHOLE,
    ),
]

CASES += [
    case("a graph that is called again by another try", validated, {"x": 1}, ledger=True),
    case("a graph that is awaited again by another try", avalidated, {"x": 1}, how=ASYNC, ledger=True),
    case("a graph that remembers and is called again by another try", validated_memory, {"x": 1}, {"x": 1}, ledger=True),
    case("a graph that a task calls again by another try", validating, 1, ledger=True),
    case("a whole sub-graph that is tried again", validated_whole, {"x": 1}, ledger=True, **WHOLE),
    case("a sub-graph that is tried again", validated_whole, {"x": 1}, ledger=True),
]
