"""Graphs that keep their threads in a room."""

from __future__ import annotations

import dataclasses
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pydantic
import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt

from langgraph_nolag import LocalBroker, NoLagSaver, RunFenced, distribute


@dataclasses.dataclass
class Finding:
    text: str


class Plan(pydantic.BaseModel):
    steps: list[str]
    findings: list[Finding] = []


class Question(TypedDict, total=False):
    answer: str


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    plan: Plan
    found: Annotated[list[Finding], operator.add]
    answer: str


def graph_with(saver: Any) -> Any:
    inner = StateGraph(Question)
    inner.add_node("ask", lambda state: {"answer": interrupt("which?")})
    inner.add_edge(START, "ask")

    builder = StateGraph(State)
    builder.add_node("plan", lambda state: {"plan": Plan(steps=["a", "b", "c"]), "messages": [HumanMessage("go", id="m1")]})
    builder.add_node("research", lambda task: {"found": [Finding(task["step"])]})
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda state: [Send("research", {"step": step}) for step in state["plan"].steps])
    builder.add_edge("research", "inner")
    builder.add_edge("inner", END)
    return builder.compile(checkpointer=saver)


WANTED: dict[str, Any] = {
    "plan": Plan(steps=["a", "b", "c"]),
    "messages": [HumanMessage("go", id="m1")],
    "found": [Finding("a"), Finding("b"), Finding("c")],
    "answer": "this",
}


def test_sync_graph_resumed_by_another_saver(broker: LocalBroker) -> None:
    config: Any = {"configurable": {"thread_id": "s"}}
    waiting = graph_with(NoLagSaver(broker.room("graphs"))).invoke({}, config, durability="sync")
    assert [each.value for each in waiting["__interrupt__"]] == ["which?"]
    graph = graph_with(NoLagSaver(broker.room("graphs")))
    assert graph.get_state(config).next == ("inner",)
    assert graph.invoke(Command(resume="this"), config) == WANTED
    history = list(graph.get_state_history(config))
    assert [each.metadata["step"] for each in history] == sorted((each.metadata["step"] for each in history), reverse=True)
    fork = graph.update_state(history[1].config, {"answer": "other"}, as_node="inner")
    assert graph.get_state(fork).values["answer"] == "other"


async def test_async_graph(broker: LocalBroker) -> None:
    config: Any = {"configurable": {"thread_id": "a"}}
    graph = graph_with(NoLagSaver(broker.room("graphs")))
    await graph.ainvoke({}, config)
    (waiting,) = (await graph.aget_state(config, subgraphs=True)).interrupts
    assert await graph.ainvoke(Command(resume={waiting.id: "this"}), config) == WANTED
    assert (await graph.aget_state(config)).next == ()


def test_a_graph_that_leaves_nothing_to_workers_has_the_lease_of_its_threads(broker: LocalBroker) -> None:
    """Of two processes on one thread, the one that invoked it last has it, although every node runs where it was invoked."""
    started, go_on = threading.Event(), threading.Event()

    def plan(state: Question) -> Question:
        started.set()
        assert state["answer"] != "slow" or go_on.wait(20)
        return {"answer": state["answer"] + "!"}

    def compiled() -> Any:
        builder = StateGraph(Question)
        builder.add_node("plan", plan)
        builder.add_edge(START, "plan")
        return distribute(builder.compile(checkpointer=NoLagSaver(broker.room("local"))), broker.room("local"), local=["plan"])

    config: Any = {"configurable": {"thread_id": "t"}}
    with ThreadPoolExecutor() as pool:
        older = pool.submit(compiled().invoke, {"answer": "slow"}, config, durability="sync")
        assert started.wait(20)
        newer = compiled()
        assert newer.invoke({"answer": "quick"}, config, durability="sync") == {"answer": "quick!"}
        go_on.set()
        with pytest.raises(RunFenced):
            older.result(20)
    assert newer.get_state(config).values == {"answer": "quick!"}
