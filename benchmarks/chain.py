"""A graph whose nodes do nothing, ten in a row: what is left is the cost of running them."""

from __future__ import annotations

from typing import TypedDict

from langgraph.graph import START, StateGraph

from langgraph_nolag import Worker

NODES = 10


class State(TypedDict):
    count: int


def step(state: State) -> State:
    return {"count": state["count"] + 1}


def build() -> StateGraph[State]:
    builder = StateGraph(State)
    names = [f"step{number}" for number in range(NODES)]
    for name, before in zip(names, [START, *names], strict=False):
        builder.add_node(name, step)
        builder.add_edge(before, name)
    return builder


graph = build().compile()
app = Worker(room="chain", concurrency=2)
app.graph(graph)
