"""`room.runs`: graphs that run in the background, on whichever worker serves them with `resume=True`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from runs_helpers import Start, config, ran, wait_until

from langgraph_nolag import Busy, LocalBroker, Room, TaskCancelled, TaskFailed, TaskTimeout, connect

pytestmark = pytest.mark.usefixtures("nodes")


@pytest.fixture
async def room(broker: LocalBroker) -> AsyncIterator[Room]:
    async with connect(broker.url, token=broker.token("starter")) as client:
        yield await client.join("runs")


async def until(true: Any, what: str) -> None:
    await asyncio.to_thread(wait_until, true, what)


async def test_a_run_is_started_and_has_a_result(room: Room, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    run = await room.runs.start("chain", {"file": str(file)})
    assert (await run.info()).state == "waiting", "nobody runs graphs yet"
    await asyncio.to_thread(start, "worker", "resume")
    result = await run.result(timeout=30)
    assert (result.status, result.thread_id, result.values["log"]) == ("done", run.id, ["first", "long", "last"])
    assert (await run.info()).state == "completed"
    assert await room.runs.result(run.id) == result, "it may be asked for again"


async def test_its_stream_is_joined_again_without_gap_or_repeat_over_kills(room: Room, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    worker = await asyncio.to_thread(start, "worker", "resume")
    run = await room.runs.start("chain", {"file": str(file)}, stream_mode=["values", "updates", "custom"])
    chunks = []
    async for chunk in run.stream():
        chunks.append(chunk)
        if chunk.data == "waiting":
            break
    await asyncio.to_thread(worker.kill)
    await asyncio.to_thread(start, "worker", "resume")
    await until(lambda: ran(file)[-1:] == ["long"], "the node runs")
    file.with_suffix(".go").touch()
    chunks += [chunk async for chunk in run.stream(after=chunks[-1].n)]
    shown = [(chunk.mode, chunk.data if chunk.mode == "custom" else sorted(chunk.data)) for chunk in chunks if chunk.mode != "values"]
    assert shown == [  # also where the body was lost with the worker, and run again
        ("custom", "begun"),
        ("updates", ["first"]),
        ("custom", "waiting"),
        ("updates", ["long"]),
        ("updates", ["last"]),
    ]
    values = [chunk.data.get("log", []) for chunk in chunks if chunk.mode == "values"]
    assert values == [[], ["first"], ["first", "long"], ["first", "long", "last"]]
    assert [chunk.n for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk async for chunk in run.stream()] == chunks, "whoever comes late reads the same"


async def test_a_run_in_the_background_waits_for_people_and_goes_on(room: Room, start: Start, graph: Any, tmp_path: Path) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    file.with_suffix(".go").touch()
    await asyncio.to_thread(start, "worker", "resume")
    asked = await (await room.runs.start("asking", {"file": str(file)}, config(thread))).result(timeout=30)
    assert (asked.status, sorted(each["value"] for each in asked.interrupts)) == ("interrupted", ["a?", "b?"])
    answers = {each["id"]: each["value"][0] for each in asked.interrupts}
    answered = await (await room.runs.start("asking", Command(resume=answers), config(thread))).result(timeout=30)
    assert (answered.status, sorted(answered.values["log"])) == ("done", ["a=a", "b=b", "last"])


@pytest.mark.parametrize("by_id", [False, True], ids=["plain", "by id"])
async def test_a_run_in_the_background_votes_for_nobody(broker: LocalBroker, room: Room, start: Start, tmp_path: Path, by_id: bool) -> None:
    """Its worker may approve, and whoever starts it need not."""
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    await asyncio.to_thread(start, "worker", "resume")
    asked = await (await room.runs.start("gated", {"file": str(file)}, config(thread))).result(timeout=30)
    [gate] = asked.interrupts
    grants = [{"room": "runs", "topics": ["**"], "verbs": ["dispatch", "subscribe"]}]
    answer = {"type": "approve"}
    async with connect(broker.url, token=broker.token("intern", grants=grants)) as client:
        runs = (await client.join("runs")).runs
        run = await runs.start("gated", Command(resume={gate["id"]: answer} if by_id else answer), config(thread))
        with pytest.raises(TaskFailed, match=r"room\.approve\.decide"):
            await run.result(timeout=30)
    [pending] = [each for each in await room.approve.pending() if each.thread == thread]
    assert not pending.votes
    await room.approve.decide(pending.id, "reject")
    await until(lambda: ran(file) == ["first", "publish=reject", "last"], "the thread goes on")


async def test_runs_of_a_thread_are_found_among_many(broker: LocalBroker) -> None:
    async with connect(broker.url, token=broker.token("desk")) as client:
        room = await client.join("crowded")
        await asyncio.gather(*(room.runs.start("nobodys", {}, config(f"thread {n}")) for n in range(1001)))
        run = await room.runs.start("nobodys", {}, config("mine"))
        assert [info.id for info in await room.runs.list(thread_id="mine")] == [run.id]


async def test_runs_of_a_busy_thread_wait_are_refused_or_take_its_place(room: Room, start: Start, tmp_path: Path) -> None:
    file, other, thread = tmp_path / "runs", tmp_path / "other", uuid.uuid4().hex
    other.with_suffix(".go").touch()
    await asyncio.to_thread(start, "worker", "resume")
    running = await room.runs.start("chain", {"file": str(file)}, config(thread))
    await until(lambda: ran(file) == ["first", "long"], "the node runs")
    with pytest.raises(Busy) as busy:
        await room.runs.start("chain", {"file": str(other)}, config(thread), on_busy="reject")
    assert busy.value.detail["task"] == running.id
    queued = await room.runs.start("chain", {"file": str(other)}, config(thread))
    assert queued.state == "parked"
    assert {info.id for info in await room.runs.list(thread_id=thread)} == {running.id, queued.id}
    instead = await room.runs.start("chain", {"file": str(other)}, config(thread), on_busy="interrupt")
    for ended in (running, queued):
        with pytest.raises(TaskCancelled):
            await ended.result(timeout=30)
    assert (await instead.result(timeout=30)).values["log"] == ["first", "first", "long", "last"]
    assert ran(file) == ["first", "long"]


async def test_a_cancelled_run_stops_its_nodes(room: Room, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    await asyncio.to_thread(start, "worker", "resume")
    run = await room.runs.start("chain", {"file": str(file)})
    await until(lambda: ran(file) == ["first", "long"], "the node runs")
    assert await run.cancel("not needed", wait=20.0) == "cancelled"
    with pytest.raises(TaskCancelled):
        await run.result(timeout=30)
    with pytest.raises(TaskCancelled):
        [chunk async for chunk in run.stream()]

    def nodes() -> list[Any]:
        return [info for info in room.link.call("task.list", kind="node")["tasks"] if info["type"].startswith("chain@")]

    assert not nodes(), "they have ended before the run"
    file.with_suffix(".go").touch()


@pytest.mark.parametrize("by", ["interrupt", "timeout", "cancel"])
async def test_a_run_that_is_ended_lets_its_nodes_end_and_is_no_fault(room: Room, start: Start, tmp_path: Path, by: str) -> None:
    """The end of a run reaches a node in two ways at once: what waits for it is cancelled, and the lease is gone."""
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    worker = await asyncio.to_thread(start, "worker", "resume")
    run = await room.runs.start("tidy", {"file": str(file)}, config(thread), timeout=3.0 if by == "timeout" else None)
    await until(lambda: ran(file) == ["tidy"], "the node runs")
    if by == "cancel":
        await run.cancel(wait=20.0)
    elif by == "interrupt":
        (tmp_path / "other.go").touch()
        instead = await room.runs.start("tidy", {"file": str(tmp_path / "other")}, config(thread), on_busy="interrupt")
        await instead.result(timeout=30)
    with pytest.raises((TaskCancelled, TaskTimeout)):
        await run.result(timeout=30)
    await until(lambda: ran(file) == ["tidy", "tidied"], "it has ended")
    await until(lambda: not room.link.call("task.list", kind="node", states=["running"])["tasks"], "it was let go of")
    worker.process.terminate()
    await asyncio.to_thread(worker.process.wait, 20)
    said = "".join(worker.output)
    assert "Traceback" not in said, said


async def test_what_the_graph_raises_is_how_the_run_failed(room: Room, start: Start) -> None:
    await asyncio.to_thread(start, "worker", "resume")
    run = await room.runs.start("failing", {})
    with pytest.raises(TaskFailed) as failed:
        await run.result(timeout=30)
    assert (failed.value.error_type, failed.value.error_message) == ("ValueError", "the graph says no")
    assert [info.id for info in await room.runs.list(["failed"]) if info.id == run.id] == [run.id]


async def test_a_schedule_starts_runs(room: Room, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    schedule = await room.runs.schedule("* * * * * *", "chain", {"file": str(file)}, name=uuid.uuid4().hex)
    await until(lambda: room.link.call("schedule.get", schedule=schedule.name).get("task") is not None, "a moment came")
    await schedule.delete()
    await asyncio.to_thread(start, "worker", "resume")
    await until(lambda: "last" in ran(file), "the run that it brought is done")


async def test_a_worker_that_stops_hands_its_runs_on(room: Room, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    stopping = await asyncio.to_thread(start, "worker", "resume", "hasty")
    run = await room.runs.start("chain", {"file": str(file)})
    await until(lambda: ran(file) == ["first", "long"], "the node runs")
    stopping.process.terminate()
    await asyncio.to_thread(start, "worker", "resume")
    file.with_suffix(".go").touch()
    assert (await run.result(timeout=30)).values["log"] == ["first", "long", "last"]
    assert (await run.info()).attempt == 2


async def test_a_thread_goes_on_with_the_version_that_ran_it(room: Room, start: Start, graph: Any, tmp_path: Path) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    file.with_suffix(".go").touch()
    await asyncio.to_thread(start, "worker", "resume")
    await (await room.runs.start("chain", {"file": str(file)}, config(thread))).result(timeout=30)
    stored = room.link.call("record.read", keys=[f"checkpoint/{thread}/r/request"])["bodies"][0]
    version = graph("chain").distribution.name
    other = stored.replace(version.encode(), version[:-1].encode() + b"_")
    room.link.call("record.write", puts=[[f"checkpoint/{thread}/r/request", other, False]])
    with pytest.raises(TaskFailed, match=f"chain@.*_, and this worker serves {version}"):
        await (await room.runs.start("chain", None, config(thread))).result(timeout=30)
    named = await room.runs.start(version, {"file": str(file)}, config(thread))
    assert (await named.result(timeout=30)).values["log"][-1] == "last"


async def test_a_process_may_go_on_with_a_run_of_the_background(room: Room, start: Start, graph: Any, tmp_path: Path) -> None:
    file, thread = tmp_path / "runs", uuid.uuid4().hex
    await asyncio.to_thread(start, "worker", "resume")
    run = await room.runs.start("chain", {"file": str(file)}, config(thread))
    await until(lambda: ran(file) == ["first", "long"], "the node runs")
    invoked = asyncio.create_task(graph("chain").ainvoke(None, config(thread), durability="sync"))
    await until(lambda: room.link.call("task.get", task=run.id)["task"]["attempt"] == 2, "it is taken over")
    file.with_suffix(".go").touch()
    assert (await invoked)["log"] == ["first", "long", "last"]
    result = await run.result(timeout=30)
    assert (result.status, result.thread_id, ran(file)) == ("elsewhere", thread, ["first", "long", "last"])
