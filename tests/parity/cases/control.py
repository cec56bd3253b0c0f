"""Edges, `Send`, `Command`, map-reduce, deferred nodes, loops."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from ..case import ASYNC, case
from .build import State, chain


def plus_one(state: State) -> State:
    return {"x": state["x"] + 1, "log": [f"plus one to {state['x']}"]}


def left(state: State) -> State:
    return {"log": ["left"]}


def right(state: State) -> State:
    return {"log": [("right", state.get("x"))]}


async def aright(state: State) -> State:
    await asyncio.sleep(0)
    return {"log": [("aright", state.get("x"))]}


def last(state: State) -> State:
    return {"log": [f"last of {len(state['log'])}"]}


# --- edges --------------------------------------------------------------------------------------------------


def which(state: State) -> str:
    return "left" if state["x"] > 1 else "right"


async def awhich(state: State) -> str:
    return which(state)


def both(state: State) -> list[str]:
    return ["left", "right"]


def until_five(state: State) -> str:
    return "plus_one" if state["x"] < 5 else END


def _branching(choose: Any, *targets: Any, name: str = "plus_one") -> Any:
    builder = StateGraph(State)
    builder.add_node(plus_one)
    for target in targets:
        builder.add_node(target)
    builder.add_edge(START, name)
    builder.add_conditional_edges(name, choose)
    return builder


branching = _branching(which, left, right).compile()
abranching = _branching(awhich, left, right).compile()
forking = _branching(both, left, right).compile()
looping = _branching(until_five).compile()
endless = _branching(lambda state: "plus_one").compile()

mapped_builder = StateGraph(State)
for _node in (plus_one, left, right):
    mapped_builder.add_node(_node)
mapped_builder.add_edge(START, "plus_one")
mapped_builder.add_conditional_edges("plus_one", lambda state: state["x"] > 1, {True: "left", False: "right"})
mapped = mapped_builder.compile()

entry_builder = StateGraph(State)
entry_builder.add_node(left)
entry_builder.add_node(right)
entry_builder.set_conditional_entry_point(which)
entering = entry_builder.compile()

joining_builder = StateGraph(State)
for _node in (left, right, last):
    joining_builder.add_node(_node)
joining_builder.add_edge(START, "left")
joining_builder.add_edge(START, "right")
joining_builder.add_edge(["left", "right"], "last")
joining = joining_builder.compile()

# --- Command ------------------------------------------------------------------------------------------------


def jump(state: State) -> Command[Literal["left", "right"]]:
    return Command(goto=["left", Send("right", {"x": 7})], update={"log": ["jump"]})


async def ajump(state: State) -> Command[Literal["left"]]:
    return Command(goto="left", update=[("log", ["ajump"]), ("x", 3)])


def jump_or_not(state: State) -> Any:
    return [Command(update={"log": ["one"]}), {"log": ["two"]}, Command(goto="left")]


def jump_nowhere(state: State) -> Command[Any]:
    return Command(goto="not there", update={"log": ["jumped"]})


def only_update(state: State) -> Command[Any]:
    return Command(update={"log": ["updated"]})


def _commanding(node: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node(node)
    builder.add_node(left)
    builder.add_node(right)
    builder.add_edge(START, node.__name__)
    return builder.compile()


commanding = _commanding(jump)
acommanding = _commanding(ajump)
listing = _commanding(jump_or_not)
lost = _commanding(jump_nowhere)
updating = _commanding(only_update)

# --- Send ---------------------------------------------------------------------------------------------------


def fan(state: State) -> State:
    return {"log": ["fan"]}


def part(state: dict[str, Any]) -> State:
    return {"log": [("part", state["i"])]}


async def apart(state: dict[str, Any]) -> State:
    await asyncio.sleep(0)
    return {"log": [("part", state["i"])]}


def total(state: State) -> State:
    return {"x": sum(entry[1] for entry in state["log"] if isinstance(entry, (list, tuple)))}


def _map_reduce(worker: Any, width: int) -> Any:
    builder = StateGraph(State)
    builder.add_node(fan)
    builder.add_node("part", worker)
    builder.add_node(total)
    builder.add_edge(START, "fan")
    builder.add_conditional_edges("fan", lambda state: [Send("part", {"i": i}) for i in range(width)], ["part"])
    builder.add_edge("part", "total")
    return builder.compile()


map_reduce = _map_reduce(part, 6)
amap_reduce = _map_reduce(apart, 6)
map_of_one = _map_reduce(part, 1)
map_of_none = _map_reduce(part, 0)


def send_from_start(state: State) -> list[Send]:
    return [Send("right", {"x": state["x"]})]


sending_builder = StateGraph(State)
sending_builder.add_node(right)
sending_builder.add_conditional_edges(START, send_from_start, ["right"])
sending_first = sending_builder.compile()

# --- defer --------------------------------------------------------------------------------------------------

deferring_builder = StateGraph(State)
deferring_builder.add_node(left)
deferring_builder.add_node(right)
deferring_builder.add_node("second", right)
deferring_builder.add_node("last", last, defer=True)
deferring_builder.add_edge(START, "left")
deferring_builder.add_edge("left", "last")
deferring_builder.add_edge("left", "right")
deferring_builder.add_edge("right", "second")
deferring_builder.add_edge("second", "last")
deferring = deferring_builder.compile()

sequence = chain(plus_one, left, aright).compile()


def fails_deep(state: State) -> State:
    raise GraphRecursionError("of its own")


recursion_error = chain(fails_deep).compile()

CASES = [
    case("conditional edge, one way", branching, {"x": 1}),
    case("conditional edge, the other way", branching, {"x": 0}),
    case("async condition", abranching, {"x": 1}, how=ASYNC),
    case("both branches", forking, {"x": 1}, ordered=False),
    case("mapped branches", mapped, {"x": 0}, {"x": 5}),
    case("conditional entry", entering, {"x": 5}),
    case("loop", looping, {"x": 1}),
    case("recursion limit", endless, {"x": 1}, config={"recursion_limit": 4}),
    case("recursion error of a node", recursion_error, {"x": 1}),
    case("join of two branches", joining, {"x": 1}, ordered=False),
    case("Command with goto and Send", commanding, {"x": 1}, ordered=False),
    case("Command from an async node", acommanding, {"x": 1}, how=ASYNC),
    case("several Commands and updates", listing, {"x": 1}),
    case("Command to a node that is not there", lost, {"x": 1}),
    case("Command that only updates", updating, {"x": 1}),
    case("Command as input", sequence, {"x": 1}, Command(goto="left"), Command(update={"x": 40}, goto="plus_one"), how=ASYNC),
    case("map and reduce", map_reduce, {"x": 1}, ordered=False),
    case("map and reduce with async nodes", amap_reduce, {"x": 1}, how=ASYNC, ordered=False),
    case("map of one", map_of_one, {"x": 1}),
    case("map of none", map_of_none, {"x": 1}),
    case("Send from the start", sending_first, {"x": 4}),
    case("deferred node", deferring, {"x": 1}, ordered=False),
    case("bounded concurrency", map_reduce, {"x": 1}, config={"max_concurrency": 2}, ordered=False),
]
