"""What goes wrong with graphs on workers is said: a typed error or a visible wait, naming what is wrong. Nothing is lost, nothing hangs.

Everything here goes through the public API, with a worker in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import ormsgpack
import pytest
from langgraph.errors import InvalidUpdateError
from langgraph.types import Command

from langgraph_nolag import LocalBroker, NoLagSaver, NoLagStore, Room, Worker, connect, distribute, room_agent
from langgraph_nolag.errors import (
    BadRequest,
    MessageTooLarge,
    NotDecodable,
    NotEncodable,
    TaskFailed,
    TaskNotFound,
    TaskTimeout,
    ToolFailed,
    ToolNotFound,
)
from langgraph_nolag.graph.errors import NothingToDecide, NotImportable, NotSupported, UntrustedType
from langgraph_nolag.graph.remote import execution, lookout
from langgraph_nolag.testing import eventually

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))  # workers import the graphs by the same name

import misused_graphs as graphs

WITHIN = 20.0  # seconds that anything here may take

Invoke = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(disconnect_grace=0.1, max_value=200_000) as broker:
        broker.spawn_worker("misused_worker:app")[0].wait_ready()
        yield broker


@pytest.fixture
async def room(broker: LocalBroker) -> AsyncIterator[Room]:
    async with connect(broker.url, token=broker.token("ana")) as client:
        yield await client.join("demo")


@pytest.fixture
def thread() -> dict[str, Any]:
    return {"configurable": {"thread_id": uuid.uuid4().hex}}


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Invoke:
    async def call(graph: Any, *args: Any, **options: Any) -> Any:
        run = asyncio.to_thread(graph.invoke, *args, **options) if request.param == "sync" else graph.ainvoke(*args, **options)
        return await asyncio.wait_for(run, WITHIN)

    return call


def kept(graph: Any, broker: LocalBroker, **options: Any) -> Any:
    """The graph over the room, with its checkpoints there."""
    return distribute(graph, broker.room("demo"), checkpointer=NoLagSaver(broker.room("demo")), **options)


async def no_tasks(room: Room) -> None:
    """Nothing of what failed waits, runs or lies about."""
    states = ["waiting", "parked", "delayed", "running", "failed"]
    assert (await room.link.acall("task.list", states=states))["tasks"] == []


# ------------------------------------------------------------------------------------------ classes and values


async def test_a_class_that_the_worker_can_not_import(broker: LocalBroker, room: Room, thread: Any, invoke: Invoke) -> None:
    graph = kept(graphs.plus_graph, broker)
    with pytest.raises(UntrustedType, match=r"misused_graphs:OnlyHere is not a class of that module .* same version"):
        await invoke(graph, {"x": graphs.OnlyHere()}, thread, durability="sync")
    await no_tasks(room)
    assert (await graph.aget_state(thread)).values["x"] == graphs.OnlyHere(), "the thread is as it was"
    await graph.aupdate_state(thread, {"x": 1}, as_node="__start__")
    assert (await invoke(graph, None, thread, durability="sync"))["x"] == 2


@pytest.mark.parametrize("graph", [graphs.give_graph, graphs.agive_graph], ids=["sync node", "async node"])
@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("lock", NotEncodable, r"result of node 'a?give'\['x'\]\[1\]\['key'\]: a _thread.lock has no form"),
        ("local", NotImportable, r"\['x'\]: the class local_class.<locals>.Local .* move it to the top level"),
        ("deep", NotEncodable, "recursion limit"),
        ("number", InvalidUpdateError, "Expected dict, got 5"),
        ("question", NotEncodable, "a _thread.lock has no form"),
        ("large", TaskFailed, "node 'a?give': a value of 300.* bytes; this broker takes 200000"),
    ],
)
async def test_what_a_node_can_not_return(
    broker: LocalBroker, room: Room, thread: Any, graph: Any, what: str, error: Any, words: str
) -> None:
    """No retry would help, so there is none; the worker goes on, and so can the thread."""
    remote = kept(graph, broker)
    with pytest.raises(error, match=words):
        await asyncio.wait_for(remote.ainvoke({"x": what}, thread, durability="sync"), WITHIN)
    assert (await remote.ainvoke({"x": "fine"}, thread, durability="sync"))["x"] == "fine"


@pytest.mark.parametrize("graph", [graphs.give_graph, graphs.agive_graph], ids=["sync node", "async node"])
async def test_a_node_that_exits(broker: LocalBroker, graph: Any) -> None:
    """`sys.exit()` in a node is its caller's, as in one process. The worker goes on, with whatever else it does."""
    remote = distribute(graph, broker.room("demo"))
    with pytest.raises(SystemExit):
        await asyncio.to_thread(lambda: asyncio.run(remote.ainvoke({"x": "exit"})))
    assert (await asyncio.wait_for(remote.ainvoke({"x": "fine"}), WITHIN))["x"] == "fine"


async def test_input_that_can_not_be_stored_or_sent(broker: LocalBroker, room: Room, thread: Any, invoke: Invoke) -> None:
    lock = [threading.Lock()]
    with pytest.raises(NotEncodable, match=r"input of node 'plus'\['x'\]\[0\]: a _thread.lock has no form"):
        await invoke(distribute(graphs.plus_graph, broker.room("demo")), {"x": lock})
    graph = kept(graphs.plus_graph, broker)
    with pytest.warns(UserWarning, match="input of the run"), pytest.raises(NotEncodable, match=r"of the state: .*_thread\.lock"):
        await invoke(graph, {"x": lock}, thread, durability="sync")
    with pytest.raises(MessageTooLarge, match="this broker takes 200000"):
        await invoke(graph, {"x": b"x" * 300_000}, thread, durability="sync")
    there = {"configurable": {**thread["configurable"], "helper": lock}}
    with pytest.raises(NotEncodable, match=r"config\['configurable'\]\['helper'\]\[0\]"):
        await invoke(graph, {"x": 1}, there, durability="sync")
    assert (await invoke(graph, None, thread, durability="sync"))["x"] == 2
    await no_tasks(room)


def test_classes_and_nodes_that_no_worker_could_import(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.graph import START, StateGraph

    builder = StateGraph(graphs.local_class())
    builder.add_node("plus", graphs.plus)
    builder.add_edge(START, "plus")
    with pytest.raises(NotImportable, match=r"the class local_class.<locals>.Local in the state of nodes plus .* move it to the top level"):
        distribute(builder.compile(), broker.room("demo"))
    with monkeypatch.context() as patch:
        patch.setattr(graphs.plus, "__module__", "__main__")
        with pytest.raises(NotImportable, match=r"node 'plus' is defined in __main__.* local=\['plus'\]"):
            distribute(graphs.plus_graph, broker.room("demo"))


def test_names_that_no_node_has(broker: LocalBroker) -> None:
    for options in ({"local": ["pluss"]}, {"pools": {"pluss": ["gpu"]}}):
        with pytest.raises(ValueError, match=r"names 'pluss', which is no node of this graph; its nodes are plus"):
            distribute(graphs.plus_graph, broker.room("demo"), **options)
    with pytest.raises(ValueError, match="its nodes are plus"):
        Worker(room="demo").graph(graphs.plus_graph, nodes=["pluss"])
    with pytest.raises(NotSupported, match="compile"):
        distribute(graphs.plus_graph.builder, broker.room("demo"))


def test_two_graphs_of_one_name() -> None:
    worker = Worker(room="demo")
    worker.graph(graphs.plus_graph)
    with pytest.raises(ValueError, match=r"two graphs are called plus@\w+: give them a name="):
        worker.graph(graphs.graph_of(graphs.plus))
    worker.graph(graphs.graph_of(graphs.plus, graphs.question))  # another version is another graph


# ------------------------------------------------------------------------------------------ who is there


async def said(caplog: pytest.LogCaptureFixture, *words: str) -> str:
    """Wait until a node says why it waits, in one line with all these words."""

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if all(word in record.getMessage() for word in words)]

    return str((await eventually(lines, WITHIN))[0])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(lookout, "PATIENCE", 0.05)
    caplog.set_level(logging.WARNING, "langgraph_nolag")
    return caplog


async def test_a_worker_of_another_version(broker: LocalBroker, room: Room, thread: Any, impatient: pytest.LogCaptureFixture) -> None:
    """It is not given the node; the wait names both versions, and whoever is there; a worker that fits ends it."""
    newer = graphs.graph_of(graphs.plus, graphs.give)
    graph = kept(newer, broker)
    running = asyncio.create_task(graph.ainvoke({"x": 1}, thread, durability="sync"))
    line = await said(impatient, "node 'plus' waits", "another version")
    here, there = graph.distribution.name, distribute(graphs.plus_graph, broker.room("demo")).distribution.name
    assert here != there
    assert f"serves {here}" in line
    assert "worker-1/" in line
    assert f"serves {there}, another version" in line
    assert [task["type"] for task in (await room.link.acall("task.list", states=["waiting"]))["tasks"]] == [f"{here}/plus"]
    async with serving(broker, newer):
        assert (await asyncio.wait_for(running, WITHIN))["x"] == 2


@contextlib.asynccontextmanager
async def serving(broker: LocalBroker, graph: Any) -> AsyncIterator[None]:
    """A worker in this process."""
    worker, stop, ready = Worker(room=broker.room("demo")), asyncio.Event(), asyncio.Event()
    worker.graph(graph)
    running = asyncio.create_task(worker.arun(stop=stop, on_ready=lambda line: ready.set()))
    try:
        await asyncio.wait_for(ready.wait(), WITHIN)
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, WITHIN)


async def test_a_worker_that_is_missing(
    broker: LocalBroker, room: Room, thread: Any, invoke: Invoke, impatient: pytest.LogCaptureFixture
) -> None:
    """A visible wait, then a timeout; the thread goes on once there is one."""
    lonely = graphs.graph_of(graphs.question)
    graph = kept(lonely, broker, name="lonely", timeout=0.3)
    with pytest.raises(TaskTimeout, match=r"node 'question' of lonely@\w+ gave no answer within 0.3 s"):
        await invoke(graph, {"x": 1}, thread, durability="sync")
    assert "otherwise start one, with app.graph" in await said(impatient, "node 'question' waits: no worker in room demo", "serves lonely@")
    await no_tasks(room)
    worker = kept(lonely, broker, name="question")  # its worker is there
    assert "__interrupt__" in await invoke(worker, None, thread, durability="sync")


async def test_a_worker_that_had_the_node_and_is_gone(broker: LocalBroker, impatient: pytest.LogCaptureFixture) -> None:
    """Then it waits again, and that is said again."""
    graph = distribute(graphs.graph_of(graphs.question), broker.room("demo"), name="left")
    taken = threading.Event()
    async with connect(broker.url, token=broker.token("taker")) as client:
        taker = await client.join("demo")
        taker.link.serve(kind="node", types=[f"{graph.distribution.name}/question"], on_task=lambda task: taken.set())
        running = asyncio.create_task(graph.ainvoke({"x": 1}))
        assert await asyncio.to_thread(taken.wait, WITHIN)
        await asyncio.sleep(4 * lookout.PATIENCE)  # it was looked at, and somebody had it
        assert not impatient.records
    await said(impatient, "node 'question' waits: no worker in room demo", "serves left@")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_capabilities_that_nobody_has(broker: LocalBroker, impatient: pytest.LogCaptureFixture, invoke: Invoke) -> None:
    graph = distribute(graphs.plus_graph, broker.room("demo"), pools={"plus": ["gpu"]}, timeout=0.3)
    with pytest.raises(TaskTimeout):
        await invoke(graph, {"x": 1})
    assert "lacks a capability" in await said(impatient, "node 'plus' waits", "and has gpu", "worker-1/")


async def test_a_step_timeout_ends_what_waits_for_a_worker(broker: LocalBroker, room: Room, invoke: Invoke) -> None:
    """Also where LangGraph waits for its threads."""
    graph = graphs.parallel()
    graph.step_timeout = 0.2
    with pytest.raises(TimeoutError):
        await invoke(distribute(graph, broker.room("demo"), name="nobodys"), {"x": 1})
    await eventually(lambda: _gone(room), WITHIN)


async def _gone(room: Room) -> bool:
    return not (await room.link.acall("task.list", states=["waiting"]))["tasks"]


def test_ctrl_c(broker: LocalBroker) -> None:
    """It ends an invoke whose nodes wait for workers, one or several, sync or async, and takes them back."""
    command = [sys.executable, str(Path(__file__).with_name("misused_main.py"))]
    environment = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token("caller")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    watchdog = threading.Timer(2 * WITHIN, process.kill)
    watchdog.start()
    try:
        for _ in range(3):
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


async def test_a_node_that_kills_its_workers(broker: LocalBroker, thread: Any) -> None:
    """Five may be lost on it; then it has failed, and says so."""
    graph = kept(graphs.poison_graph, broker)
    command = [sys.executable, str(Path(__file__).with_name("misused_poison.py"))]
    environment = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token("victim")}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    try:
        with pytest.raises(TaskFailed, match=r"node 'poison' lost 5 workers, one after the other") as caught:
            await asyncio.wait_for(graph.ainvoke({"x": 1}, thread, durability="sync"), WITHIN)
        assert not caught.value.retryable
        assert (await graph.aget_state(thread)).next == ("poison",)
    finally:
        process.terminate()
        out, _ = await process.communicate()
    assert out.decode().split()[:5] == ["lost"] * 5


async def test_a_broker_that_stops_while_a_node_is_waited_for(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "ANSWER_SLACK", 0.2)
    monkeypatch.setattr(execution, "CANCEL_SLACK", 0.2)
    broker = LocalBroker()
    async with connect(broker.url, token=broker.token("ana")) as client:
        link = (await client.join("demo")).link
        graph = distribute(graphs.plus_graph, broker.room("demo"), timeout=1.0)
        running = asyncio.ensure_future(invoke(graph, {"x": 1}))
        await eventually(lambda: _dispatched(link), WITHIN)
    await asyncio.to_thread(broker._running.stop)  # the connection of this process stays, and tries to come back
    try:
        with pytest.raises(TaskTimeout, match="gave no answer within 1 s") as caught:
            await running
        assert caught.value.maybe_applied
    finally:
        broker.close()


async def _dispatched(link: Any) -> bool:
    return bool((await link.acall("task.list", states=["waiting"]))["tasks"])


# ------------------------------------------------------------------------------------------ threads and answers


@pytest.mark.parametrize("id", [7, "", "a/b\0* ü", "x" * 300])
async def test_ids_of_any_kind(broker: LocalBroker, invoke: Invoke, id: Any) -> None:
    graph, config = kept(graphs.plus_graph, broker), {"configurable": {"thread_id": id}}
    assert (await invoke(graph, {"x": 1}, config, durability="sync"))["x"] == 2
    assert (await graph.aget_state({"configurable": {"thread_id": str(id)}})).values["x"] == 2


async def test_an_id_that_is_too_long(broker: LocalBroker, room: Room, invoke: Invoke) -> None:
    config = {"configurable": {"thread_id": "x" * 5000}}
    with pytest.raises(BadRequest, match="thread_id of 5000 characters"):
        await invoke(kept(graphs.plus_graph, broker), {"x": 1}, config, durability="sync")
    await no_tasks(room)


async def test_a_resume_of_a_thread_that_does_not_wait(broker: LocalBroker, room: Room, thread: Any, invoke: Invoke) -> None:
    """As LangGraph has it: a thread that has ended stays so, and one that has not begun begins; who wants an error asks for decisions."""
    from langgraph_nolag import await_decisions

    graph = kept(graphs.plus_graph, broker)
    await invoke(graph, {"x": 1}, thread, durability="sync")
    assert (await invoke(graph, Command(resume="yes"), thread, durability="sync"))["x"] == 2
    with pytest.raises(NothingToDecide, match=thread["configurable"]["thread_id"]):
        await await_decisions(graph, thread)
    asking = kept(graphs.question_graph, broker)
    fresh = {"configurable": {"thread_id": uuid.uuid4().hex}}
    assert "__interrupt__" in await invoke(asking, Command(resume="yes"), fresh, durability="sync")
    await invoke(asking, Command(resume={"a" * 32: "yes"}), fresh, durability="sync")  # of an interrupt that there is not
    assert len((await asking.aget_state(fresh)).interrupts) == 1
    assert (await invoke(asking, Command(resume="yes"), fresh, durability="sync"))["x"] == "yes"
    await no_tasks(room)


async def test_answers_that_are_none_leave_a_gate_answerable(broker: LocalBroker, room: Room, thread: Any, invoke: Invoke) -> None:
    graph = kept(graphs.ask_graph, broker)
    await invoke(graph, {"x": 1}, thread, durability="sync")
    lock, large = threading.Lock(), {"type": "edit", "args": {"eur": b"x" * 300_000}}
    with pytest.warns(UserWarning, match="input of the run.resume"), pytest.raises(NotEncodable, match=r"a _thread\.lock has no form"):
        await invoke(graph, Command(resume={"type": "edit", "args": {"eur": lock}}), thread, durability="sync")
    with pytest.raises(MessageTooLarge):
        await invoke(graph, Command(resume=large), thread, durability="sync")
    for answer in (7, {"x": 1}, {"type": "aprove"}, {"nolag_decision": "another"}, [{"type": "approve"}] * 2, {"type": "edit", "args": 5}):
        with pytest.raises(ValueError, match=r"not a decision|not allowed|waits for approval|asks for one|needs the new arguments"):
            await invoke(graph, Command(resume=answer), thread, durability="sync")
    assert len([each for each in await room.approve.pending() if each.action == "pay"]) == 1
    assert (await invoke(graph, Command(resume={"type": "approve"}), thread, durability="sync"))["x"] == ["approve", {"eur": 5}]
    await no_tasks(room)


# ------------------------------------------------------------------------------------------ runs, tools, agents, memory


async def test_runs_that_can_not_be(room: Room) -> None:
    for asked in (room.runs.get("nope"), room.runs.result("nope"), room.runs.cancel("nope"), anext(aiter(room.runs.stream("nope")))):
        with pytest.raises(TaskNotFound, match="nope"):
            await asyncio.wait_for(asked, WITHIN)
    with pytest.raises(NotEncodable, match=r"_thread\.lock has no plain form"):
        await room.runs.start("plus", {"x": [threading.Lock()]})
    with pytest.raises(BadRequest, match="thread_id of 5000 characters"):
        await room.runs.start("plus", {}, {"configurable": {"thread_id": "x" * 5000}})
    with pytest.raises(BadRequest, match="on_busy"):
        await room.runs.start("plus", {}, on_busy="perhaps")  # type: ignore[arg-type]
    assert await room.runs.list() == []


async def test_a_run_of_a_graph_that_nobody_serves(room: Room) -> None:
    """It waits where everybody sees it, until its timeout."""
    run = await room.runs.start("ghost", {"x": 1}, timeout=0.5)
    assert [(info.graph, info.state) for info in await room.runs.list()] == [("ghost", "waiting")]
    for patience in (0, 0.001, 0.01):
        with pytest.raises(TaskTimeout, match="it goes on") as caught:
            await run.result(timeout=patience)
        assert caught.value.state is None, "the wait is over, not the run"
    with pytest.raises(TaskTimeout) as caught:
        await asyncio.wait_for(run.result(), WITHIN)
    assert caught.value.state == "timed_out"


async def test_an_agent_that_nobody_serves(broker: LocalBroker, invoke: Invoke) -> None:
    with pytest.raises(TaskTimeout, match="ghost"):
        await invoke(room_agent("ghost", broker.room("demo"), timeout=0.2), {"messages": ["hi"]})


async def test_a_tool_that_is_misused(broker: LocalBroker, room: Room) -> None:
    with pytest.raises(ToolNotFound, match="ghost"):
        await room.tools.invoke("ghost", {})
    with pytest.raises(ToolFailed, match="Field required"):
        await room.tools.invoke("odd", {"p": "x"})
    [tool] = [tool for tool in await room.tools.list() if tool.name == "odd"]
    answer = await tool.ainvoke({"name": "odd", "args": {"q": "x"}, "id": "1", "type": "tool_call"})
    assert "object object at" in answer.content, "as LangChain has it: its text"


@pytest.mark.parametrize(
    ("embed", "words"),
    [
        (lambda texts: [[1.0, 2.0] for _ in texts], "a vector of 2 numbers where index= says dims=3"),
        (lambda texts: [], "0 vectors for 1 texts"),
        (lambda texts: None, "a NoneType for 1 texts"),
    ],
)
async def test_embeddings_that_do_not_fit(broker: LocalBroker, embed: Any, words: str) -> None:
    store = NoLagStore(broker.room("demo"), index={"dims": 3, "embed": embed, "fields": ["text"]})
    with pytest.raises(ValueError, match=words):
        await asyncio.to_thread(store.put, ("notes",), "1", {"text": "tea"})
    with pytest.raises(ValueError, match=words):
        await store.aput(("notes",), "1", {"text": "tea"})
    assert await store.aget(("notes",), "1") is None


# ------------------------------------------------------------------------------------------ hostile bytes


async def test_hostile_bytes_in_a_thread(broker: LocalBroker, room: Room, thread: Any, invoke: Invoke, tmp_path: Path) -> None:
    """Somebody who may write records puts code into a thread: it is never run, and put right the thread goes on."""
    canary = tmp_path / "ran"
    graph = kept(graphs.question_graph, broker)
    await invoke(graph, {"x": 1}, thread, durability="sync")
    name = thread["configurable"]["thread_id"]
    keys = [item[0] for item in (await room.link.acall("record.scan", prefix=f"checkpoint/{name}/v/", limit=100))["items"]]
    [key] = [key for key in keys if "/x/" in key]
    [good] = (await room.link.acall("record.read", keys=[key]))["bodies"]
    call = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("os", "system", f"touch {canary}"))))
    for payload in (("msgpack", call), ("pickle", pickle.dumps(Touch(canary))), ("msgpack", b"\xc1")):
        await room.link.acall("record.write", puts=[[key, msgpack.packb(payload), False]], deletes=[], delete_prefixes=[])
        with pytest.raises((UntrustedType, NotDecodable)):
            await invoke(graph, Command(resume="yes"), thread, durability="sync")
    await room.link.acall("record.write", puts=[[key, good, False]], deletes=[], delete_prefixes=[])
    assert (await invoke(graph, Command(resume="yes"), thread, durability="sync"))["x"] == "yes"
    assert not canary.exists()


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


async def test_a_hostile_worker(broker: LocalBroker, room: Room, invoke: Invoke, tmp_path: Path) -> None:
    """What a node answers is read as warily."""
    canary = tmp_path / "ran"
    graph = distribute(graphs.plus_graph, broker.room("demo"), name="hostile")
    named = msgpack.packb(msgpack.ExtType(3, msgpack.packb(["os:system", {}])))
    answers = [pickle.dumps(Touch(canary)), b"", msgpack.packb(["value", named, b"\x92\x90\xc0", []])]

    def answer(task: Any) -> None:
        task.offer.complete(task, answers.pop())

    offer = room.link.serve(kind="node", types=[f"{graph.distribution.name}/plus"], slots=1, on_task=answer)
    try:
        for _ in range(3):
            with pytest.raises((UntrustedType, NotDecodable, TaskFailed)):
                await invoke(graph, {"x": 1})
    finally:
        offer.close()
    assert not canary.exists()
