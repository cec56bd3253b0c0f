"""Blackboard, inbox, observe, topics, presence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from langgraph_nolag import (
    ActorAmbiguous,
    BadRequest,
    Gap,
    KeyConflict,
    LocalBroker,
    NoLagStore,
    NotAuthorized,
    NotEncodable,
    PeerNotFound,
    RevisionConflict,
    Room,
    connect,
)
from langgraph_nolag.testing import eventually


async def take(stream: AsyncIterator[Any], n: int, timeout: float = 10.0) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(timeout):
        while len(found) < n:
            found.append(await anext(stream))
    return found


# --- blackboard ----------------------------------------------------------------------------------------------


async def test_an_entry_has_a_revision_that_rises(join: Any) -> None:
    room = await join("ana")
    assert await room.blackboard.get("plan") is None
    first = await room.blackboard.set("plan", {"a": 1}, expected=0)
    second = await room.blackboard.set("plan", {"a": 2}, expected=first.revision)
    entry = await room.blackboard.get("plan")
    assert (entry.key, entry.value, entry.writer) == ("plan", {"a": 2}, "ana")
    assert entry == second, "what a write gives is what a read gives"
    assert second.revision == first.revision + 1
    with pytest.raises(RevisionConflict) as caught:
        await room.blackboard.set("plan", {"a": 3}, expected=first.revision)
    assert caught.value.revision == second.revision
    with pytest.raises(RevisionConflict):
        await room.blackboard.set("plan", 0, expected=0)


async def test_delete_and_history(join: Any) -> None:
    room = await join("ana")
    for n in range(3):
        await room.blackboard.set("k", n)
    await room.blackboard.delete("k")
    assert await room.blackboard.get("k") is None
    history = await room.blackboard.history("k")
    assert [(entry.value, entry.deleted) for entry in history] == [(None, True), (2, False), (1, False), (0, False)]
    again = await room.blackboard.set("k", "new", expected=0)
    assert again.revision == history[0].revision + 1


async def test_none_is_a_value(join: Any) -> None:
    room = await join("ana")
    await room.blackboard.set("k", None)
    entry = await room.blackboard.get("k")
    assert (entry.value, entry.deleted) == (None, False)


async def test_fifty_clients_increment_one_key_and_the_sum_is_right(join: Any) -> None:
    rooms = await asyncio.gather(*(join(f"agent-{n}") for n in range(50)))
    await asyncio.gather(*(room.blackboard.update("count", lambda value: (value or 0) + 1) for room in rooms))
    assert (await rooms[0].blackboard.get("count")).value == 50


async def test_update_takes_an_async_change_and_lets_its_error_out(join: Any) -> None:
    room = await join("ana")

    async def change(value: Any) -> Any:
        await asyncio.sleep(0)
        return [*(value or []), 1]

    await room.blackboard.update("k", change)
    assert (await room.blackboard.update("k", change)).value == [1, 1]
    with pytest.raises(ZeroDivisionError):
        await room.blackboard.update("k", lambda value: 1 / 0)


async def test_watch_gives_the_present_first_and_then_each_change(join: Any) -> None:
    room, late = await join("ana"), await join("late")
    await room.blackboard.set("plan.a", 1)
    await room.blackboard.set("other", 1)
    watch = late.blackboard.watch("plan.*")
    assert [(entry.key, entry.value) for entry in await take(watch, 1)] == [("plan.a", 1)]
    await room.blackboard.set("plan.b", 2)
    await room.blackboard.set("other", 2)
    await room.blackboard.delete("plan.a")
    assert [(e.key, e.value, e.deleted) for e in await take(watch, 2)] == [("plan.b", 2, False), ("plan.a", None, True)]
    assert [entry.key for entry in await late.blackboard.list("plan.*")] == ["plan.b"]
    await watch.aclose()


async def test_state_is_granted_key_by_key(join: Any) -> None:
    room = await join("ana", grants=[{"room": "demo", "topics": ["notes/**"], "verbs": ["state"]}])
    await room.blackboard.set("notes/a", 1)
    with pytest.raises(NotAuthorized):
        await room.blackboard.set("plan", 1)
    with pytest.raises(NotEncodable):
        await room.blackboard.set("notes/a", object())


# --- inbox ---------------------------------------------------------------------------------------------------


async def test_what_is_not_messagepack_hides_nothing_else(join: Any) -> None:
    """A body may come from anybody; a list or a stream with one that can't be read goes on, and hands that one out as it is."""
    writer, room = await join("writer"), await join("reader")
    watch, topics, inbox = room.blackboard.watch("n*"), room.subscribe("n", since=0), aiter(room.inbox)
    for body in (b"\xc1", b"\x91" * 10_000 + b"\xc0", b"\xa1\xff"):
        await writer.link.acall("blackboard.set", key="n", body=body)
        await writer.link.acall("topic.publish", topic="n", body=body)
        await writer.link.acall("inbox.send", to="reader", body=body)
        await writer.link.acall("approval.request", approval=body[:9].hex(), action="a", body=body, allow=["approve"])
        async with asyncio.timeout(10):
            assert (await anext(watch)).value == body
            assert (await anext(topics)).body == body
            assert (await anext(inbox)).body == body
        assert [entry.value for entry in await room.blackboard.list()] == [body]
    assert len(await room.approve.pending()) == 3
    topics.close()
    await watch.aclose()


async def test_messages_arrive_in_order_with_their_sender(join: Any) -> None:
    editor, writer = await join("editor"), await join("writer")
    for n in range(50):
        await writer.inbox.send("editor", {"n": n})
    messages = await take(aiter(editor.inbox), 50)
    assert [message.body["n"] for message in messages] == list(range(50))
    assert {message.sender for message in messages} == {"writer"}
    assert [message.seq for message in messages] == sorted(message.seq for message in messages)


async def test_a_slow_reader_gets_all_its_messages_in_order(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than it has room for: what waited for it, and what comes meanwhile."""
    monkeypatch.setattr("langgraph_nolag.patterns.inbox.LIMIT", 100_000)
    writer = await join("writer")
    filling = "x" * 30_000
    sent = [await writer.inbox.send("editor", filling, keep=True) for _ in range(200)]
    inbox = aiter((await join("editor")).inbox)
    read = await take(inbox, 100)
    for _ in range(50):
        sent.append(await writer.inbox.send("editor", filling))
        read += await take(inbox, 2)
    sent += [await writer.inbox.send("editor", filling) for _ in range(50)]
    read += await take(inbox, 100)
    assert [message.seq for message in read] == sent


async def test_an_inbox_that_was_refused_can_be_read_later(broker: LocalBroker, join: Any) -> None:
    writer = await join("writer")
    async with connect(broker.url, token=broker.token("twin"), actor="twin") as client:
        first = aiter((await client.join("demo")).inbox)
        await writer.inbox.send("twin", 1)
        await take(first, 1)
        second = await join("twin")
        with pytest.raises(ActorAmbiguous):
            await take(aiter(second.inbox), 1)
    await eventually(lambda: _sent(writer, "twin", 2))
    inbox = aiter(second.inbox)
    assert [message.body for message in await take(inbox, 1)] == [2]
    await writer.inbox.send("twin", 3)
    assert [message.body for message in await take(inbox, 1)] == [3]


async def test_an_inbox_is_read_in_one_place_of_a_client(broker: LocalBroker, join: Any) -> None:
    """A second reader is told so, takes nothing from the first, and may read when that one has closed or is gone."""
    writer = await join("writer")
    async with connect(broker.url, token=broker.token("editor"), actor="editor") as client:
        one, two = [await client.join("demo") for _ in range(2)]
        first = aiter(one.inbox)
        for n in range(2):
            await writer.inbox.send("editor", n)
            assert [message.body for message in await take(first, 1)] == [n]
            with pytest.raises(BadRequest, match="is read already"):
                await take(aiter(two.inbox), 1)
            aiter(two.inbox).close()
        first.close()
        await writer.inbox.send("editor", 2)
        assert [message.body for message in await take(aiter(two.inbox), 1)] == [2]
        del two
        await writer.inbox.send("editor", 3)
        assert [message.body for message in await take(aiter(one.inbox), 1)] == [3]


async def _sent(writer: Room, to: str, body: Any) -> bool:
    with contextlib.suppress(ActorAmbiguous):
        await writer.inbox.send(to, body)
        return True
    return False


async def test_an_absent_peer_is_an_error_or_the_message_is_kept(broker: LocalBroker, join: Any) -> None:
    writer = await join("writer")
    with pytest.raises(PeerNotFound):
        await writer.inbox.send("editor", "hello")
    await writer.inbox.send("editor", "kept", keep=True)
    editor = await join("editor")
    (message,) = await take(aiter(editor.inbox), 1)
    assert message.body == "kept"


async def test_a_message_that_was_read_does_not_come_again(broker: LocalBroker, join: Any) -> None:
    writer = await join("writer")
    await writer.inbox.send("editor", 1, keep=True)
    async with connect(broker.url, token=broker.token("editor"), actor="editor") as client:
        await take(aiter((await client.join("demo")).inbox), 1)
    await writer.inbox.send("editor", 2, keep=True)
    (message,) = await take(aiter((await join("editor")).inbox), 1)
    assert message.body == 2


async def test_an_actor_that_several_processes_share_gets_no_directed_message(join: Any) -> None:
    writer = await join("writer")
    await join("twin")
    await join("twin")
    with pytest.raises(ActorAmbiguous):
        await writer.inbox.send("twin", 1)


async def test_a_key_sends_a_message_once(join: Any) -> None:
    editor, writer = await join("editor"), await join("writer")
    assert await writer.inbox.send("editor", "x", key="k") == await writer.inbox.send("editor", "x", key="k")
    with pytest.raises(KeyConflict):
        await writer.inbox.send("editor", "y", key="k")
    await writer.inbox.send("editor", "end")
    assert [message.body for message in await take(aiter(editor.inbox), 2)] == ["x", "end"]


# --- observe -------------------------------------------------------------------------------------------------


async def test_events_match_their_pattern_and_carry_everything(join: Any) -> None:
    room = await join("ana")
    stream = room.observe.stream("draft.**")
    await room.observe.emit("other.thing")
    seq = await room.observe.emit("draft.started", {"n": 1}, severity="warning", parent=1)
    await room.observe.emit("draft.part.done")
    first, second = await take(stream, 2)
    assert (first.seq, first.type, first.body, first.sender, first.parent) == (seq, "draft.started", {"n": 1}, "ana", 1)
    assert (first.data["severity"], second.type, second.body) == ("warning", "draft.part.done", None)
    assert first.time > 0


async def test_replay_from_a_sequence_and_no_hole_for_who_may_see_all(join: Any) -> None:
    room = await join("ana")
    for n in range(300):
        await room.observe.emit("n", n)
    await room.blackboard.set("k", 1)
    await room.handoff.dispatch("t")
    last = (await room.link.acall("room.info")).seq
    events = await take(room.observe.stream("**", since=0), last)
    assert [event.seq for event in events] == list(range(1, last + 1))
    assert [event.body for event in events if event.type == "n"] == list(range(300))
    (tail,) = await take(room.observe.stream("**", since=last - 1), 1)
    assert tail.seq == last
    bare = await take(room.observe.stream("n", since=0, bodies=False), 1)
    assert bare[0].body is None


async def test_a_reserved_type_can_not_be_emitted(join: Any) -> None:
    room = await join("ana")
    for reserved in ("task.completed", "blackboard.set", "room.opened"):
        with pytest.raises(Exception, match="own") as caught:
            await room.observe.emit(reserved)
        assert caught.value.code == "bad_request"  # type: ignore[attr-defined]


async def test_a_slow_reader_loses_nothing_and_holds_little(join: Any) -> None:
    """Far more is emitted than a stream queues: reading stops, and is taken up again from the log."""
    from langgraph_nolag.client.stream import log_stream

    room, slow = await join("ana"), await join("slow")
    stream = log_stream(slow.link, "n", lambda event: event, limit=20_000)
    (before,) = [await room.observe.emit("n", -1)]
    await take(stream, 1)
    for _ in range(400):
        await room.observe.emit("n", bytes(500))
    feed = stream._feed
    assert feed._size - feed._taken < 400 * 500  # not everything: it was paused
    events = await take(stream, 400)
    assert [event["seq"] for event in events] == [before + 1 + n for n in range(400)]


# --- topics --------------------------------------------------------------------------------------------------


async def test_wildcards_and_qos(join: Any) -> None:
    room, reader = await join("ana"), await join("reader")
    one, deep = reader.subscribe("notes/*"), reader.subscribe("notes.**")
    await reader.link.acall("room.info")  # both subscriptions stand
    await room.publish("notes/a", 1)
    await room.publish("notes/a/b", 2)
    stored = await room.publish("notes/c", 3, qos=2)
    assert await room.publish("notes/d", 4, qos=0) == 0
    assert [message.body for message in await take(one, 3)] == [1, 3, 4]
    found = await take(deep, 4)
    assert [(message.body, message.qos) for message in found] == [(1, 1), (2, 1), (3, 2), (4, 0)]
    assert (found[2].seq, found[3].seq, found[0].topic, found[0].sender) == (stored, 0, "notes/a", "ana")


async def test_retained_messages_greet_late_joiners(join: Any) -> None:
    room, late = await join("ana"), await join("late")
    for n in range(3):
        await room.publish("state/a", n, retain=True)
    await room.publish("state/b", "b", retain=True)
    stream = late.subscribe("state/*")
    greeting = await take(stream, 2)
    assert sorted((message.topic, message.body) for message in greeting) == [("state/a", 2), ("state/b", "b")]
    await room.publish("state/a", 3)
    assert [message.body for message in await take(stream, 1)] == [3]


async def test_a_slow_reader_is_greeted_with_all_retained_messages(join: Any) -> None:
    """What changes meanwhile comes in its place in the log, once."""
    from langgraph_nolag.client.stream import log_stream

    room, late = await join("ana"), await join("late")
    kept = [await room.publish(f"state/{n}", bytes(10_000), retain=True) for n in range(400)]
    stream = log_stream(late.link, "topic.published", lambda event: event, subject="state/*", retained=True, limit=100_000)
    events = await take(stream, 1)
    await eventually(lambda: stream._feed.full)
    changed = await room.publish("state/399", 1, retain=True)
    while events[-1]["seq"] != changed:
        events += await take(stream, 1)
    assert [event["seq"] for event in events if event["seq"] != kept[-1]] == [*kept[:-1], changed]  # which may have been on its way
    new = await room.publish("state/1", 2, retain=True)
    assert [event["seq"] for event in await take(stream, 1)] == [new]


async def test_replay_of_a_topic_and_a_key_that_stores_once(join: Any) -> None:
    room = await join("ana")
    first = await room.publish("notes", "a", key="k")
    assert await room.publish("notes", "a", key="k") == first
    await room.publish("other", "x")
    await room.publish("notes", "b")
    assert [message.body for message in await take(room.subscribe("notes", since=0), 2)] == ["a", "b"]


async def test_publishing_and_reading_are_granted_by_topic(join: Any) -> None:
    room = await join("ana")
    narrow = await join("narrow", grants=[{"room": "demo", "topics": ["notes/**"], "verbs": ["publish", "subscribe"]}])
    stream = narrow.subscribe("**")
    await narrow.link.acall("room.info")
    with pytest.raises(NotAuthorized):
        await narrow.publish("secret", 1)
    await room.publish("secret", 2)
    await room.publish("notes/a", 3)
    assert [message.body for message in await take(stream, 1)] == [3]


async def test_a_stream_ends_when_it_is_left_or_closed(join: Any) -> None:
    room = await join("ana")
    await room.publish("t", 1)
    async for message in room.subscribe("t", since=0):
        assert not isinstance(message, Gap)
        assert len(room.link.subscriptions._all) == 1
        break
    await eventually(lambda: not room.link.subscriptions._all)
    stream = room.subscribe("t")
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


# --- readers that are cancelled, as by a timeout -----------------------------------------------------------------


async def cancelled(reading: AsyncIterator[Any]) -> None:
    """One waits for the next of it, and is cancelled."""
    waiting = asyncio.create_task(take(reading, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()


async def test_who_is_cancelled_goes_on_reading_later(join: Any) -> None:
    room = await join("ana")
    store = NoLagStore(room)
    watch, items, presence, streams = room.blackboard.watch(), store.watch(), room.presence.watch(), room.streams()
    results = room.handoff.results()
    readings: list[AsyncIterator[Any]] = [watch, items, presence, streams, results]

    async def write(n: int) -> None:
        await room.blackboard.set("k", n)
        await store.aput(("a",), "k", {"n": n})
        await room.open_stream(to="ana", id=str(n))

    await write(1)
    for reading in readings:  # while it asks how things are
        await cancelled(reading)
    assert [entry.value for entry in await take(watch, 1)] == [1]
    assert [item.value for item in await take(items, 1)] == [{"n": 1}]
    assert [change.kind for change in await take(presence, 1)] == ["join"]
    assert [stream.id for stream in await take(streams, 1)] == ["1"]
    for reading in readings:  # while it waits for a change
        await cancelled(reading)
    await write(2)
    await room.presence.update(status="busy")
    assert [entry.value for entry in await take(watch, 1)] == [2]
    assert [item.value for item in await take(items, 1)] == [{"n": 2}]
    assert [change.status for change in await take(presence, 1)] == ["busy"]
    assert [stream.id for stream in await take(streams, 1)] == ["2"]
    async with room.handoff.serve(lambda task: "done"):
        task = await room.handoff.dispatch("t")
        assert [result.id for result in await take(results, 1)] == [task.id]
    for reading in (watch, items, presence, streams, results):
        await reading.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(reading)


# --- presence ------------------------------------------------------------------------------------------------


async def test_presence_tells_who_is_here_and_what_changes(broker: LocalBroker, join: Any) -> None:
    room = await join("ana", capabilities=["draft"], max_concurrency=5, metadata={"kind": "agent"})
    (agent,) = await room.presence.list()
    assert (agent.actor, agent.capabilities, agent.max_concurrency, agent.load, agent.status) == ("ana", ("draft",), 5, 0, "available")
    assert (agent.metadata, agent.online, agent.instance) == ({"kind": "agent"}, True, room.link.instance)
    assert agent.last_heartbeat >= agent.joined_at > 0
    watch = room.presence.watch()
    assert [(change.kind, change.actor) for change in await take(watch, 1)] == [("join", "ana")]
    async with connect(broker.url, token=broker.token("bo"), actor="bo") as client:
        other = await client.join("demo")
        await other.presence.update(status="busy", metadata={"mood": "good"})
    changes = await take(watch, 3)
    assert [(change.kind, change.actor, change.status) for change in changes][:2] == [("join", "bo", "available"), ("update", "bo", "busy")]
    assert (changes[1].metadata, changes[2].kind, changes[2].actor) == ({"mood": "good"}, "leave", "bo")
    await watch.aclose()


async def test_load_counts_the_tasks_one_holds(join: Any) -> None:
    room = await join("worker", max_concurrency=3)
    release = asyncio.Event()

    async def handler(task: Any) -> None:
        await release.wait()

    async with room.handoff.serve(handler):
        tasks = [await room.handoff.dispatch("t") for _ in range(2)]
        assert [agent.load for agent in await room.presence.list()] == [2]
        release.set()
        for task in tasks:
            await task.result(10)
    assert [agent.load for agent in await room.presence.list()] == [0]


async def test_rooms_keep_to_themselves(join: Any) -> None:
    here, there = await join("ana", room="here"), await join("bo", room="there")
    stream = there.observe.stream("**")
    await there.link.acall("room.info")
    await here.observe.emit("secret")
    await here.blackboard.set("k", 1)
    mine = await there.observe.emit("own")
    assert [event.seq for event in await take(stream, 1)] == [mine]
    assert await there.blackboard.get("k") is None
    assert [agent.actor for agent in await there.presence.list()] == ["bo"]
