"""The patterns as nodes: what they do, and that a second run of a node does not do it again."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from langgraph_nolag import LocalBroker, NoLagSaver, PeerNotFound, TaskFailed, wait_decisions
from langgraph_nolag.nodes import approval_node, blackboard_node, handoff_node, inbox_node, observe_node
from langgraph_nolag.testing import eventually

from .conftest import DyingSaver

Join = Callable[..., Any]


class State(TypedDict, total=False):
    brief: dict[str, Any]
    draft: str
    plan: Any
    findings: Any
    decision: Any
    log: Annotated[list[str], operator.add]


def graph_of(node: Runnable[Any, Any], saver: Any, **more: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("it", node)
    builder.add_edge(START, "it")
    for name, other in more.items():
        builder.add_node(name, other)
    return builder.compile(checkpointer=saver)


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Invokes a graph by its sync interface, on a thread, or by its async one."""

    async def call(graph: Any, given: Any, config: Any = None) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(graph.invoke, given, config or thread(), durability="sync")
        return await graph.ainvoke(given, config or thread(), durability="sync")

    return call


async def dies_once(invoke: Callable[..., Any], graph: Any, given: Any) -> Any:
    """The process dies after the node's body and before its writes are stored; the thread goes on in another run."""
    with pytest.raises(ConnectionError):
        await invoke(graph, given)
    return await invoke(graph, None)


async def test_handoff(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    done: list[Any] = []

    async def write(task: Any) -> str:
        done.append(task.payload)
        return f"On {task.payload['topic']}"

    node = handoff_node(broker.room("desk"), "draft", capabilities=["draft"], payload="brief", result="draft")
    writer = await agent("writer", capabilities=["draft"])
    async with writer.handoff.serve(write, types=["draft"]):
        result = await dies_once(invoke, graph_of(node, DyingSaver(broker.room("desk"))), {"brief": {"topic": "tea"}})
        assert result["draft"] == "On tea"
        assert done == [{"topic": "tea"}]
        assert (await invoke(graph_of(node, NoLagSaver(broker.room("desk"))), {"brief": {"topic": "milk"}}))["draft"] == "On milk"
        assert len(done) == 2


async def test_handoff_attaches_to_a_task_that_still_runs(broker: LocalBroker, agent: Join) -> None:
    """The orchestrator is cancelled while the agent works; the next run gets that agent's result."""
    begun, go_on, runs = asyncio.Event(), asyncio.Event(), []

    async def write(task: Any) -> dict[str, Any]:
        runs.append(task.attempt)
        begun.set()
        await go_on.wait()
        return {"draft": "slow"}

    graph = graph_of(handoff_node(broker.room("desk"), "draft", payload=lambda state: state["brief"]), NoLagSaver(broker.room("desk")))
    writer = await agent("writer")
    async with writer.handoff.serve(write, types=["draft"]):
        first = asyncio.create_task(graph.ainvoke({"brief": {}}, thread(), durability="sync"))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(graph.ainvoke(None, thread(), durability="sync"))
        go_on.set()
        assert (await second)["draft"] == "slow"
    assert runs == [1]


async def test_handoff_after_a_failure_tries_anew(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    attempts = []

    async def write(task: Any) -> str:
        attempts.append(task.attempt)
        if len(attempts) < 3:
            raise ValueError("no ink")
        return "written"

    node = handoff_node(broker.room("desk"), "draft", payload="brief", result=lambda text: {"draft": text.upper()}, max_attempts=1)
    graph = graph_of(node, NoLagSaver(broker.room("desk")))
    writer = await agent("writer")
    async with writer.handoff.serve(write, types=["draft"]):
        with pytest.raises(TaskFailed, match="no ink"):
            await invoke(graph, {"brief": {}})
        with pytest.raises(TaskFailed, match="no ink"):
            await invoke(graph, None)
        assert (await invoke(graph, None))["draft"] == "WRITTEN"
    assert attempts == [1, 1, 1]


async def test_mappings_say_what_is_wrong(broker: LocalBroker, agent: Join) -> None:
    async def write(task: Any) -> int:
        return 7

    writer = await agent("writer")
    async with writer.handoff.serve(write, types=["draft"]):
        with pytest.raises(KeyError, match="brief"):
            await graph_of(handoff_node(broker.room("desk"), "draft", payload="brief"), None).ainvoke({"draft": "x"})
        with pytest.raises(TypeError, match="'draft' is a int"):
            await graph_of(handoff_node(broker.room("desk"), "draft"), None).ainvoke({"draft": "x"})


async def test_blackboard(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    """The second run does not write over what another agent wrote after the first."""
    other = await agent("other")
    await other.blackboard.set("notes/findings", ["f1"])
    node = blackboard_node(
        broker.room("desk"),
        write={"plan": "plan", "size": lambda state: len(state["plan"])},
        read={"findings": "notes/findings", "log": "absent"},
    )
    graph = graph_of(node, DyingSaver(broker.room("desk")))
    with pytest.raises(ConnectionError):
        await invoke(graph, {"plan": ["a", "b"]})
    assert (await other.blackboard.get("size")).value == 2
    await other.blackboard.set("plan", ["mine"])
    result = await invoke(graph, None)
    assert (result["plan"], result["findings"]) == (["a", "b"], ["f1"])
    entry = await other.blackboard.get("plan")
    assert (entry.value, entry.revision) == (["mine"], 2)
    await invoke(graph_of(node, NoLagSaver(broker.room("desk"))), {"plan": ["c"]}, thread("another"))
    assert (await other.blackboard.get("plan")).value == ["c"]


async def test_inbox(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    editor = await agent("editor")
    node = inbox_node(broker.room("desk"), lambda state: state["draft"], message="brief")
    await dies_once(invoke, graph_of(node, DyingSaver(broker.room("desk"))), {"draft": "editor", "brief": {"n": 1}})
    await invoke(graph_of(node, NoLagSaver(broker.room("desk"))), {"draft": "editor", "brief": {"n": 2}})
    messages = aiter(editor.inbox)
    got = [await asyncio.wait_for(anext(messages), 10) for _ in range(2)]
    assert [(message.sender, message.body) for message in got] == [("local", {"n": 1}), ("local", {"n": 2})]
    strict = inbox_node(broker.room("desk"), "nobody", message="brief", keep=False)
    with pytest.raises(PeerNotFound):
        await invoke(graph_of(strict, NoLagSaver(broker.room("desk"))), {"brief": {}}, thread("strict"))


async def test_observe(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    watcher = await agent("watcher")
    node = observe_node(broker.room("desk"), "draft.started", body=lambda state: state["brief"]["n"], severity="warning")
    await dies_once(invoke, graph_of(node, DyingSaver(broker.room("desk"))), {"brief": {"n": 1}})
    await invoke(graph_of(node, NoLagSaver(broker.room("desk"))), {"brief": {"n": 2}})
    events = watcher.observe.stream("draft.**", since=0)
    got = [await asyncio.wait_for(anext(events), 10) for _ in range(2)]
    assert [(event.type, event.body) for event in got] == [("draft.started", 1), ("draft.started", 2)]


async def test_without_a_checkpointer_every_call_counts(broker: LocalBroker, agent: Join) -> None:
    watcher = await agent("watcher")
    graph = graph_of(observe_node(broker.room("desk"), "ping", body="brief"), None)
    for _ in range(2):
        await graph.ainvoke({"brief": {}})
    events = watcher.observe.stream("ping", since=0)
    first, second = [await asyncio.wait_for(anext(events), 10) for _ in range(2)]
    assert first.seq < second.seq


@pytest.mark.parametrize(("answer", "wanted"), [("approve", ["published"]), ("reject", ["redrafted"])])
async def test_approval(broker: LocalBroker, agent: Join, invoke: Callable[..., Any], answer: str, wanted: list[str]) -> None:
    boss = await agent("boss")
    node = approval_node(
        broker.room("desk"),
        "publish",
        args=lambda state: {"text": state["draft"]},
        description=lambda state: f"Publish {state['draft']!r}?",
        result="decision",
        goto={"approve": "publish", "reject": "redraft"},
    )
    more = {"publish": lambda state: {"log": ["published"]}, "redraft": lambda state: {"log": ["redrafted"]}}
    graph = graph_of(node, InMemorySaver(), **more)
    await invoke(graph, {"draft": "tea"})
    (pending,) = await boss.approve.pending()
    assert (pending.action, pending.args, pending.description) == ("publish", {"text": "tea"}, "Publish 'tea'?")
    await boss.approve.decide(pending.id, answer, message="so be it", by="Bo")
    command = await asyncio.to_thread(wait_decisions, graph, thread(), 10, room=broker.room("desk"))
    result = await invoke(graph, command)
    assert result["log"] == wanted
    assert result["decision"] == {
        "approved": answer == "approve",
        "type": answer,
        "args": {"text": "tea"} if answer == "approve" else None,
        "message": "so be it",
        "by": "Bo",
    }


async def test_approval_without_goto_follows_the_edges(broker: LocalBroker, invoke: Callable[..., Any]) -> None:
    builder = StateGraph(State)
    builder.add_node("ask", approval_node(None, "publish", args="brief", result=lambda decision: {"log": [decision.type]}))
    builder.add_node("next", lambda state: {"log": ["next"]})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "next")
    builder.add_edge("next", END)
    graph = builder.compile(checkpointer=NoLagSaver(broker.room("desk")))
    await invoke(graph, {"brief": {"a": 1}})
    assert (await invoke(graph, Command(resume={"type": "approve"})))["log"] == ["approve", "next"]


async def test_nodes_of_one_graph_do_not_share_keys(broker: LocalBroker, agent: Join) -> None:
    """Two nodes of the same superstep, and one node in two steps, are different executions."""
    watcher = await agent("watcher")
    builder = StateGraph(State)
    builder.add_node("a", observe_node(broker.room("desk"), "step", body=lambda state: 1))
    builder.add_node("b", observe_node(broker.room("desk"), "step", body=lambda state: 1))
    builder.add_node("again", lambda state: {"log": ["x"]})
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge("a", "again")
    builder.add_conditional_edges("again", lambda state: "a" if len(state["log"]) < 3 else END)
    await builder.compile(checkpointer=NoLagSaver(broker.room("desk"))).ainvoke({"log": []}, thread())

    async def count() -> bool:
        return len((await watcher.link.acall("log.read", types="step"))["events"]) == 4

    await eventually(count)
