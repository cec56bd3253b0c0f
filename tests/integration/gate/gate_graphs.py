"""Graphs with gates, and the worker that serves them: imported by the tests and by their worker processes."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, interrupt

from langgraph_nolag import Worker, gate


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    book: str  # a file in which payments are entered


def enter(state: State, line: str) -> None:
    with Path(state["book"]).open("a") as book:
        book.write(line + "\n")


def prepare(state: State) -> State:
    enter(state, "prepared")
    return {"log": ["prepared"]}


def pay(state: State) -> State:
    decision = gate("pay", {"amount": 100}, quorum=1, expires=3600)
    enter(state, f"paid {decision.args}")
    return {"log": [[decision.approved, decision.by, os.getpid()]]}


def pay_a_busy_bank(state: State, runtime: Runtime[Any]) -> State:
    decision = gate("pay", {"amount": 100})
    if runtime.execution_info is not None and runtime.execution_info.node_attempt == 1:
        raise ConnectionError("busy")
    enter(state, f"paid {decision.args}")
    return {"log": [decision.type]}


def pay_if_open(state: State) -> State:
    if Path(state["book"]).with_suffix(".closed").exists():
        raise ConnectionError("closed")
    decision = gate("pay", {"amount": 100}, approvers=["boss"])
    return {"log": [decision.type, decision.by, interrupt("name?")]}


async def board(state: State) -> State:
    first = gate("sign", {"page": 1}, quorum=2)
    name = interrupt("name?")
    second = gate("sign", {"page": 2})
    return {"log": [[first.approved, name, second.type]]}


def pay_in_a_task(state: State) -> State:
    return {"log": task(pay)(state).result()["log"]}


def build(*nodes: Any) -> Any:
    builder = StateGraph(State)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0].__name__)
    return builder.compile()


paying = build(prepare, pay)
signing = build(board)
paying_if_open = build(pay_if_open)
paying_in_a_task = build(prepare, pay_in_a_task)
busy = StateGraph(State)
busy.add_node(pay_a_busy_bank, retry_policy=RetryPolicy(initial_interval=0.01))
busy.add_edge(START, "pay_a_busy_bank")
paying_a_busy_bank = busy.compile()
outer = StateGraph(State)
outer.add_node("inner", build(pay))
outer.add_edge(START, "inner")
nested = outer.compile()

app = Worker(room="bank", concurrency=4, drain_timeout=2.0)
app.graph(paying, name="paying")
app.graph(signing, name="signing")
app.graph(paying_if_open, name="paying_if_open")
app.graph(paying_in_a_task, name="paying_in_a_task")
app.graph(paying_a_busy_bank, name="paying_a_busy_bank")
app.graph(nested, name="nested")
