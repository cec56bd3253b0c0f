"""What happens when the broker goes away, answers get lost, tokens end."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import (
    AccessDenied,
    BadRequest,
    BufferFull,
    Disconnected,
    Gap,
    LocalBroker,
    NoLagError,
    NoLagStore,
    RequestTimeout,
    Room,
    TaskNotFound,
    connect,
    tool_progress,
)
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.wire.once import ANSWERS

from .conftest import Proxy, Restarting, enter

STALL = 8.0  # seconds; a client waits for two heartbeats and five seconds more


async def joined(stack: AsyncExitStack, at: Any, actor: str, token: Any = None, **options: Any) -> Room:
    client = await stack.enter_async_context(connect(at.url, token=token or at.token(actor), actor=actor, **options))
    return await client.join("demo", max_concurrency=4)


async def test_requests_and_subscriptions_survive_restarts_without_a_hole_or_a_repeat(durable: Restarting, stack: AsyncExitStack) -> None:
    writer, reader = await joined(stack, durable, "writer"), await joined(stack, durable, "reader")
    stream = reader.observe.stream("n", since=0)
    every = reader.observe.stream("**", since=0)
    sequences: list[int] = []

    async def emit(start: int) -> None:
        for n in range(start, start + 100):
            sequence = await writer.observe.emit("n", n)
            sequences.append(sequence)

    emitting = [asyncio.create_task(emit(start)) for start in (0, 100, 200)]
    for _ in range(3):
        goal = len(sequences) + 30
        await eventually(lambda goal=goal: len(sequences) >= min(goal, 250))
        await durable.restart()
    await asyncio.gather(*emitting)
    events = [await asyncio.wait_for(anext(stream), 10) for _ in range(300)]
    assert sorted(event.body for event in events) == list(range(300))
    assert [event.seq for event in events] == sorted(sequences)
    last = (await reader.link.acall("room.info")).seq
    seen = [(await asyncio.wait_for(anext(every), 10)).seq for _ in range(last)]
    assert seen == list(range(1, last + 1))


async def test_a_worker_is_back_before_its_lease_ends_however_long_the_broker_was_away(
    durable: Restarting, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pauses have grown to the longest."""
    monkeypatch.setattr("langgraph_nolag.client.reconnecting.FIRST_RETRY", 100.0)
    monkeypatch.setattr("langgraph_nolag.client.connection.CHANCE.uniform", lambda low, high: high)
    worker = await joined(stack, durable, "worker")
    release, attempts = asyncio.Event(), []

    async def work(task: HandedTask) -> str:
        attempts.append(task.attempt)
        await release.wait()
        return "done"

    async with worker.handoff.serve(work):
        task = await worker.handoff.dispatch("w", None)
        await eventually(lambda: attempts)
        await asyncio.to_thread(durable.stop)
        await asyncio.sleep(0.01)  # it has noticed, and waits
        await asyncio.to_thread(durable.start)
        await joined(stack, durable, "other")  # from here on the lease runs
        assert (await worker.link.acall("log.read", types="task.released"))["events"] == []
        release.set()
        assert await task.result(timeout=10) == "done"
    assert attempts == [1]


async def test_calls_of_tools_survive_a_restart(durable: Restarting, stack: AsyncExitStack) -> None:
    """Running and asked for while the broker is away: each call is made once, from a loop and from a thread."""
    caller, server = await joined(stack, durable, "caller"), await joined(stack, durable, "server")
    runs: list[int] = []
    release = asyncio.Event()

    async def work(n: int) -> int:
        """Hold on."""
        runs.append(n)
        tool_progress(n)
        await release.wait()
        return n

    async with server.tools.serve([work]):
        (tool,) = await caller.tools.list(timeout=30.0)
        calls = [asyncio.create_task(tool.ainvoke({"n": 1})), asyncio.create_task(asyncio.to_thread(tool.invoke, {"n": 2}))]
        await eventually(lambda: len(runs) == 2)
        await asyncio.to_thread(durable.stop)
        release.set()  # they end while there is no broker
        calls.append(asyncio.create_task(tool.ainvoke({"n": 3})))
        await asyncio.to_thread(durable.start)
        assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [1, 2, 3]
    assert sorted(runs) == [1, 2, 3]


async def test_tasks_handlers_and_results_survive_a_restart(durable: Restarting, stack: AsyncExitStack) -> None:
    desk, worker = await joined(stack, durable, "desk"), await joined(stack, durable, "worker")
    runs: list[str] = []
    release = asyncio.Event()
    progressed: dict[str, list[Any]] = {name: [] for name in "abc"}

    async def handler(task: HandedTask) -> str:
        runs.append(task.payload)
        await task.progress(1)
        await release.wait()
        await task.progress(2)
        return f"{task.payload} done"

    async with worker.handoff.serve(handler, concurrency=2):
        tasks = [await desk.handoff.dispatch("t", name, on_progress=progressed[name].append) for name in progressed]
        await eventually(lambda: [1] in progressed.values())
        await eventually(lambda: len(runs) == 2)
        await asyncio.to_thread(durable.stop)
        release.set()  # they end while there is no broker
        dispatching = asyncio.create_task(desk.handoff.dispatch("t", "d"))
        await asyncio.to_thread(durable.start)
        assert [await task.result(20) for task in tasks] == ["a done", "b done", "c done"]
        assert await (await dispatching).result(20) == "d done"
        assert (await dispatching).attached is False
    assert sorted(runs) == ["a", "b", "c", "d"]
    for said in progressed.values():  # of a task that ended before the dispatcher was back, progress may be gone; none comes twice
        assert said == sorted(set(said))


async def test_an_inbox_hears_what_comes_after_the_log_began_anew(forgetful: Restarting, stack: AsyncExitStack) -> None:
    room = await joined(stack, forgetful, "bo", lambda: forgetful.token("bo"))
    inbox = aiter(room.inbox)
    for n in range(10):
        await room.observe.emit("n", n)
    await room.inbox.send("bo", "before")
    assert (await asyncio.wait_for(anext(inbox), 10)).body == "before"
    await forgetful.restart()
    await room.inbox.send("bo", "after")
    message = await asyncio.wait_for(anext(inbox), 10)
    assert message.body == "after"
    assert message.seq < 10


async def test_reading_on_in_a_lost_log_acknowledges_nothing_of_the_new_one(
    forgetful: Restarting, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_nolag.patterns.inbox.LIMIT", 1)
    ana, bo = [await joined(stack, forgetful, actor, lambda actor=actor: forgetful.token(actor)) for actor in ("ana", "bo")]
    for n in range(20):
        await ana.inbox.send("bo", n)
    inbox = aiter(bo.inbox)
    await eventually(lambda: inbox._feed.full)  # they are in one page
    await forgetful.restart()
    await eventually(lambda: _online(ana, 2))
    for n in range(20, 40):
        await ana.inbox.send("bo", n)
    async with asyncio.timeout(10):
        assert [(await anext(inbox)).body for _ in range(40)] == list(range(40))


async def test_inbox_approvals_watches_and_presence_survive_a_restart(durable: Restarting, stack: AsyncExitStack) -> None:
    ana, bo = await joined(stack, durable, "ana"), await joined(stack, durable, "bo")
    inbox, watch = aiter(bo.inbox), bo.blackboard.watch("k")
    await ana.inbox.send("bo", 1)
    await ana.blackboard.set("k", 1)
    assert ((await anext(inbox)).body, (await anext(watch)).value) == (1, 1)
    request = await ana.approve.request("publish", {"n": 1})
    await durable.restart()
    await eventually(lambda: _online(ana, 2))
    await ana.inbox.send("bo", 2)
    await ana.blackboard.set("k", 2)
    await bo.approve.decide(request.id, "approve")
    assert (await asyncio.wait_for(anext(inbox), 10)).body == 2
    assert (await asyncio.wait_for(anext(watch), 10)).value == 2
    assert (await request.decision(10)).approved
    await watch.aclose()


async def _online(room: Room, n: int) -> bool:
    return len([agent for agent in await room.presence.list() if agent.online]) == n


async def test_a_lost_answer_is_asked_for_again_and_nothing_happens_twice(
    broker: LocalBroker, proxy: Any, stack: AsyncExitStack, join: Any
) -> None:
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("writer"), actor="writer"))
    room, other = await client.join("demo"), await join("other")
    for turn in range(3):
        proxy.hold_answers()
        calls = [
            asyncio.create_task(room.observe.emit("n", turn)),
            asyncio.create_task(room.publish("t", turn)),
            asyncio.create_task(room.blackboard.set(f"k{turn}", turn, expected=0)),
            asyncio.create_task(room.inbox.send("other", turn)),
            asyncio.create_task(room.handoff.dispatch("t", turn)),
        ]
        await eventually(lambda turn=turn: _has(other, f"k{turn}"))
        await eventually(lambda turn=turn: _tasks(other, turn + 1))
        proxy.cut()
        results = await asyncio.wait_for(asyncio.gather(*calls), 20)
        assert results[4].attached is False
        assert results[2].revision == 1
    events = (await other.link.acall("log.read", limit=1000, bodies=False))["events"]
    kinds = [event["type"] for event in events]
    for kind in ("n", "topic.published", "blackboard.set", "inbox.sent", "task.dispatched"):
        assert kinds.count(kind) == 3, kind


async def test_however_many_answers_are_lost_nothing_happens_twice(
    broker: LocalBroker, proxy: Any, stack: AsyncExitStack, join: Any
) -> None:
    """More than the broker keeps answers of."""
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("writer"), actor="writer"))
    room, other = await client.join("demo"), await join("other")
    proxy.hold_answers()
    calls = [asyncio.create_task(room.observe.emit("n", n)) for n in range(3 * ANSWERS)]
    await eventually(lambda: _has_emitted(other, ANSWERS))
    proxy.cut()
    sequences = await asyncio.wait_for(asyncio.gather(*calls), 20)
    stream = other.observe.stream("n", since=0)
    events = [await asyncio.wait_for(anext(stream), 10) for _ in calls]
    assert [event.body for event in events] == list(range(len(calls)))
    assert [event.seq for event in events] == sequences
    assert (await other.link.acall("room.info"))["seq"] < sequences[0] + len(calls) + 10  # and nothing more


async def _has_emitted(room: Room, n: int) -> bool:
    return (await room.link.acall("room.info"))["seq"] > n


async def _has(room: Room, key: str) -> bool:
    return await room.blackboard.get(key) is not None


async def _tasks(room: Room, n: int) -> bool:
    return len(await room.handoff.list()) == n


async def test_streams_come_through_cuts_while_reading(broker: LocalBroker, proxy: Any, stack: AsyncExitStack, join: Any) -> None:
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("reader"), actor="reader"))
    reader, writer = await client.join("demo"), await join("writer")
    stream = reader.observe.stream("n", since=0)
    seen: list[int] = []
    for turn in range(6):
        emitting = [asyncio.create_task(writer.observe.emit("n", 50 * turn + n)) for n in range(50)]
        seen.append((await anext(stream)).body)
        proxy.cut()
        seen.extend([(await asyncio.wait_for(anext(stream), 10)).body for _ in range(49)])
        await asyncio.gather(*emitting)
    assert seen == list(range(300))
    assert proxy.connections > 3


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_a_request_times_out_and_says_that_it_may_have_been_applied(broker: LocalBroker, proxy: Any, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana"))
    room = await client.join("demo")
    proxy.hold_answers()
    with pytest.raises(RequestTimeout) as caught:
        await room.link.acall("blackboard.get", key="k", within=0.1)
    assert (caught.value.maybe_applied, caught.value.retryable) == (True, True)
    with pytest.raises(RequestTimeout):
        await asyncio.to_thread(room.link.call, "blackboard.get", 0.1, key="k")
    proxy.cut()
    assert await room.blackboard.get("k") is None  # it goes on


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_what_waits_is_bounded_and_more_is_refused_before_it_is_taken(broker: LocalBroker, proxy: Any, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana", max_buffer=100_000))
    room = await client.join("demo")
    proxy.hold_answers()
    waiting = [asyncio.create_task(room.publish("t", bytes(20_000))) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(BufferFull) as caught:
        for _ in range(4):
            await asyncio.wait_for(room.publish("t", bytes(20_000)), 0.01)
    assert (caught.value.retryable, caught.value.maybe_applied) == (True, False)
    proxy.cut()
    await asyncio.gather(*waiting)
    await room.publish("t", bytes(20_000))


async def test_a_group_is_told_of_a_log_that_began_anew(forgetful: Restarting, stack: AsyncExitStack) -> None:
    """Before anything of the new one: sequences and attempts seen so far are of one that is lost."""
    room = await joined(stack, forgetful, "ana", token=lambda: forgetful.token("ana"))
    stream = room.subscribe("notes", group="readers", since=0)
    before = (await room.link.acall("room.info")).epoch
    await room.publish("notes", "old")
    assert (await asyncio.wait_for(anext(stream), 10)).body == "old"
    await forgetful.restart()
    await room.publish("notes", "new")
    gap, message = [await asyncio.wait_for(anext(stream), 10) for _ in range(2)]
    assert isinstance(gap, Gap)
    assert gap.epoch == (await room.link.acall("room.info")).epoch != before
    assert (message.body, message.attempt) == ("new", 1)
    stream.close()


async def test_a_log_that_began_anew_is_said_with_a_gap(forgetful: Restarting, stack: AsyncExitStack) -> None:
    room = await joined(stack, forgetful, "ana", token=lambda: forgetful.token("ana"))
    stream, watch = room.observe.stream("**", since=0), room.blackboard.watch("*")
    await room.blackboard.set("gone", 1)
    assert (await anext(watch)).key == "gone"
    task = await room.handoff.dispatch("t")
    before = await room.link.acall("room.info")
    for _ in range(before.seq):
        await asyncio.wait_for(anext(stream), 10)
    await forgetful.restart()
    gap = await asyncio.wait_for(anext(stream), 10)
    assert isinstance(gap, Gap)
    after = await room.link.acall("room.info")
    assert gap.epoch == after.epoch != before.epoch
    await room.blackboard.set("new", 2)
    changes = {}
    while len(changes) < 2:
        entry = await asyncio.wait_for(anext(watch), 10)
        changes[entry.key] = (entry.value, entry.deleted)
    assert changes == {"gone": (None, True), "new": (2, False)}
    with pytest.raises(TaskNotFound):
        await task.result(10)
    await watch.aclose()


async def test_presence_tells_what_changed_in_a_gap(forgetful: Restarting, stack: AsyncExitStack) -> None:
    ana, bo = [await joined(stack, forgetful, actor, lambda actor=actor: forgetful.token(actor)) for actor in ("ana", "bo")]
    watch = ana.presence.watch()
    async with asyncio.timeout(10):
        here = [await anext(watch) for _ in range(2)]
        await forgetful.restart()
        await eventually(lambda: _online(ana, 2))
        await bo.presence.update(status="busy")
        told = await anext(watch)
    assert (told.kind, told.actor, told.instance, told.status) == ("update", "bo", here[1].instance, "busy")
    await watch.aclose()


async def test_an_update_of_presence_that_was_refused_is_not_repeated(proxy: Proxy, broker: LocalBroker, stack: AsyncExitStack) -> None:
    room = await (await enter(stack, proxy.url, broker.token("ana"), "ana")).join("demo")
    with pytest.raises(BadRequest, match="metadata"):
        await room.presence.update(metadata={1: 2})
    await room.presence.update(status="busy")
    proxy.cut()
    [ana] = await room.presence.list()
    assert (ana.actor, ana.status, ana.metadata) == ("ana", "busy", {})
    assert not room.link.shut_out.is_set


async def test_watches_tell_another_value_of_the_same_revision(forgetful: Restarting, stack: AsyncExitStack) -> None:
    room = await joined(stack, forgetful, "ana", lambda: forgetful.token("ana"))
    store = NoLagStore(room)
    watch, watched = room.blackboard.watch("k"), store.watch(("a",))

    async def written(value: str) -> tuple[int, int]:
        entry = await room.blackboard.set("k", value)
        await store.aput(("a",), "k", {"v": value})
        async with asyncio.timeout(10):
            told, item = await anext(watch), await anext(watched)
        assert (told.value, item.value) == (value, {"v": value})
        return entry.revision, item.revision

    before = await written("lost")
    await forgetful.restart()
    assert await written("after") == before
    await watch.aclose()
    await watched.aclose()


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_a_provider_brings_fresh_tokens_before_the_old_one_ends(broker: LocalBroker, proxy: Any, stack: AsyncExitStack) -> None:
    asked: list[float] = []

    async def provider() -> str:
        asked.append(time.monotonic())
        return broker.token("ana", ttl=1.0)

    client = await stack.enter_async_context(connect(proxy.url, token=provider, actor="ana"))
    room = await client.join("demo")
    await eventually(lambda: len(asked) >= 4)
    assert asked[-1] - asked[0] > 1.5  # longer than any one token lives
    await room.observe.emit("still.here")
    assert proxy.connections == 1  # in place, not by coming back


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_a_static_token_that_ends_is_a_loud_end(broker: LocalBroker, stack: AsyncExitStack) -> None:
    told: list[NoLagError] = []
    client = await stack.enter_async_context(
        connect(broker.url, token=broker.token("ana", ttl=1.0), actor="ana", on_disconnected=told.append)
    )
    room = await client.join("demo")
    with pytest.raises((AccessDenied, Disconnected)) as caught:
        async for _ in room.observe.stream("x"):
            pass
    assert caught.value.will_reconnect is False
    await eventually(lambda: told)
    with pytest.raises((AccessDenied, Disconnected)):
        await room.observe.emit("x")


async def test_revocation_ends_everything_that_waits(broker: LocalBroker, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> None:
    told: list[NoLagError] = []
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana", on_disconnected=told.append))
    room = await client.join("demo")
    lost: list[bool] = []

    async def handler(task: HandedTask) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            lost.append(task.cancelled)

    async with room.handoff.serve(handler):
        running = await room.handoff.dispatch("t")
        waiting = asyncio.create_task(running.result())
        reading = asyncio.create_task(anext(room.observe.stream("never")))
        request = await room.approve.request("publish")
        deciding = asyncio.create_task(request.decision())
        inbox = asyncio.create_task(anext(aiter(room.inbox)))
        admin = broker.token("boss", grants=[{"room": "**", "verbs": ["admin"]}])
        boss = await stack.enter_async_context(connect(broker.url, token=admin, actor="boss"))
        await boss._connection.acall("token.revoke", actor="ana")
        for task in (waiting, reading, deciding, inbox):
            with pytest.raises((Disconnected, AccessDenied)) as caught:
                await asyncio.wait_for(task, 10)
            assert caught.value.will_reconnect is False
        await eventually(lambda: lost == [True])
    assert len(told) == 1
    assert "ended for good" in caplog.text


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_the_same_instance_twice_ends_the_first(broker: LocalBroker, stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(connect(broker.url, token=broker.token("ana"), actor="ana"))
    two = connect(broker.url, token=broker.token("ana"), actor="ana")
    two._connection.instance = one._connection.instance
    await stack.enter_async_context(two)
    with pytest.raises(Disconnected, match="replaced"):
        await eventually(lambda: _fails(one))


async def _fails(client: Any) -> None:
    await client.rooms()


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_closing_tells_those_who_wait(broker: LocalBroker) -> None:
    async with connect(broker.url, token=broker.token("ana"), actor="ana") as client:
        room = await client.join("demo")
        waiting = asyncio.create_task((await room.handoff.dispatch("t")).result())
        await asyncio.sleep(0)
    with pytest.raises(Disconnected, match="closed"):
        await waiting
    with pytest.raises(Disconnected):
        await room.observe.emit("x")


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_a_broker_that_falls_silent_is_noticed(stack: AsyncExitStack, proxy: Any, broker: LocalBroker) -> None:
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("ana"), actor="ana"))
    room = await client.join("demo")
    proxy.hold_answers()
    held = proxy._answers
    waiting = asyncio.create_task(room.observe.emit("x"))
    proxy._answers = asyncio.Event()  # connections made from now on are answered
    proxy._answers.set()
    assert await asyncio.wait_for(waiting, 20) > 0
    assert proxy.connections == 2
    held.set()


async def test_a_process_that_slept_past_its_lease_joins_again(stack: AsyncExitStack) -> None:
    """Asleep for longer than the lease, but not long enough for its connection to be closed."""
    with LocalBroker(lease=0.6) as broker:
        client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana")))
        room = await client.join("demo", capabilities=["draft"])
        attempts: list[int] = []
        asleep = threading.Event()

        async def handler(task: HandedTask) -> str:
            attempts.append(task.attempt)
            if task.attempt == 1:
                client._connection.io.loop.call_soon_threadsafe(asleep.wait, 1.5)
                await asyncio.Event().wait()
            return "awake"

        async with room.handoff.serve(handler, concurrency=2):
            task = await room.handoff.dispatch("t")
            assert await task.result(20) == "awake"
        assert attempts == [1, 2]
        presence = [event.type async for event in until(room.observe.stream("presence.*", since=0), "presence.joined", 2)]
        assert presence == ["presence.joined", "presence.left", "presence.joined"]
        await client.close()


async def until(events: Any, type: str, times: int) -> Any:
    """Events up to the one that is the `times`th of its type."""
    async for event in events:
        yield event
        times -= event.type == type
        if not times:
            return


@pytest.mark.slow
async def test_a_disk_that_hangs_under_the_loop_loses_nothing(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody takes the broker for dead, comes back when the disk goes on, and finds all as it was."""
    at_once, stalls, attempts = SqliteEngine.commit_at_once, [STALL], []

    def hangs(engine: SqliteEngine, turns: Any) -> Any:
        if attempts and stalls:  # a task is being worked on
            time.sleep(stalls.pop())
        return at_once(engine, turns)

    async def handler(task: HandedTask) -> str:
        attempts.append(task.attempt)
        await asyncio.sleep(STALL + 2)
        return "done"

    with LocalBroker(path=tmp_path / "data", lease=2.0) as broker:
        monkeypatch.setattr(SqliteEngine, "commit_at_once", hangs)
        rooms = [await joined(stack, broker, name) for name in ("desk", "worker")]
        before = [room.link.connection.session for room in rooms]
        async with rooms[1].handoff.serve(handler):
            task = await rooms[0].handoff.dispatch("draft")
            await eventually(lambda: attempts)
            await rooms[0].blackboard.set("said", "during")
            assert await task.result(30) == "done"
        entry = await rooms[0].blackboard.get("said")
        assert (entry.value, entry.revision) == ("during", 1)
    assert not stalls
    assert attempts == [1]
    assert all(room.link.connection.session is not session for room, session in zip(rooms, before, strict=True))
