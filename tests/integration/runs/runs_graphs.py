"""Graphs of the tests of runs; the workers import them by the same name. What ran is written to the file in the state."""

from __future__ import annotations

import asyncio
import operator
import time
from pathlib import Path
from typing import Annotated, Any

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, interrupt
from typing_extensions import TypedDict

from langgraph_nolag import gate


class State(TypedDict, total=False):
    file: str
    log: Annotated[list[str], operator.add]


def note(state: State, what: str) -> dict[str, Any]:
    with open(state["file"], "a") as file:
        file.write(what + "\n")
    return {"log": [what]}


def wait_for(state: State, suffix: str) -> None:
    """Until the test says so, for half a minute at most."""
    flag, deadline = Path(state["file"]).with_suffix(suffix), time.monotonic() + 30
    while not flag.exists():
        assert time.monotonic() < deadline, f"no {flag}"
        time.sleep(0.005)


def first(state: State) -> dict[str, Any]:
    get_stream_writer()("begun")
    return note(state, "first")


def long(state: State) -> dict[str, Any]:
    noted = note(state, "long")
    get_stream_writer()("waiting")
    wait_for(state, ".go")
    return noted


async def tidy(state: State) -> dict[str, Any]:
    noted, flag = note(state, "tidy"), Path(state["file"]).with_suffix(".go")
    try:
        while not flag.exists():
            await asyncio.sleep(0.005)
    finally:
        await asyncio.sleep(0.2)  # so that the run's end is known before
        note(state, "tidied")
    return noted


def last(state: State) -> dict[str, Any]:
    return note(state, "last")


def chain(*nodes: Any) -> Any:
    builder = StateGraph(State)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0].__name__)
    builder.add_edge(nodes[-1].__name__, END)
    return builder.compile()


def ask_a(state: State) -> dict[str, Any]:
    answer = interrupt("a?")
    noted = note(state, f"a={answer}")
    wait_for(state, ".go")
    return noted


def ask_b(state: State) -> dict[str, Any]:
    answer = interrupt("b?")
    return note(state, f"b={answer}")


def asking() -> Any:
    builder = StateGraph(State)
    for node in (ask_a, ask_b):
        builder.add_node(node)
        builder.add_edge(START, node.__name__)
    builder.add_node(last)
    builder.add_edge(["ask_a", "ask_b"], "last")
    builder.add_edge("last", END)
    return builder.compile()


def beside() -> Any:
    builder = StateGraph(State)
    for node in (long, ask_b):
        builder.add_node(node)
        builder.add_edge(START, node.__name__)
    return builder.compile()


asks_first = chain(ask_b, long)


def around() -> Any:
    builder = StateGraph(State)
    builder.add_node("inside", asks_first)
    builder.add_edge(START, "inside")
    return builder.compile()


def calls(state: State) -> dict[str, Any]:
    return {"log": asks_first.invoke({"file": state["file"]})["log"]}


def insists(state: State) -> dict[str, Any]:
    """Breaks once, with its answer taken."""
    noted, flag = note(state, f"insists={interrupt('sure?')}"), Path(state["file"]).with_suffix(".broke")
    if not flag.exists():
        flag.touch()
        raise ConnectionError("try again")
    wait_for(state, ".go")
    return noted


def insisting() -> Any:
    builder = StateGraph(State)
    builder.add_node(insists, retry_policy=RetryPolicy(initial_interval=0.01))
    builder.add_edge(START, "insists")
    return builder.compile()


def publish(state: State) -> dict[str, Any]:
    decision = gate("publish", {"title": "Tea"})
    return note(state, f"publish={decision.type}")


def publish_slowly(state: State) -> dict[str, Any]:
    noted = publish(state)
    wait_for(state, ".go")
    return noted


def publish_when_told(state: State) -> dict[str, Any]:
    note(state, "asking")
    wait_for(state, ".go")
    return publish(state)


def failing(state: State) -> dict[str, Any]:
    raise ValueError("the graph says no")


GRAPHS = {
    "chain": chain(first, long, last),
    "asking": asking(),
    "beside": beside(),
    "around": around(),
    "calling": chain(calls),
    "insisting": insisting(),
    "gated": chain(first, publish, last),
    "gated slowly": chain(first, publish_slowly, last),
    "gated when told": chain(publish_when_told),
    "failing": chain(failing),
    "tidy": chain(tidy),
}
