"""Graphs that are asked for what can't be had. Ordinary LangGraph, but for the gate; workers import them by the same name."""

from __future__ import annotations

import dataclasses
import operator
import os
import signal
import threading
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from langgraph_nolag import gate


class State(TypedDict, total=False):
    x: Any
    log: Annotated[list[Any], operator.add]


@dataclasses.dataclass
class OnlyHere:
    """The worker's version of this module does not have it: `misused_worker` takes it away."""

    n: int = 1


def graph_of(*nodes: Any, **options: Any) -> Any:
    """One node after the other; the graph has the name of the first."""
    builder = StateGraph(State)
    before = START
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    return builder.compile(name=nodes[0].__name__, **options)


def plus(state: State) -> Any:
    return {"x": state["x"] + 1}


def give(state: State) -> Any:
    """What the caller names: the worker has it, and it does not come back."""
    if state["x"] == "lock":
        return {"x": [1, {"key": threading.Lock()}]}
    if state["x"] == "local":
        return {"x": local_class()()}
    if state["x"] == "deep":
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        return {"x": deep}
    if state["x"] == "number":
        return 5
    if state["x"] == "question":
        return {"x": interrupt(threading.Lock())}
    if state["x"] == "large":
        return {"x": b"x" * 300_000}
    if state["x"] == "exit":
        raise SystemExit(3)
    return {"x": state["x"]}


async def agive(state: State) -> Any:
    return give(state)


def local_class() -> type:
    @dataclasses.dataclass
    class Local:
        n: int = 1

    return Local


def ask(state: State) -> Any:
    decision = gate("pay", {"eur": 5})
    return {"x": [decision.type, decision.args]}


def question(state: State) -> Any:
    return {"x": interrupt("?")}


def poison(state: State) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def left(state: State) -> Any:
    return {"log": ["left"]}


def right(state: State) -> Any:
    return {"log": ["right"]}


def parallel() -> Any:
    """Two nodes at a time."""
    builder = StateGraph(State)
    for node in (left, right):
        builder.add_node(node.__name__, node)
        builder.add_edge(START, node.__name__)
    return builder.compile(name="parallel")


plus_graph = graph_of(plus)
give_graph = graph_of(give)
agive_graph = graph_of(agive)
ask_graph = graph_of(ask)
question_graph = graph_of(question)
poison_graph = graph_of(poison)
