"""Orchestrators are killed with -9, and somebody else goes on: another process that invokes the thread, or a worker that nobody asked."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from pydantic import ValidationError
from runs_graphs import GRAPHS
from runs_helpers import Process, Start, config, ran, wait_until

from langgraph_nolag import LocalBroker, NoLagSaver, distribute, wait_decisions
from langgraph_nolag.client.link import RoomLink
from langgraph_nolag.graph.runs.orchestrator import Orchestrated
from langgraph_nolag.graph.runs.request import Request
from langgraph_nolag.patterns.threads import thread_key

pytestmark = pytest.mark.usefixtures("nodes")


def runs_of(link: RoomLink, thread: str) -> list[Any]:
    infos = link.call("task.list", kind="run", limit=1000)["tasks"]
    return [info for info in infos if info["concurrency_key"] == thread_key(thread)]


def has_ended(link: RoomLink, thread: str) -> None:
    wait_until(lambda: not runs_of(link, thread), "nothing of the thread runs")


def go_on(heir: str, graph: str, start: Start, link: RoomLink, thread: str, file: Path) -> None:
    """Somebody takes the thread up, then the body that waits may end, and so may the run."""
    if heir == "worker":
        start("worker", "resume")
        file.with_suffix(".go").touch()
        has_ended(link, thread)
    else:
        going_on = start("orchestrator", graph, thread, "null")
        file.with_suffix(".go").touch()
        going_on.finish()


def test_a_worker_goes_on_with_a_run_that_was_killed_in_a_body(
    graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path
) -> None:
    file = tmp_path / "runs"
    killed = start("orchestrator", "chain", thread, json.dumps({"file": str(file)}))
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    killed.kill()
    start("worker", "resume")
    file.with_suffix(".go").touch()
    has_ended(link, thread)
    assert graph("chain").get_state(config(thread)).values["log"] == ["first", "long", "last"]
    assert ran(file) == ["first", "long", "last"]


def test_who_takes_a_run_up_keeps_to_its_bounds(link: RoomLink, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    chain = GRAPHS["chain"]
    remote = distribute(chain, link, name="chain", checkpointer=NoLagSaver(link), timeout=77.0, cancel_timeout=7.0)
    remote.invoke({"file": str(file)}, config(thread), durability="sync")
    [began] = [
        event
        for event in link.call("log.read", types="task.dispatched", subject=remote.distribution.name, limit=1000)["events"]
        if event["data"].get("concurrency_key") == thread_key(thread)
    ]
    request = Request.unpack(remote.distribution.codec, began["body"])
    taken_up = Orchestrated(chain, remote.distribution.name).on(link, request).distribution
    assert (taken_up.timeout, taken_up.cancel_timeout) == (77.0, 7.0)


@pytest.mark.parametrize("heir", ["worker", "orchestrator"])
def test_the_input_of_a_run_that_died_before_its_first_checkpoint_is_applied(
    graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path, heir: str
) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    assert start("dying", "chain", thread, json.dumps({"file": str(file)})).process.wait(40) == -signal.SIGKILL
    assert graph("chain").get_state(config(thread)).values == {}
    if heir == "worker":
        start("worker", "resume")
        has_ended(link, thread)
    else:
        start("orchestrator", "chain", thread, "null").finish()
    assert graph("chain").get_state(config(thread)).values["log"] == ["x" * 200_000, "first", "long", "last"]
    assert ran(file) == ["first", "long", "last"]


@pytest.mark.parametrize("heir", ["worker", "orchestrator"])
def test_a_resume_map_is_not_asked_for_again(graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path, heir: str) -> None:
    file = tmp_path / "runs"
    waiting = graph("asking")
    waiting.invoke({"file": str(file)}, config(thread), durability="sync")
    interrupts = {each.value: each.id for each in waiting.get_state(config(thread)).interrupts}
    answers = {interrupts["a?"]: "1", interrupts["b?"]: "2"}
    killed = start("orchestrator", "asking", thread, json.dumps({"resume": answers}))
    wait_until(lambda: set(ran(file)) == {"a=1", "b=2"}, "both have their answers")
    killed.kill()
    go_on(heir, "asking", start, link, thread, file)
    state = graph("asking").get_state(config(thread))
    assert (sorted(state.values["log"]), state.interrupts) == (["a=1", "b=2", "last"], ())
    assert sorted(ran(file)) == ["a=1", "b=2", "last"]


@pytest.mark.parametrize(("again", "bodies"), [("1", ["a=1", "b=2"]), ("other", ["a=1", "a=other", "b=2"])], ids=["the same", "another"])
def test_an_answer_to_another_question_does_not_run_what_was_answered_before(
    graph: Any, start: Start, thread: str, tmp_path: Path, again: str, bodies: list[str]
) -> None:
    file = tmp_path / "runs"
    waiting = graph("asking")
    waiting.invoke({"file": str(file)}, config(thread), durability="sync")
    interrupts = {each.value: each.id for each in waiting.get_state(config(thread)).interrupts}
    killed = start("orchestrator", "asking", thread, json.dumps({"resume": {interrupts["a?"]: "1"}}))
    wait_until(lambda: ran(file) == ["a=1"], "one has its answer")
    killed.kill()
    file.with_suffix(".go").touch()
    waiting.invoke(Command(resume={interrupts["a?"]: again, interrupts["b?"]: "2"}), config(thread), durability="sync")
    assert sorted(ran(file)) == [*bodies, "last"]
    assert sorted(waiting.get_state(config(thread)).values["log"]) == [f"a={again}", "b=2", "last"]


@pytest.mark.parametrize("by_question", [False, True])
def test_an_answer_does_not_run_what_was_not_asked(graph: Any, start: Start, thread: str, tmp_path: Path, by_question: bool) -> None:
    file = tmp_path / "runs"
    asking = graph("beside")
    killed = start("orchestrator", "beside", thread, json.dumps({"file": str(file)}))
    wait_until(lambda: ran(file) == ["long"] and asking.get_state(config(thread)).interrupts, "one runs, and one has asked")
    killed.kill()
    file.with_suffix(".go").touch()
    [question] = asking.get_state(config(thread)).interrupts
    asking.invoke(Command(resume={question.id: "1"} if by_question else "1"), config(thread), durability="sync")
    assert ran(file) == ["long", "b=1"]


@pytest.mark.parametrize("name", ["around", "calling"])
@pytest.mark.parametrize("by_question", [False, True])
def test_what_runs_behind_an_answered_question_of_a_sub_graph_is_found(
    graph: Any, start: Start, thread: str, tmp_path: Path, name: str, by_question: bool
) -> None:
    file = tmp_path / "runs"
    asking = graph(name)
    asking.invoke({"file": str(file)}, config(thread), durability="sync")
    [question] = asking.get_state(config(thread)).interrupts
    killed = start("orchestrator", name, thread, json.dumps({"resume": {question.id: "1"} if by_question else "1"}))
    wait_until(lambda: ran(file) == ["b=1", "long"], "it has its answer, and goes on")
    killed.kill()
    file.with_suffix(".go").touch()
    assert asking.invoke(None, config(thread), durability="sync")["log"] == ["b=1", "long"]
    assert ran(file) == ["b=1", "long"]


def test_what_is_tried_again_with_its_answer_is_found(graph: Any, start: Start, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    asking = graph("insisting")
    asking.invoke({"file": str(file)}, config(thread), durability="sync")
    killed = start("orchestrator", "insisting", thread, json.dumps({"resume": "1"}))
    wait_until(lambda: ran(file) == ["insists=1"] * 2, "it is tried again")
    killed.kill()
    file.with_suffix(".go").touch()
    assert asking.invoke(None, config(thread), durability="sync")["log"] == ["insists=1"]
    assert ran(file) == ["insists=1"] * 2


@pytest.mark.parametrize("worker_first", [True, False])
def test_a_thread_whose_gate_was_decided_is_taken_up(
    graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path, worker_first: bool
) -> None:
    file = tmp_path / "runs"
    asked = start("orchestrator", "gated", thread, json.dumps({"file": str(file)}))
    if worker_first:
        start("worker", "resume")
    asked.finish()
    assert ran(file) == ["first"]
    [gate] = [each for each in link.call("approval.list", limit=1000)["approvals"] if each.get("thread") == thread]
    link.call("approval.decide", approval=gate["approval"], type="approve")
    if not worker_first:
        start("worker", "resume")
    wait_until(lambda: ran(file) == ["first", "publish=approve", "last"], "the thread goes on")
    has_ended(link, thread)
    state = graph("gated").get_state(config(thread))
    assert (state.values["log"], state.next) == (["first", "publish=approve", "last"], ())


@pytest.mark.parametrize("how", ["nothing said", "the decisions waited for", "the answer itself"])
def test_going_on_with_a_decided_gate_does_not_ask_again(graph: Any, link: RoomLink, thread: str, tmp_path: Path, how: str) -> None:
    file = tmp_path / "runs"
    gated = graph("gated")
    gated.invoke({"file": str(file)}, config(thread), durability="sync")
    [gate] = [each for each in link.call("approval.list", limit=1000)["approvals"] if each.get("thread") == thread]
    if how == "the answer itself":
        input: Any = Command(resume={"type": "approve"})
    else:
        link.call("approval.decide", approval=gate["approval"], type="approve")
        assert [info["state"] for info in runs_of(link, thread)] == ["waiting"], "there is no worker that takes threads up"
        input = None if how == "nothing said" else wait_decisions(gated, config(thread), 30)
    assert gated.invoke(input, config(thread), durability="sync")["log"] == ["first", "publish=approve", "last"]
    has_ended(link, thread)


@pytest.mark.parametrize("heir", ["worker", "orchestrator"])
def test_what_ran_with_a_plain_answer_is_found_by_who_sees_the_decision(
    graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path, heir: str
) -> None:
    file = tmp_path / "runs"
    graph("gated slowly").invoke({"file": str(file)}, config(thread), durability="sync")
    killed = start("orchestrator", "gated slowly", thread, json.dumps({"resume": {"type": "approve"}}))
    wait_until(lambda: ran(file) == ["first", "publish=approve"], "the gate is decided")
    killed.kill()
    go_on(heir, "gated slowly", start, link, thread, file)
    state = graph("gated slowly").get_state(config(thread))
    assert (state.values["log"], state.next) == (["first", "publish=approve", "last"], ())
    assert ran(file) == ["first", "publish=approve", "last"]


@pytest.mark.parametrize("heir", ["the same actor", "another actor", "worker"])
@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
def test_a_vote_that_was_not_cast_is_nobody_elses(
    broker: LocalBroker, graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path, heir: str, by_id: bool
) -> None:
    """Whoever goes on with a run votes only if the answer was its own."""
    file, name = tmp_path / "runs", "gated when told"
    go = file.with_suffix(".go")
    go.touch()
    (waiting,) = graph(name).invoke({"file": str(file)}, config(thread), durability="sync")["__interrupt__"]
    go.unlink()
    answer = {"type": "approve"}
    answered = Process(broker, "ana", "orchestrator", name, thread, json.dumps({"resume": {waiting.id: answer} if by_id else answer}))
    wait_until(lambda: len(ran(file)) == 2, "the node runs again")
    answered.kill()
    if heir == "the same actor":
        again = Process(broker, "ana", "orchestrator", name, thread, "null").wait_for("invoking")
        go.touch()
        assert again.finish() == ["publish=approve"]
        again.kill()
        return
    go_on(heir, name, start, link, thread, file)
    [asked] = [each for each in link.call("approval.list", limit=1000)["approvals"] if each.get("thread") == thread]
    assert (asked["state"], asked["votes"]) == ("pending", [])
    assert [each.id for each in graph(name).get_state(config(thread)).interrupts] == [waiting.id]
    link.call("approval.decide", approval=asked["approval"], type="reject")
    if heir == "worker":
        wait_until(lambda: ran(file)[-1] == "publish=reject", "the thread goes on")
        has_ended(link, thread)
    else:
        assert graph(name).invoke(None, config(thread), durability="sync")["log"] == ["publish=reject"]


def test_an_answer_that_is_none_does_not_keep_a_decided_thread(
    graph: Any, start: Start, link: RoomLink, thread: str, tmp_path: Path
) -> None:
    file = tmp_path / "runs"
    graph("gated").invoke({"file": str(file)}, config(thread), durability="sync")
    with pytest.raises(ValidationError):
        graph("gated").invoke(Command(resume={"type": "perhaps"}), config(thread), durability="sync")
    [gate] = [each for each in link.call("approval.list", limit=1000)["approvals"] if each.get("thread") == thread]
    link.call("approval.decide", approval=gate["approval"], type="approve")
    start("worker", "resume")
    wait_until(lambda: ran(file) == ["first", "publish=approve", "last"], "the thread goes on")
    has_ended(link, thread)


def test_a_run_that_is_over_leaves_nothing_behind(graph: Any, link: RoomLink, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    begun = link.call("log.read", after=link.call("room.info")["seq"], limit=1).seq
    graph("chain").invoke({"file": str(file)}, config(thread), durability="sync")
    assert not runs_of(link, thread)
    events = link.call("log.read", after=begun, limit=1000, types="task.*", bodies=False)["events"]
    [run] = [event["data"]["task"] for event in events if event["type"] == "task.dispatched" and event["data"]["kind"] == "run"]
    wait_until(lambda: link.call("task.follow", tasks=[[run, 0]])["states"][run] is None, "it was acknowledged")
