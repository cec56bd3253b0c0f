"""A caller that is cancelled waits for its nodes to end on their workers, within a bound; what comes later counts for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import remote_graphs as graphs
from langgraph.store.memory import InMemoryStore
from remote_processes import WorkerProcess

from langgraph_nolag import LocalBroker, NoLagSaver, TaskCancelled, connect, distribute
from langgraph_nolag.testing import eventually

pytestmark = pytest.mark.usefixtures("workers")
WITHIN = 15.0  # seconds: much less than anything here would take by itself


def said(file: Path) -> list[str]:
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


async def ended(broker: LocalBroker) -> list[tuple[str, str | None]]:
    """How the tasks of the graph ended, as the log has it: for each the event, and how it was let go."""
    async with connect(broker.url, token=broker.token("reader")) as client:
        link = (await client.join("graphs")).link
        events = (await link.acall("log.read", types="task.c*", subject="cleaning@*/*", limit=1000))["events"]
    return [(event["type"], event["data"].get("let_go")) for event in events if event["type"] not in ("task.claimed", "task.cancelling")]


class Invoked:
    """A graph that is being invoked."""

    def __init__(self, broker: LocalBroker, file: Path, thread: Any, cancel_timeout: float, pool: Sequence[str] = ()) -> None:
        self.file, self.store = file, InMemoryStore()
        room = broker.room("graphs")
        options: Any = {"store": self.store, "pools": {"cleans_up": pool}, "cancel_timeout": cancel_timeout}
        self.graph = distribute(graphs.cleaning, room, name="cleaning", checkpointer=NoLagSaver(room), **options)
        self.running = asyncio.ensure_future(self.graph.ainvoke({"file": str(file)}, thread, durability="sync"))

    async def cancel(self) -> None:
        await eventually(lambda: said(self.file) == ["began"], WITHIN)
        self.running.cancel()

    async def is_over(self) -> None:
        await asyncio.wait({self.running}, timeout=WITHIN)
        assert self.running.cancelled()


Invoke = Callable[..., Invoked]


@pytest.fixture
def invoked(broker: LocalBroker, tmp_path: Path, thread: Any) -> Invoke:
    return lambda cancel_timeout, *pool: Invoked(broker, tmp_path / "file", thread, cancel_timeout, pool)


async def test_the_store_is_there_while_a_node_cleans_up(invoked: Invoke) -> None:
    run = invoked(60.0)
    await run.cancel()
    await eventually(lambda: said(run.file) == ["began", "cancelled"], WITHIN)
    assert not run.running.done()
    run.running.cancel()  # again, as LangGraph does to the siblings of a node that failed
    run.file.with_suffix(".go").touch()
    await run.is_over()
    assert said(run.file) == ["began", "cancelled", "stored"]
    assert run.store.get(("left",), "by") is not None


async def test_whoever_cancels_a_run_waits_for_its_nodes(broker: LocalBroker, invoked: Invoke, thread: Any) -> None:
    run = invoked(60.0)
    await eventually(lambda: said(run.file) == ["began"], WITHIN)
    async with connect(broker.url, token=broker.token("boss")) as client:
        room = await client.join("graphs")
        [held] = await room.runs.list(thread_id=thread["configurable"]["thread_id"])
        cancelled = asyncio.ensure_future(room.runs.cancel(held.id, "no more", wait=60.0))
        await eventually(lambda: said(run.file) == ["began", "cancelled"], WITHIN)
        assert not cancelled.done()
        run.file.with_suffix(".go").touch()
        assert await asyncio.wait_for(cancelled, WITHIN) == "cancelled"
    assert said(run.file) == ["began", "cancelled", "stored"]
    with pytest.raises(TaskCancelled, match="no more"):
        await run.running


async def test_a_paused_worker_is_fenced_off(broker: LocalBroker, invoked: Invoke) -> None:
    run = invoked(0.3)
    before = await ended(broker)
    await eventually(lambda: said(run.file) == ["began"], WITHIN)
    worker = int(run.file.read_text().split()[1])
    os.kill(worker, signal.SIGSTOP)
    try:
        await run.cancel()
        await run.is_over()
    finally:
        run.file.with_suffix(".go").touch()
        os.kill(worker, signal.SIGCONT)
    await eventually(lambda: len(said(run.file)) == 3, WITHIN)
    assert said(run.file) == ["began", "cancelled", "ExecutionLost"]
    assert run.store.get(("left",), "by") is None
    assert (await ended(broker))[len(before) :] == [("task.cancelled", "overdue")]


async def test_a_node_that_takes_too_long_to_clean_up_is_fenced_off(invoked: Invoke) -> None:
    run = invoked(0.3)
    await run.cancel()
    await run.is_over()
    assert said(run.file) == ["began", "cancelled"]
    run.file.with_suffix(".go").touch()
    await eventually(lambda: len(said(run.file)) == 3, WITHIN)
    assert said(run.file)[-1] == "ExecutionLost"


async def test_a_killed_worker_is_not_waited_for(broker: LocalBroker, invoked: Invoke, new_worker: Callable[..., WorkerProcess]) -> None:
    worker = new_worker("own")
    run = invoked(60.0, "own")
    before = await ended(broker)
    await run.cancel()
    await eventually(lambda: said(run.file) == ["began", "cancelled"], WITHIN)
    worker.kill()
    await run.is_over()
    assert (await ended(broker))[len(before) :] == [("task.cancelled", "disconnected")]


async def test_a_cancelled_node_runs_anew_when_its_thread_goes_on(broker: LocalBroker, invoked: Invoke, thread: Any) -> None:
    run = invoked(0.0)
    await run.cancel()
    await run.is_over()  # while the body of before still cleans up
    again = asyncio.ensure_future(run.graph.ainvoke(None, thread, durability="sync"))
    await eventually(lambda: said(run.file).count("began") == 2, WITHIN)
    run.file.with_suffix(".go").touch()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """What a shell starts in the background is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize(("name", "nodes"), [("crashing", 2), ("long_beside", 2)])
def test_ctrl_c_waits_for_what_runs_on_threads(broker: LocalBroker, tmp_path: Path, name: str, nodes: int) -> None:
    """They are not disturbed: as in one process, what they do is waited for. A second Ctrl-C ends that."""
    for times in (1, 2):
        file = tmp_path / f"runs-{times}"
        graph = distribute(getattr(graphs, name), broker.room("graphs"), name=name, cancel_timeout=60.0)
        interrupting = threading.Thread(target=interrupt, args=(file, nodes, times))
        interrupting.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            graph.invoke({"file": str(file)})
        took = time.monotonic() - began
        assert file.with_suffix(".go").exists() is (times == 1)
        file.with_suffix(".go").touch()
        assert took < WITHIN
        interrupting.join()


def interrupt(file: Path, nodes: int, times: int) -> None:
    while len(said(file)) < nodes:
        time.sleep(0.01)
    for _ in range(times):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    if times == 1:
        time.sleep(0.3)
        file.with_suffix(".go").touch()
