"""Graphs made inside functions, over a real broker, with this process as the worker.

Annotations are not texts here: LangGraph would not find local classes by name.
"""

import asyncio
import gc
import operator
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_nolag import LocalBroker
from langgraph_nolag.errors import NotEncodable
from langgraph_nolag.graph.context import current
from langgraph_nolag.graph.distribute import DistributedGraph, distribute
from langgraph_nolag.graph.errors import NotImportable
from langgraph_nolag.testing import Loopback, eventually
from langgraph_nolag.testing.loopback_worker import LoopbackGraph


@pytest.fixture
def loopback(broker: LocalBroker, request: pytest.FixtureRequest) -> Iterator[Loopback]:
    with Loopback(broker.room(f"loopback-{request.node.name}")) as loopback:
        yield loopback


class Log(TypedDict):
    log: Annotated[list[Any], operator.add]


def remote() -> bool:
    context = current()
    return context is not None and context.remote


def one(node: Any, name: str = "one") -> Any:
    return StateGraph(Log).add_node(name, node).add_edge(START, name).compile(checkpointer=InMemorySaver())


def test_local_classes_and_closures(loopback: Loopback, broker: LocalBroker) -> None:
    @dataclass
    class Point:
        x: int

    class State(TypedDict):
        point: Point

    class Odd(Exception):
        pass

    seen = []

    def double(state: State) -> State:
        seen.append(state["point"])
        if state["point"].x % 2:
            raise Odd(state["point"])
        return {"point": Point(state["point"].x * 2)}

    graph: Any = StateGraph(State).add_node(double).add_edge(START, "double").compile()
    made: Any = loopback.distribute(graph)
    given = Point(2)
    assert made.invoke({"point": given}) == {"point": Point(4)}
    assert seen == [given]
    assert seen[0] is not given  # it was serialised
    with pytest.raises(Odd) as raised:
        made.invoke({"point": Point(3)})
    assert raised.value.args == (Point(3),)
    with pytest.raises(NotImportable):
        distribute(graph, broker.room("elsewhere"))


class Untellable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_that_cant_be_told_ends_the_call(loopback: Loopback, is_async: bool) -> None:
    def node(state: Log) -> Log:
        raise ValueError(Untellable())

    async def anode(state: Log) -> Log:
        raise ValueError(Untellable())

    graph = loopback.distribute(one(anode if is_async else node))
    with pytest.raises(Exception, match="running node 'one' failed"):
        await asyncio.wait_for(graph.ainvoke({"log": []}, {"configurable": {"thread_id": "t"}}), 10)


async def test_where_bodies_run(loopback: Loopback) -> None:
    """Async ones on the loop that runs the graph, as in process, so that they may use what lives on it. Sync ones on threads."""
    go = asyncio.Event()
    here = asyncio.get_running_loop()
    inside: Any = one(lambda state: {"log": [3]}, "inside")
    inside.checkpointer = None

    async def wait(state: Log) -> Log:
        asyncio.get_running_loop().call_soon(go.set)
        await go.wait()
        await inside.ainvoke({"log": []})
        return {"log": [remote(), asyncio.get_running_loop() is here]}

    def block(state: Log) -> Log:
        return {"log": [threading.current_thread().name.partition("_")[0]]}

    builder = StateGraph(Log).add_node(wait).add_node(block).add_edge(START, "wait").add_edge("wait", "block")
    made: Any = loopback.distribute(builder.compile())
    assert await made.ainvoke({"log": []}) == {"log": [True, True, "asyncio"]}
    assert await asyncio.to_thread(loopback.distribute(one(block)).invoke, {"log": []}, {"configurable": {"thread_id": "1"}}) == {
        "log": ["nolag-body"]
    }


def test_what_does_not_survive_the_wire_is_found(loopback: Loopback, thread: dict[str, Any]) -> None:
    with pytest.raises(NotEncodable, match="has no form that could cross"):
        loopback.distribute(one(lambda state: {"log": [threading.Lock()]})).invoke({"log": []}, thread, durability="sync")


def test_pools_and_local_nodes(broker: LocalBroker) -> None:
    def where(state: Log) -> Log:
        return {"log": [remote()]}

    builder = StateGraph(Log).add_node("here", where).add_node("there", where).add_edge(START, "here").add_edge("here", "there")
    with Loopback(broker.room("pools"), capabilities=["gpu"]) as loopback:
        made: Any = loopback.distribute(builder.compile(), local=["here"], pools={"there": ["gpu"]})
        assert made.invoke({"log": []}) == {"log": [False, True]}


def test_every_graph_made_inside(loopback: Loopback, thread: dict[str, Any]) -> None:
    class Inner(TypedDict):
        log: Annotated[list[Any], operator.add]

    def ask(state: Inner) -> Inner:
        assert remote()
        return {"log": [interrupt("?")]}

    with loopback.every_graph():
        inner = StateGraph(Inner).add_node(ask).add_edge(START, "ask").compile()
        called = one(lambda state: {"log": ["called"]}, "called")

        def call(state: Log) -> Log:
            context = current()
            return {"log": [context.node if context else None, *called.invoke({"log": []})["log"]]}

        builder = StateGraph(Log).add_node("inner", inner).add_node(call).add_edge(START, "inner").add_edge("inner", "call")
        graph: Any = builder.compile(checkpointer=InMemorySaver())
    assert type(inner) is type(graph) is LoopbackGraph
    assert not isinstance(builder.compile(), DistributedGraph)
    assert set(graph.invoke({"log": []}, thread, durability="sync")) == {"log", "__interrupt__"}
    assert [state.name for state in graph.get_state(thread, subgraphs=True).tasks] == ["inner"]
    resumed = graph.invoke(Command(resume="yes"), thread, durability="sync")
    assert resumed == {"log": ["yes", "call", "called"]}


def test_a_distributed_graph_distributed_again(loopback: Loopback) -> None:
    """Its nodes are the original ones, not proxies of proxies."""
    asked = []

    def node(state: Log) -> Log:
        context = current()
        asked.append(context and context.graph)
        return {"log": [1]}

    graph: Any = StateGraph(Log).add_node(node).add_edge(START, "node").compile()
    once: Any = loopback.distribute(graph)
    twice: Any = loopback.distribute(once)
    outer: Any = loopback.distribute(StateGraph(Log).add_node("once", once).add_edge(START, "once").compile())
    for distributed in (once, twice, outer):
        assert distributed.invoke({"log": []}) == {"log": [1]}
        assert asked.pop() == distributed.distribution.name
    assert not asked


def test_a_checkpointer_without_a_thread_is_refused_as_in_process(loopback: Loopback) -> None:
    graph = one(lambda state: {"log": [1]})
    for candidate in (graph, loopback.distribute(graph)):
        with pytest.raises(ValueError, match="Checkpointer requires"):
            candidate.invoke({"log": []})


@pytest.mark.parametrize("checkpointer", [None, False, True])
def test_what_is_shown_of_a_sub_graph(loopback: Loopback, thread: dict[str, Any], checkpointer: bool | None) -> None:
    inner: Any = StateGraph(Log).add_node("ask", lambda state: {"log": [1]}).add_edge(START, "ask").compile(checkpointer=checkpointer)
    graph = StateGraph(Log).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=InMemorySaver())
    made: Any = loopback.distribute(graph)
    assert dict(made.get_subgraphs()) == dict(graph.get_subgraphs()) == ({} if checkpointer is False else {"inner": inner})
    made.invoke({"log": []}, thread, interrupt_before=["inner"])
    made.invoke(None, thread)
    assert made.get_state(thread).values == {"log": [1]}
    states = [task.state for snapshot in made.get_state_history(thread) for task in snapshot.tasks if task.name == "inner"]
    assert [isinstance(state, dict) for state in states] == [checkpointer is not False]


async def test_a_run_that_has_ended_holds_nothing(loopback: Loopback) -> None:
    """What a run held goes with it, not when the collector comes: it may be a large state."""

    class Held(BaseCallbackHandler):
        pass

    made: Any = loopback.distribute(one(lambda state: {"log": [1]}))
    gc.collect()
    gc.disable()
    try:
        held = Held()
        await asyncio.to_thread(made.invoke, {"log": []}, {"configurable": {"thread_id": "1"}, "callbacks": [held]})
        gone = weakref.ref(held)
        del held
        await eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_a_task_called_in_a_node(loopback: Loopback) -> None:
    """LangGraph's loop has it, and it runs beside the node: here, or with the worker, which could not import it."""

    @task
    def double(number: int) -> int:
        return 2 * number

    graph = one(lambda state: {"log": [double(21).result()]})
    for local in ((), ("one",)):
        thread = {"configurable": {"thread_id": str(local)}}
        assert loopback.distribute(graph, local=local).invoke({"log": []}, thread) == {"log": [42]}
