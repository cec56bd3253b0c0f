"""The worker itself: what it serves, who it is, how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import remote_graphs as graphs
from remote_processes import WorkerProcess

from langgraph_nolag import (
    BufferFull,
    LocalBroker,
    NotAuthorized,
    NotDecodable,
    RequestTimeout,
    TaskFailed,
    Worker,
    connect,
    distribute,
    open_room,
)
from langgraph_nolag.client import standing
from langgraph_nolag.graph.remote import envelope, lookout
from langgraph_nolag.testing import eventually
from nolag_broker.core.limits import Limits


async def serve(worker: Worker, broker: LocalBroker, actor: str) -> tuple[asyncio.Task[None], asyncio.Event, list[str]]:
    """Run a worker in this process until the event is set."""
    lines: list[str] = []
    stop, ready = asyncio.Event(), asyncio.Event()

    def on_ready(line: str) -> None:
        lines.append(line)
        ready.set()

    running = asyncio.create_task(worker.arun(url=broker.url, token=broker.token(actor), on_ready=on_ready, stop=stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    return running, stop, lines


async def test_nodes_tools_and_tasks_of_one_worker(broker: LocalBroker, tmp_path: Path) -> None:
    room = f"room-{uuid.uuid4().hex[:6]}"
    worker = Worker(room=room, capabilities=["all"], concurrency=2)
    worker.graph(graphs.mixed_chain, name="mixed")

    @worker.tool
    def shout(text: str) -> str:
        """Say it loudly."""
        return text.upper()

    @worker.task("draft")
    async def draft(task: Any) -> dict[str, Any]:
        return {"got": task.payload}

    running, stop, lines = await serve(worker, broker, "jack")
    assert lines == [lines[0]]
    assert lines[0].startswith("worker ready: jack/")
    assert f"in room {room}: 2 nodes of mixed; 1 tools; tasks draft" in lines[0]
    graph = distribute(graphs.mixed_chain, broker.room(room), name="mixed", pools={"plus_one": ["all"]})
    assert (await graph.ainvoke({"x": 1}))["x"] == 20
    async with connect(broker.url, token=broker.token("boss")) as client:
        joined = await client.join(room)
        assert await joined.tools.invoke("shout", {"text": "hi"}) == "HI"
        task = await joined.handoff.dispatch("draft", {"topic": "tea"}, capabilities=["all"])
        assert await task.result(timeout=10) == {"got": {"topic": "tea"}}
        member = next(agent for agent in await joined.presence.list() if agent.actor.startswith("jack/"))
        assert member.capabilities == ["all"] or tuple(member.capabilities) == ("all",)
        assert member.max_concurrency == 2
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_worker_only_takes_its_nodes(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    room = f"room-{uuid.uuid4().hex[:6]}"
    worker = Worker(room=room)
    worker.graph(graphs.sync_chain, nodes=["plus_one"], name="part")
    running, stop, _ = await serve(worker, broker, "part")
    graph = distribute(graphs.sync_chain, broker.room(room), name="part")
    monkeypatch.setattr(lookout, "PATIENCE", 0.1)
    caplog.set_level(logging.WARNING, "langgraph_nolag")
    invoked = asyncio.create_task(graph.ainvoke({"x": 1}))
    async with connect(broker.url, token=broker.token("boss")) as client:
        link = (await client.join(room)).link

        async def waiting() -> list[str]:
            return [task["type"].rpartition("/")[2] for task in (await link.acall("task.list", states=["waiting"]))["tasks"]]

        async with asyncio.timeout(10):
            while await waiting() != ["double"] or "node 'double' waits: no worker" not in caplog.text:
                await asyncio.sleep(0.02)
        other = Worker(room=room)
        other.graph(graphs.sync_chain, nodes=["double"], name="part")
        running2, stop2, _ = await serve(other, broker, "other")
        assert (await asyncio.wait_for(invoked, 10))["x"] == 4
    stop.set()
    stop2.set()
    await asyncio.wait_for(asyncio.gather(running, running2), 20)


async def test_worker_that_is_not_granted_the_room(broker: LocalBroker) -> None:
    worker = Worker(room="elsewhere")
    worker.graph(graphs.sync_chain)
    token = broker.token("poor", grants=[{"room": "home", "topics": ["**"], "verbs": ["claim", "subscribe"]}])
    with pytest.raises(NotAuthorized):
        await worker.arun(url=broker.url, token=token)


def crashing(broker: LocalBroker, pool: str, file: Path) -> tuple[threading.Thread, list[Any]]:
    """An invocation whose second node runs on that pool, until the file's `.go` is there; and where its result comes."""
    graph = distribute(graphs.crashing, broker.room("graphs"), name="crashing", pools={"long": [pool]}, local=["first", "last"])
    results: list[Any] = []
    running = threading.Thread(target=lambda: results.append(graph.invoke({"file": str(file)})))
    running.start()
    return running, results


def test_sigterm_lets_a_running_node_finish(broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    file = tmp_path / "runs"
    worker = new_worker("drain")
    running, results = crashing(broker, "drain", file)
    wait_for_lines(file, 2)
    worker.process.send_signal(signal.SIGTERM)
    file.with_suffix(".go").touch()
    running.join(20)
    assert results[0]["log"] == ["first", "long", "last"]
    assert worker.process.wait(20) == 0
    assert len(file.read_text().splitlines()) == 3


def test_sigterm_hands_back_what_takes_too_long(broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    file = tmp_path / "runs"
    worker = new_worker("slow", "0.3")
    running, results = crashing(broker, "slow", file)
    wait_for_lines(file, 2)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(20) == 0  # although the body still runs
    new_worker("slow")
    wait_for_lines(file, 3)
    file.with_suffix(".go").touch()
    running.join(20)
    assert results[0]["log"] == ["first", "long", "last"]


def test_second_signal_ends_at_once(broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    file = tmp_path / "runs"
    worker = new_worker("stubborn")
    running, _ = crashing(broker, "stubborn", file)
    wait_for_lines(file, 2)
    worker.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 20
    while worker.process.poll() is None:
        assert time.monotonic() < deadline
        worker.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert worker.process.returncode in (128 + signal.SIGINT, -signal.SIGINT)
    file.with_suffix(".go").touch()
    new_worker("stubborn")
    running.join(20)
    assert not running.is_alive()


async def test_a_worker_that_has_no_place_in_the_room_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standing, "REFUSALS", 2)
    monkeypatch.setattr("nolag_broker.server.node.Limits", partial(Limits, members=1))
    worker, stop = Worker(room="full"), asyncio.Event()
    worker.graph(graphs.sync_chain)
    with LocalBroker() as broker:
        async with connect(broker.url, token=broker.token("first")) as first:
            await first.join("full")
            running = asyncio.create_task(worker.arun(url=broker.url, token=broker.token("second"), stop=stop))
            await eventually(lambda: "members are here already" in caplog.text)
            stop.set()
            async with asyncio.timeout(10):
                await running


async def test_a_worker_that_serves_again_runs_graphs_over_its_new_connection(broker: LocalBroker) -> None:
    room = f"room-{uuid.uuid4().hex[:6]}"
    worker = Worker(room=room)
    worker.graph(graphs.sync_chain, name="again", resume=True)
    async with connect(broker.url, token=broker.token("asker")) as asker:
        runs = (await asker.join(room)).runs
        for life in ("first", "second"):
            running, stop, _ = await serve(worker, broker, f"worker-{life}")
            run = await runs.start("again", {"x": 1}, {"configurable": {"thread_id": life}})
            assert (await run.result(timeout=20)).status == "done"
            stop.set()
            await running


async def test_a_look_for_workers_that_fails_says_nothing_and_is_made_again(
    broker: LocalBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lookout, "PATIENCE", 0.05)
    monkeypatch.setattr(lookout, "SELDOM", 0.05)
    caplog.set_level(logging.WARNING, "langgraph_nolag")
    room = broker.room(f"room-{uuid.uuid4().hex[:6]}")
    room_link = open_room(room)
    request, said = room_link.request, []

    def failing(op: str, *args: Any, **fields: Any) -> Future[Any]:
        if op == "presence.list":
            said.append("waits: no worker" in caplog.text)
            if len(said) == 1:
                raise BufferFull("full")
            if len(said) == 2:
                failed: Future[Any] = Future()
                failed.set_exception(RequestTimeout("no answer"))
                return failed
        return request(op, *args, **fields)

    monkeypatch.setattr(room_link, "request", failing)
    invoked = asyncio.create_task(distribute(graphs.sync_chain, room, name="looked").ainvoke({"x": 1}))
    await eventually(lambda: "waits: no worker" in caplog.text)
    assert said == [False] * 3
    invoked.cancel()
    await asyncio.wait({invoked})


def test_a_worker_that_is_revoked_ends_although_a_body_runs(
    broker: LocalBroker, new_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    file = tmp_path / "runs"
    worker = new_worker("revoked", "0.3")
    running, results = crashing(broker, "revoked", file)
    wait_for_lines(file, 2)
    boss = open_room(f"{broker.url}/graphs", token=broker.token("boss", grants=[{"room": "**", "verbs": ["admin"]}]))
    (actor,) = [member["actor"] for member in boss.call("presence.list")["members"] if member["capabilities"] == ["revoked"]]
    boss.connection.call("token.revoke", actor=actor.partition("/")[0])
    assert worker.process.wait(20) == 1
    assert "for good: revoked" in "".join(worker.output)
    new_worker("revoked")
    wait_for_lines(file, 3)
    file.with_suffix(".go").touch()
    running.join(20)
    assert results[0]["log"] == ["first", "long", "last"]


def wait_for_lines(file: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not file.exists() or len(file.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_node_that_loses_every_worker(broker: LocalBroker) -> None:
    """The fifth lost hand-out is the last one."""
    room = f"room-{uuid.uuid4().hex[:6]}"
    graph = distribute(graphs.sync_chain, broker.room(room), name="doomed")
    invoked = asyncio.create_task(graph.ainvoke({"x": 1}))
    async with connect(broker.url, token=broker.token("bad")) as client:
        link = (await client.join(room)).link
        seen: list[int] = []

        def on_task(task: Any) -> None:
            seen.append(task.attempt)
            task.offer.fail(task, "lost", "nobody there", delay=0)

        offer = link.serve(kind="node", slots=1, on_task=on_task)
        with pytest.raises(TaskFailed, match=r"plus_one.*nobody there"):
            await asyncio.wait_for(invoked, 20)
        assert seen == [1, 2, 3, 4, 5]
        offer.close()


@pytest.mark.usefixtures("workers")
def test_a_body_that_another_version_laid_out(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_pad_facts", lambda pad: [pad.step])
    graph = distribute(graphs.called, broker.room("graphs"), name="called", timeout=10)
    with pytest.raises(NotDecodable, match="the same version"):
        graph.invoke({"x": 1})
