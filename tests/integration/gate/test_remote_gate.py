"""Gates in nodes that run in worker processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gate_graphs
import pytest
from langgraph.types import Command
from pydantic import ValidationError

from langgraph_nolag import (
    AlreadyDecided,
    LocalBroker,
    NoLagSaver,
    NotAuthorized,
    RoomHandle,
    Worker,
    await_decisions,
    distribute,
    wait_decisions,
)
from langgraph_nolag.local import WorkerProcess

from .conftest import Person

People = Callable[..., Person]


def remote(graph: Any, name: str, broker: LocalBroker) -> Any:
    return distribute(graph, broker.room("bank"), name=name, checkpointer=NoLagSaver(broker.room("bank")))


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def lines(book: Path) -> list[str]:
    return book.read_text().splitlines()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("name", ["paying", "nested", "paying_in_a_task"])
def test_decided_in_the_room(broker: LocalBroker, person: People, tmp_path: Path, name: str) -> None:
    graph, book = remote(getattr(gate_graphs, name), name, broker), tmp_path / "book"
    waiting = graph.invoke({"log": [], "book": str(book)}, thread(), durability="sync")["__interrupt__"]
    assert [each.value["name"] for each in waiting] == ["pay"]
    ana = person("ana")
    ana.decide("approve")
    result = graph.invoke(wait_decisions(graph, thread(), 10), thread(), durability="sync")
    approved, by, pid = result["log"][-1]
    assert (approved, by) == (True, "ana")
    assert pid != os.getpid()
    assert [line for line in lines(book) if line.startswith("paid")] == ["paid {'amount': 100}"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_a_decision_holds_for_every_try(broker: LocalBroker, person: People, tmp_path: Path, kind: str) -> None:
    graph = remote(gate_graphs.paying_a_busy_bank, "paying_a_busy_bank", broker)
    graph.invoke({"log": [], "book": str(tmp_path / "book")}, thread(), durability="sync")
    result = graph.invoke(Command(resume={"type": kind}), thread(), durability="sync")
    assert (result["log"], person("ana").pending()) == ([kind], [])


@pytest.mark.usefixtures("worker")
def test_interrupt_and_approval_are_one_commit(broker: LocalBroker, person: People, tmp_path: Path) -> None:
    """The event that asks stands right beside the one that ends the node's task: there is never one without the other."""
    graph = remote(gate_graphs.nested, "nested", broker)
    graph.invoke({"log": [], "book": str(tmp_path / "book")}, thread(), durability="sync")
    events = person("ana").link.call("log.read", limit=1000, bodies=False)["events"]
    (asked,) = [event["seq"] for event in events if event["type"] == "approval.requested"]
    ends = [event["seq"] for event in events if event["type"] == "task.completed"]
    assert {asked - 1, asked + 1} & set(ends), [(event["seq"], event["type"]) for event in events]


@pytest.mark.usefixtures("worker")
async def test_an_answer_is_the_vote_of_whoever_runs_the_thread(broker: LocalBroker, person: People) -> None:
    """Not of the worker: two people with a program each are a quorum, one person with two workers is none."""

    def of(actor: str) -> Any:
        room = RoomHandle(broker.url, "bank", broker.token(actor))
        return distribute(gate_graphs.signing, room, name="signing", checkpointer=NoLagSaver(room))

    async def go_on(actor: str, given: Any) -> Any:
        result = await of(actor).ainvoke(given, thread(), durability="sync")
        return result["__interrupt__"][0] if "__interrupt__" in result else result

    await go_on("ana", {"log": []})
    waiting = await go_on("ana", Command(resume={"type": "approve"}))
    assert [vote["actor"] for vote in person("eve").pending()[0]["votes"]] == ["ana"]
    waiting = await go_on("ana", Command(resume={waiting.id: {"type": "approve"}}))
    assert waiting.value["name"] == "sign"
    waiting = await go_on("bo", Command(resume={waiting.id: {"type": "approve"}}))
    assert waiting.value == "name?"
    waiting = await go_on("bo", Command(resume={waiting.id: "Bo"}))
    assert waiting.value["args"] == {"page": 2}
    with pytest.raises(ValidationError):
        await go_on("bo", Command(resume={"type": "perhaps"}))
    person("eve").decide("approve")
    with pytest.raises(AlreadyDecided):
        await go_on("bo", Command(resume={"type": "reject"}))
    result = await go_on("ana", await await_decisions(of("ana"), thread(), 10))
    assert result["log"] == [[True, "Bo", "approve"]]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
@pytest.mark.parametrize("where", ["on a worker", "at home", "not distributed"])
@pytest.mark.parametrize("answer", [{"type": "approve"}, {"type": "perhaps"}], ids=["not theirs", "none"])
def test_a_refused_answer_is_dropped(
    broker: LocalBroker, person: People, tmp_path: Path, answer: dict[str, str], where: str, by_id: bool
) -> None:
    """It is nobody else's vote, and does not stand in the way of a decision."""

    def of(actor: str) -> Any:
        room = RoomHandle(broker.url, "bank", broker.token(actor))
        graph = gate_graphs.paying_if_open
        if where == "not distributed":
            return graph.copy({"checkpointer": NoLagSaver(room)})
        local = ["pay_if_open"] if where == "at home" else []
        return distribute(graph, room, name="paying_if_open", checkpointer=NoLagSaver(room), local=local)

    (waiting,) = of("eve").invoke({"log": [], "book": str(tmp_path / "book")}, thread(), durability="sync")["__interrupt__"]
    with pytest.raises(NotAuthorized if answer["type"] == "approve" else ValidationError):
        of("eve").invoke(Command(resume={waiting.id: answer} if by_id else answer), thread(), durability="sync")
    for actor in ("boss", "eve"):
        assert [each.id for each in of(actor).invoke(None, thread(), durability="sync")["__interrupt__"]] == [waiting.id]
    assert person("boss").pending()[0]["votes"] == []
    person("boss").decide("reject")
    (waiting,) = of("eve").invoke(wait_decisions(of("eve"), thread(), 10), thread(), durability="sync")["__interrupt__"]
    assert waiting.value == "name?"
    assert of("eve").invoke(Command(resume="Eve"), thread(), durability="sync")["log"] == ["reject", "boss", "Eve"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("decided", [False, True], ids=["open", "decided"])
def test_an_answer_that_did_not_reach_its_gate(broker: LocalBroker, person: People, tmp_path: Path, decided: bool) -> None:
    """It is nobody else's vote, a decision of the room comes before it, and no other question gets it."""

    def of(actor: str) -> Any:
        room = RoomHandle(broker.url, "bank", broker.token(actor))
        return distribute(gate_graphs.paying_if_open, room, name="paying_if_open", checkpointer=NoLagSaver(room))

    closed = tmp_path / "book.closed"
    of("eve").invoke({"log": [], "book": str(tmp_path / "book")}, thread(), durability="sync")
    closed.touch()
    with pytest.raises(ConnectionError):
        of("eve").invoke(Command(resume={"type": "reject"}), thread(), durability="sync")
    closed.unlink()
    if decided:
        person("boss").decide("approve")
    (waiting,) = of("boss").invoke(None, thread(), durability="sync")["__interrupt__"]
    if decided:
        assert waiting.value == "name?"
    else:
        assert waiting.value["name"] == "pay"
        assert person("boss").pending()[0]["votes"] == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("how", ["updated", "forked", "once more", "copied"])
@pytest.mark.parametrize("where", ["on a worker", "at home", "not distributed"])
def test_answered_before_it_has_asked(broker: LocalBroker, person: People, tmp_path: Path, where: str, how: str) -> None:
    """Another execution of the node is another gate, and an answer may come to it first."""
    graph = remote(gate_graphs.paying, "paying", broker)
    if where == "at home":
        room = broker.room("bank")
        graph = distribute(gate_graphs.paying, room, name="paying", checkpointer=NoLagSaver(room), local=["prepare", "pay"])
    elif where == "not distributed":
        graph = gate_graphs.paying.copy({"checkpointer": NoLagSaver(broker.room("bank"))})
    config = thread()
    graph.invoke({"log": [], "book": str(tmp_path / "book")}, config, durability="sync")
    if how == "updated":
        graph.update_state(config, {"log": ["changed"]})
    elif how == "forked":
        config = graph.update_state(graph.get_state(config).config, {"log": ["forked"]}, as_node="prepare")
    elif how == "once more":
        config = graph.update_state(graph.get_state(config).config, None, as_node="__copy__")
    else:
        graph.checkpointer.copy_thread("t", "copy")
        config = thread("copy")
    result = graph.invoke(Command(resume={"type": "reject"}), config, durability="sync")
    assert result["log"][-1][:2] == [False, "local"]
    assert len(person("ana").pending()) == 1, "the one that was not answered"


@pytest.mark.usefixtures("worker")
async def test_async(broker: LocalBroker, person: People) -> None:
    graph = remote(gate_graphs.signing, "signing", broker)
    await graph.ainvoke({"log": []}, thread(), durability="sync")
    person("ana").decide("approve")
    person("bo").decide("approve")
    await graph.ainvoke(await await_decisions(graph, thread(), timeout=10), thread(), durability="sync")
    await graph.ainvoke(Command(resume="Cy"), thread(), durability="sync")
    person("ana").decide("reject")
    result = await graph.ainvoke(await await_decisions(graph, thread(), timeout=10), thread(), durability="sync")
    assert result["log"] == [[True, "Cy", "reject"]]


def test_no_worker_is_held_or_needed_while_it_waits(broker: LocalBroker, worker: WorkerProcess, person: People, tmp_path: Path) -> None:
    """The worker is killed while the gate waits; another one, later, goes on."""
    graph, book = remote(gate_graphs.paying, "paying", broker), tmp_path / "book"
    graph.invoke({"log": [], "book": str(book)}, thread(), durability="sync")
    info = person("ana").link.call("room.info")
    assert info["tasks"].get("running", 0) == 0
    worker.kill()
    person("ana").decide("approve")
    (another,) = broker.spawn_worker("gate_graphs:app")
    another.wait_ready()
    result = graph.invoke(wait_decisions(graph, thread(), 10), thread(), durability="sync")
    assert result["log"][1][:2] == [True, "ana"]
    assert lines(book) == ["prepared", "paid {'amount': 100}"]


async def test_programs_that_may_not_approve(broker: LocalBroker, person: People, tmp_path: Path) -> None:
    """Workers and orchestrators need no right to approve: they ask, and learn what people decided. Another worker takes up the gate."""
    verbs = ["publish", "subscribe", "dispatch", "claim", "state", "tools", "checkpoint"]
    grants = [{"room": "bank", "verbs": verbs}]
    room = RoomHandle(broker.url, "bank", broker.token("program", grants=grants))
    graph = distribute(gate_graphs.paying, room, name="paying", checkpointer=NoLagSaver(room))

    async def serve(actor: str, given: Any) -> Any:
        worker = Worker(room="bank", url=broker.url, token=broker.token(actor, grants=grants))
        worker.graph(gate_graphs.paying, name="paying")
        stop = asyncio.Event()
        serving = asyncio.create_task(worker.arun(stop=stop))
        try:
            return await asyncio.wait_for(graph.ainvoke(given, thread(), durability="sync"), 30)
        finally:
            stop.set()
            await serving

    await serve("one", {"log": [], "book": str(tmp_path / "book")})
    with pytest.raises(NotAuthorized):
        await serve("two", Command(resume={"type": "approve"}))
    person("ana").decide("approve")
    result = await serve("three", await await_decisions(graph, thread(), 10))
    assert result["log"][1][:2] == [True, "ana"]
    assert lines(tmp_path / "book") == ["prepared", "paid {'amount': 100}"]
