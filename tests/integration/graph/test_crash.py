"""Processes are killed with -9 while a remote node runs: nothing that had finished runs again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import remote_graphs as graphs
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from remote_processes import HERE, WorkerProcess

from langgraph_nolag import LocalBroker, NoLagSaver, distribute, open_room
from langgraph_nolag.graph.remote.run import Run


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.01)


def ran(file: Path) -> list[str]:
    """The nodes that ran, in order."""
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


Start = Callable[[str, str, Any], "subprocess.Popen[str]"]


@pytest.fixture
def orchestrator(broker: LocalBroker) -> Iterator[Start]:
    """Starts orchestrator processes, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, thread: str, value: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token("orchestrator"), "PYTHONPATH": str(HERE)}
        command = [sys.executable, str(HERE / "remote_orchestrator.py"), name, thread, json.dumps(value)]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def finish(process: subprocess.Popen[str]) -> list[Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return list(json.loads(out.splitlines()[-1]))


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("finished", [False, True], ids=["while it runs", "when it is done"])
@pytest.mark.parametrize("name", ["crashing", pytest.param("crashing_flow", marks=pytest.mark.slow)])
def test_next_orchestrator_attaches(broker: LocalBroker, orchestrator: Start, tmp_path: Path, name: str, finished: bool) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    link = open_room(broker.room("graphs"))
    killed = orchestrator(name, thread, {"file": str(file)})
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    killed.kill()
    killed.wait(10)
    if finished:
        file.with_suffix(".go").touch()
        wait_until(lambda: not link.call("task.list", states=["running"], kind="node")["tasks"], "the node is done")
        heir = orchestrator(name, thread, None)
    else:
        heir = orchestrator(name, thread, None)
        assert heir.stdout is not None
        assert heir.stdout.readline() == "invoking\n"
        file.with_suffix(".go").touch()
    assert finish(heir) == ["first", "long", "last"]
    assert ran(file) == ["first", "long", "last"]


@pytest.mark.usefixtures("workers")
def test_replay_after_a_crash_and_a_normal_end_runs_bodies_anew(broker: LocalBroker, orchestrator: Start, tmp_path: Path) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    killed = orchestrator("crashing", thread, {"file": str(file)})
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    killed.kill()
    killed.wait(10)
    file.with_suffix(".go").touch()
    assert finish(orchestrator("crashing", thread, None)) == ["first", "long", "last"]
    room = broker.room("graphs")
    graph = distribute(graphs.crashing, room, name="crashing", checkpointer=NoLagSaver(room))
    config: Any = {"configurable": {"thread_id": thread}}
    before_long = next(state for state in graph.get_state_history(config) if state.next == ("long",))
    graph.invoke(None, before_long.config, durability="sync")
    assert ran(file) == ["first", "long", "last", "long", "last"]


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(
    ("name", "bodies"),
    [
        ("asking_back", ["keeps_asking"]),
        pytest.param("asking_back_in_a_task", ["first", "keeps_asking"], marks=pytest.mark.slow),
    ],
)
def test_calls_back_go_to_the_next_orchestrator(orchestrator: Start, tmp_path: Path, name: str, bodies: list[str]) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    counter = file.with_suffix(".asked")
    killed = orchestrator(name, thread, {"file": str(file)})
    wait_until(lambda: counter.exists() and int(counter.read_text() or 0) > 5, "the node asks")
    killed.kill()
    killed.wait(10)
    heir = orchestrator(name, thread, None)
    asked = int(counter.read_text() or 0)
    wait_until(lambda: int(counter.read_text() or 0) > asked + 5, "the node goes on asking")
    file.with_suffix(".go").touch()
    assert finish(heir) == ["asked"]
    assert ran(file) == bodies


def test_killed_worker_is_replaced(broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    file = tmp_path / "runs"
    room = broker.room("graphs")
    graph = distribute(
        graphs.crashing, room, name="crashing", checkpointer=NoLagSaver(room), pools={"long": ["special"]}, local=["first", "last"]
    )
    doomed = new_worker("special")
    config: Any = {"configurable": {"thread_id": uuid.uuid4().hex}}
    results: list[Any] = []
    running = threading.Thread(target=lambda: results.append(graph.invoke({"file": str(file)}, config, durability="sync")))
    running.start()
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    doomed.kill()
    heir = new_worker("special")
    wait_until(lambda: ran(file) == ["first", "long", "long"], "the node runs elsewhere")
    file.with_suffix(".go").touch()
    running.join(30)
    assert results[0]["log"] == ["first", "long", "last"]
    pids = [int(line.split()[1]) for line in file.read_text().splitlines()]
    assert pids == [os.getpid(), doomed.process.pid, heir.process.pid, os.getpid()]


@pytest.mark.slow
def test_what_had_finished_on_a_killed_worker_does_not_run_again(
    broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """In a sub-graph that it ran whole, and of the tasks that a body called, or an entrypoint."""
    room = broker.room("graphs")
    graphs_of = {
        "around_crashing": distribute(graphs.around_crashing, room, name="around_crashing", whole=["sub"], pools={"sub": ["doomed"]}),
        "crashing_tasks": distribute(graphs.crashing_tasks, room, name="crashing_tasks", pools={"calls_tasks": ["doomed"]}),
        "crashing_flow": distribute(graphs.crashing_flow, room, name="crashing_flow", pools={"crashing_flow": ["doomed"]}),
    }
    files = {name: tmp_path / name for name in graphs_of}
    seen: dict[str, list[Any]] = {name: [] for name in graphs_of}

    def run(name: str) -> None:
        graph = graphs_of[name].copy({"checkpointer": NoLagSaver(room)})
        config: Any = {"configurable": {"thread_id": uuid.uuid4().hex}}
        seen[name].extend(graph.stream({"file": str(files[name])}, config, durability="sync", stream_mode=["custom", "values"]))

    doomed = new_worker("doomed")
    running = [threading.Thread(target=run, args=(name,)) for name in graphs_of]
    for each in running:
        each.start()
    wait_until(lambda: all(ran(file) == ["first", "long"] for file in files.values()), "what comes second runs")
    doomed.kill()
    new_worker("doomed")
    for file in files.values():
        file.with_suffix(".go").touch()
    for each in running:
        each.join(30)
    assert [chunks[-1][1]["log"] for chunks in seen.values()] == [["first", "long", "last"]] * 3
    for name in ("crashing_tasks", "crashing_flow"):
        assert [chunk for mode, chunk in seen[name] if mode == "custom"] == ["begins", "begins", "ends"]
    assert [ran(file) for file in files.values()] == [["first", "long", "long", "last"]] * 3


def test_broker_restart_while_a_node_asks(tmp_path: Path) -> None:
    """The broker stops and starts again: node, orchestrator and the calls between them go on."""
    file = tmp_path / "runs"
    counter = file.with_suffix(".asked")
    first = LocalBroker(path=tmp_path / "data")
    port = int(first.url.rsplit(":", 1)[1])
    worker = WorkerProcess(first, "worker")
    again = None
    try:
        worker.wait_ready()
        env = {**os.environ, "NOLAG_URL": first.url, "NOLAG_TOKEN": first.token("orchestrator"), "PYTHONPATH": str(HERE)}
        command = [sys.executable, str(HERE / "remote_orchestrator.py"), "asking_back", "t", json.dumps({"file": str(file)})]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: counter.exists() and int(counter.read_text() or 0) > 5, "the node asks")
        first.close()
        again = LocalBroker(path=tmp_path / "data", port=port)
        asked = int(counter.read_text() or 0)
        wait_until(lambda: int(counter.read_text() or 0) > asked + 5, "the node goes on asking")
        file.with_suffix(".go").touch()
        assert finish(process) == ["asked"]
        assert ran(file) == ["keeps_asking"]
    finally:
        worker.kill()
        (again or first).close()


def left_in_the_room(broker: LocalBroker, since: int) -> set[str]:
    """Keyed node tasks dispatched since a sequence that the room still keeps: by node."""
    link = open_room(broker.room("graphs"))
    kept: dict[str, str] = {}
    through, end = since, False
    while not end:
        page = link.call("log.read", after=through, limit=1000, types="task.*", bodies=False)
        through, end = page["through"], page["end"]
        for event in page["events"]:
            if event["type"] == "task.dispatched" and "key" in event["data"]:
                kept[event["data"]["task"]] = event["subject"].rpartition("/")[2]
            elif event["type"] == "task.forgotten":
                for task in event["data"]["tasks"]:
                    kept.pop(task, None)
    return set(kept.values())


def here(broker: LocalBroker) -> int:
    seq: int = open_room(broker.room("graphs")).call("room.info")["seq"]
    return seq


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_nothing_is_left_after_a_run(broker: LocalBroker, thread: Any, tmp_path: Path, durability: Any) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    graph = distribute(graphs.crashing, broker.room("graphs"), name="crashing", checkpointer=InMemorySaver())
    since = here(broker)
    updates = graph.stream({"file": str(file)}, thread, durability=durability, stream_mode="updates")
    seen = [left_in_the_room(broker, since) for update in updates if "last" in update]
    # With "sync" a superstep is on disk when the next one begins, and its results go then; else all go at the end.
    assert seen == [{"last"} if durability == "sync" else {"first", "long", "last"}]
    assert left_in_the_room(broker, since) == set()


@pytest.mark.usefixtures("workers")
def test_nothing_is_left_after_interrupts_and_errors(broker: LocalBroker, thread: Any) -> None:
    since = here(broker)
    asking = distribute(graphs.asking, broker.room("graphs"), name="asking", checkpointer=InMemorySaver())
    asking.invoke({"x": 1}, thread)
    asking.invoke(Command(resume="A"), thread)
    asking.invoke(Command(resume="B"), thread)
    failing = distribute(graphs.failing, broker.room("graphs"), name="failing", checkpointer=InMemorySaver())
    with pytest.raises(graphs.Broken):
        failing.invoke({}, thread)
    assert left_in_the_room(broker, since) == set()


@pytest.mark.usefixtures("workers")
def test_nothing_is_left_of_an_orchestrator_that_died(broker: LocalBroker, orchestrator: Start, tmp_path: Path) -> None:
    """What it had consumed and not forgotten goes with the end of the next run of its thread."""
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    since = here(broker)
    killed = orchestrator("crashing", thread, {"file": str(file)})
    wait_until(lambda: ran(file) == ["first", "long"], "the node runs")
    killed.kill()
    killed.wait(10)
    file.with_suffix(".go").touch()
    assert finish(orchestrator("crashing", thread, None)) == ["first", "long", "last"]
    assert left_in_the_room(broker, since) == set()


@pytest.mark.usefixtures("workers")
def test_an_interrupt_is_forgotten_once_it_is_stored(broker: LocalBroker, thread: Any) -> None:
    """Forgotten before, the body that asked would run again after a crash in between."""
    room = broker.room("graphs")
    since = here(broker)
    asking = distribute(graphs.asking, room, name="asking", checkpointer=NoLagSaver(room))
    asking.invoke({"x": 1}, thread, durability="sync")
    page = open_room(room).call("log.read", after=since, limit=1000, types="**", bodies=False)
    types = [event["type"] for event in page["events"] if event["type"] in ("task.forgotten", "record.written")]
    assert types == ["record.written"] * (len(types) - 1) + ["task.forgotten"]


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("whole", [(), ("sub",)])
def test_the_same_answer_again_is_for_the_next_question(
    broker: LocalBroker, thread: Any, monkeypatch: pytest.MonkeyPatch, whole: tuple[str, ...]
) -> None:
    """The orchestrator dies when the next question is stored. Answered in the same words, it must not be found as it was asked."""
    room = broker.room("graphs")
    graph = distribute(graphs.asking_twice, room, name="asking_twice", checkpointer=NoLagSaver(room), whole=whole)
    graph.invoke({"x": 1}, thread, durability="sync")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "_ending", lambda _: [])  # all that an orchestrator does behind its last checkpoint
        graph.invoke(Command(resume="yes"), thread, durability="sync")
    assert graph.invoke(Command(resume="yes"), thread, durability="sync")["log"] == ["yes", "yes"]


def test_an_answer_that_a_killed_worker_had_taken_is_not_asked_for_again(
    broker: LocalBroker, new_worker: Callable[..., WorkerProcess], thread: Any, tmp_path: Path
) -> None:
    file = tmp_path / "runs"
    room = broker.room("graphs")
    pools = {"take_and_wait": ["doomed"]}
    graph = distribute(graphs.answered_and_killed, room, name="answered_and_killed", checkpointer=NoLagSaver(room), pools=pools)
    doomed = new_worker("doomed")
    graph.invoke({"file": str(file)}, thread, durability="sync")
    results: list[Any] = []
    running = threading.Thread(target=lambda: results.append(graph.invoke(Command(resume="Ana"), thread, durability="sync")))
    running.start()
    wait_until(lambda: ran(file) == ["long"], "the answer is taken, and the body goes on")
    doomed.kill()
    file.with_suffix(".go").touch()
    new_worker("doomed")
    running.join(30)
    assert [result["log"] for result in results] == [["Ana"]]


@pytest.mark.parametrize("moment", ["before", "inside", "after"])
def test_a_graph_that_remembers_hears_all_that_is_said_to_it(
    broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path, moment: str
) -> None:
    """Wherever the worker dies: what an earlier run left there is no answer, and what this one left is."""
    room = broker.room("graphs")
    pools = {"call_memory": ["doomed"]}
    graph = distribute(graphs.remembering_and_killed, room, name="remembering_and_killed", checkpointer=NoLagSaver(room), pools=pools)
    for _ in range(2):
        new_worker("doomed")
    config: Any = {"configurable": {"thread_id": uuid.uuid4().int >> 70}}
    for said in ("first", "second"):
        if said == "second":
            (tmp_path / f"runs.{moment}").touch()
        result = graph.invoke({"file": str(tmp_path / "runs"), "anything": said}, config, durability="sync")
    assert result["log"] == [[1, "first", "thought"], [2, "first", "thought", "second", "thought"]]
