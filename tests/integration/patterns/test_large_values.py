"""Values over 64 KiB, everywhere a value can be: nothing in the API tells them from small ones."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import BlobDamaged, BlobNotFound, LocalBroker, MessageTooLarge, RequestTimeout, TaskFailed
from langgraph_nolag.client.body import decode, encode
from langgraph_nolag.client.fetches import AT_ONCE
from langgraph_nolag.client.offer import Assigned
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually
from nolag_broker.wire.blobs import BLOB, PIECE, Reference
from nolag_broker.wire.once import ANSWERS

from .conftest import Join, Proxy, Restarting, enter

SMALL = 3 * PIECE // 2


def large(size: int = SMALL) -> dict[str, Any]:
    return {"text": secrets.token_hex(size // 2)}


async def stored(room: Any, **fields: Any) -> list[dict[str, Any]]:
    """The events of the log as they are stored."""
    return list((await room.link.acall("log.read", limit=1000, **fields))["events"])


async def test_payload_progress_and_result_of_a_task(join: Join) -> None:
    desk, worker = await join("desk"), await join("worker")
    payload, step, result = large(), large(), large()
    told: list[Any] = []

    async def handler(task: HandedTask) -> Any:
        assert task.payload == payload
        await task.progress(step)
        await task.progress("small")
        return result

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("t", payload, on_progress=told.append, key="k")
        assert await task.result(20) == result
        again = await desk.handoff.dispatch("t", payload, key="k")
        assert again.id == task.id
    assert told == [step, "small"]
    events = {event["type"]: event for event in await stored(desk, types="task.*")}
    for type in ("task.dispatched", "task.completed"):
        assert events[type]["ct"] == BLOB
        assert len(events[type]["body"]) < 100


async def test_an_error_and_an_effect_of_a_task(join: Join) -> None:
    desk, worker = await join("desk"), await join("worker")
    effect, runs = large(), []

    async def handler(task: HandedTask) -> Any:
        runs.append(task.attempt)
        done = await task.effect("mail", lambda: effect if task.attempt == 1 else None)
        assert done == effect
        if task.attempt == 1:
            raise RuntimeError("x" * 200_000)
        return len(done["text"])

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("t", None, retry={"initial": 0.0})
        assert await task.result(20) == len(effect["text"])
        doomed = await desk.handoff.dispatch("t", None, max_attempts=1)
        with pytest.raises(TaskFailed, match="xxx"):
            await doomed.result(20)
    assert runs == [1, 2, 1]


async def test_the_blackboard(join: Join) -> None:
    ana, bob = await join("ana"), await join("bob")
    one, two = large(), large()
    watch = bob.blackboard.watch("plan")
    entry = await ana.blackboard.set("plan", one)
    assert (await bob.blackboard.get("plan")).value == one
    assert (await asyncio.wait_for(anext(watch), 10)).value == one
    await ana.blackboard.set("plan", two, expected=entry.revision)
    assert (await asyncio.wait_for(anext(watch), 10)).value == two
    assert [entry.value for entry in await bob.blackboard.history("plan")] == [two, one]
    assert (await bob.blackboard.update("plan", lambda value: {**value, "n": 1})).value == {**two, "n": 1}


async def test_messages_keep_their_order_whatever_their_size(join: Join) -> None:
    ana, bob = await join("ana"), await join("bob")
    values = [large() if n % 3 == 0 else n for n in range(10)]
    subscription = bob.subscribe("news")
    sent = [asyncio.create_task(ana.inbox.send("bob", value)) for value in values]
    published = [asyncio.create_task(ana.publish("news", value, qos=n % 3)) for n, value in enumerate(values)]
    await asyncio.gather(*sent, *published)
    inbox = aiter(bob.inbox)
    assert [(await asyncio.wait_for(anext(inbox), 10)).body for _ in values] == values
    assert [(await asyncio.wait_for(anext(subscription), 10)).body for _ in values] == values


async def test_events_are_read_as_they_were_emitted(join: Join) -> None:
    ana = await join("ana")
    value = large()
    await ana.observe.emit("draft.done", value)
    stream = ana.observe.stream("draft.**", since=0)
    assert (await asyncio.wait_for(anext(stream), 10)).body == value
    bare = ana.observe.stream("draft.**", since=0, bodies=False)
    assert (await asyncio.wait_for(anext(bare), 10)).body is None


async def test_what_readers_share(join: Join) -> None:
    ana, bob = await join("ana"), await join("bob")
    value = large()
    readers = bob.subscribe("news", since=0, group="readers")
    await ana.publish("news", value)
    message = await asyncio.wait_for(anext(readers), 10)
    assert message.body == value
    await message.ack()


async def test_approvals(join: Join) -> None:
    ana, bob = await join("ana"), await join("bob")
    shown, edited = large(), large()
    request = await ana.approve.request("publish", shown, allow=["approve", "edit"])
    (pending,) = await bob.approve.pending()
    assert pending.args == shown
    await bob.approve.decide(pending.id, "edit", args=edited)
    decision = await request.decision(10)
    assert (decision.approved, decision.args) == (True, edited)


async def test_an_approval_that_comes_with_a_result(join: Join) -> None:
    """As the gate of a node that runs on a worker."""
    desk, worker = await join("desk"), await join("worker")
    shown, result = encode(large()), encode(large())

    def on_task(task: Assigned) -> None:
        approval = {"approval": "a", "action": "pay", "allow": ["approve"], "body": shown}
        offer.complete(task, result, approvals=[approval])

    offer = worker.link.serve(types=["t"], on_task=on_task)
    task = await desk.handoff.dispatch("t", None)
    assert await task.result(20) == decode(result)
    (pending,) = await desk.approve.pending()
    assert pending.args == decode(shown)
    assert (await desk.link.acall("approval.get", approval="a"))["approval"]["digest"] == sha256(shown).hexdigest()


async def test_tools(join: Join) -> None:
    ana, server = await join("ana"), await join("server")

    def double(text: str) -> str:
        """Say it twice."""
        return text + text

    text = secrets.token_hex(SMALL)
    async with server.tools.serve([double]):
        assert await ana.tools.invoke("double", {"text": text}) == text + text


async def test_equal_values_are_stored_once_and_fetched_once(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, bob = await join("ana"), await join("bob")
    value = large(3 * PIECE)
    connection = bob.link.connection
    asked: Counter[str] = Counter()
    ask = connection.ask

    def counting(frame: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        asked[frame["op"]] += 1
        ask(frame, *args, **kwargs)

    monkeypatch.setattr(connection, "ask", counting)
    await asyncio.gather(*(ana.blackboard.set(f"copy/{n}", value) for n in range(5)))
    entries = await asyncio.gather(*(bob.blackboard.get(f"copy/{n}") for n in range(5)))
    assert [entry.value for entry in entries] == [value] * 5
    assert asked["blob.get"] == 4
    assert len({event["body"] for event in await stored(ana, types="blackboard.*")}) == 1


async def test_what_is_small_passes_what_is_large(proxy: Proxy, stack: AsyncExitStack, broker: LocalBroker) -> None:
    """On the same connection, while a value goes up. Only what is about the same thing waits for it."""
    client = await enter(stack, proxy.url, broker.token("ana"), "ana")
    room = await client.join("demo")
    going_up = asyncio.create_task(room.blackboard.set("big", large(16 << 20)))
    behind = asyncio.create_task(room.blackboard.set("big", "small"))
    while not going_up.done():
        await asyncio.wait_for(room.blackboard.set("other", 1), 10)
    assert (await room.blackboard.get("other")).revision > 3
    assert (await going_up).revision == 1
    assert (await behind).revision == 2


async def test_large_values_do_not_wait_for_what_waits_for_them(join: Join) -> None:
    """Requests go only so far ahead of the oldest without an answer: those are, here, ones whose values are on their way."""
    room = await join("writer")
    written, read = large(4 * PIECE), large(4 * PIECE)
    await room.blackboard.set("read", read)
    asked = [room.blackboard.set("a", written), room.blackboard.get("read"), room.blackboard.set("b", large(8 * PIECE))]
    emitted = [room.observe.emit("n", n) for n in range(2 * ANSWERS + 100)]
    found = await asyncio.wait_for(asyncio.gather(*asked, *emitted), 20)
    assert found[1].value == read
    assert (await room.blackboard.get("a")).value == written


async def test_values_over_the_limit_are_refused(stack: AsyncExitStack) -> None:
    with LocalBroker(max_value=1 << 20) as broker:
        client = await enter(stack, broker.url, broker.token("ana"), "ana")
        room = await client.join("demo")
        with pytest.raises(MessageTooLarge) as refused:
            await room.blackboard.set("k", large(2 << 20))
        assert refused.value.detail == {"max": 1 << 20}
        assert await room.blackboard.get("k") is None

        async def handler(task: HandedTask) -> Any:
            return large(2 << 20)

        async with room.handoff.serve(handler):
            task = await room.handoff.dispatch("t", None)
            with pytest.raises(TaskFailed) as failed:
                await task.result(10)
            assert failed.value.error_type == "MessageTooLarge"


async def test_a_value_on_its_way_survives_restarts_and_cuts(durable: Restarting, stack: AsyncExitStack) -> None:
    ana, bob = [await (await enter(stack, durable.url, durable.token(actor), actor)).join("demo") for actor in ("ana", "bob")]
    values = [large(4 << 20) for _ in range(4)]
    watch = bob.blackboard.watch("**")
    writing = [asyncio.create_task(ana.blackboard.set(f"k/{n}", value)) for n, value in enumerate(values)]
    for _ in range(2):
        await durable.restart()
        await asyncio.sleep(0)
    assert {(await entry).revision for entry in writing} == {1}
    read = [await asyncio.wait_for(anext(watch), 20) for _ in values]
    assert {entry.key: entry.value for entry in read} == {f"k/{n}": value for n, value in enumerate(values)}
    await durable.restart()
    assert (await asyncio.wait_for(bob.blackboard.get("k/0"), 20)).value == values[0]


async def test_a_lost_answer_is_not_a_second_write(durable: Restarting, stack: AsyncExitStack) -> None:
    far = Proxy()
    await far.start(durable.url)
    stack.push_async_callback(far.stop)
    room = await (await enter(stack, far.url, durable.token("ana"), "ana")).join("demo")
    other = await (await enter(stack, durable.url, durable.token("bob"), "bob")).join("demo")
    value = large()
    await room.blackboard.set("first", value)  # the broker knows it: it is asked, and told so
    far.hold_answers()
    writing = asyncio.create_task(room.inbox.send("bob", large(), keep=True))
    publishing = asyncio.create_task(room.blackboard.set("k", value))
    await asyncio.sleep(0.2)
    far.cut()
    await durable.restart()
    await asyncio.wait_for(asyncio.gather(writing, publishing), 20)
    assert (await other.blackboard.get("k")).revision == 1
    assert [event["type"] for event in await stored(other, types="inbox.sent")] == ["inbox.sent"]


async def test_a_value_that_is_gone_is_named_and_the_stream_goes_on(stack: AsyncExitStack, tmp_path: Path) -> None:
    with LocalBroker(tmp_path, trim_every=0.02, keep_uploads=0.1) as broker:
        ana = await (await enter(stack, broker.url, broker.token("ana"), "ana")).join("demo")
        bob = await (await enter(stack, broker.url, broker.token("bob"), "bob")).join("demo")
        admin = await (await enter(stack, broker.url, broker.token("root", [{"room": "**", "verbs": ["admin"]}]), "root")).join("demo")
        stream = bob.observe.stream("note.**", since=0)
        await ana.observe.emit("note.large", large())
        await ana.observe.emit("note.small", "still here")
        await eventually(lambda: len(stream._feed._items) == 2)
        (reference,) = [Reference.from_body(event["body"]) for event in await stored(ana, types="note.large")]
        await admin.configure(retention={"count": 1})
        for _ in range(20):
            await ana.observe.emit("other", None)
        async with asyncio.timeout(10):
            while True:
                try:
                    await ana.link.acall("blob.get", hash=reference.hash, offset=0)
                except BlobNotFound:
                    break
                await asyncio.sleep(0.02)
                await ana.observe.emit("other", None)
        with pytest.raises(BlobNotFound):
            await asyncio.wait_for(anext(stream), 10)
        assert (await asyncio.wait_for(anext(stream), 10)).body == "still here"


async def test_a_reader_that_is_cancelled_while_a_value_comes_loses_nothing(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, bob = await join("ana"), await join("bob")
    connection = bob.link.connection
    ask, held = connection.ask, list[Callable[[], None]]()

    def holding(frame: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        asking = partial(ask, frame, *args, **kwargs)
        if frame["op"] == "blob.get":
            held.append(asking)
        else:
            asking()

    def let_go() -> None:
        for asking in held:
            asking()

    monkeypatch.setattr(connection, "ask", holding)
    stream, value = bob.subscribe("news", since=0), large()
    await ana.publish("news", value)
    await ana.publish("news", "small")
    first = asyncio.create_task(stream.__anext__())
    await eventually(lambda: len(held) == 2)
    first.cancel()
    await asyncio.wait((first,))
    second = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0)  # it waits, too
    connection.io.post(let_go)
    assert (await asyncio.wait_for(second, 10)).body == value
    assert (await asyncio.wait_for(anext(stream), 10)).body == "small"
    assert len(held) == 2, "fetched once"


async def test_a_slow_upload_is_not_a_timeout_and_a_stuck_one_is(broker: LocalBroker, proxy: Proxy, stack: AsyncExitStack) -> None:
    room = await (await enter(stack, proxy.url, broker.token("ana"), "ana")).join("demo")
    proxy.hold_answers()
    with pytest.raises(RequestTimeout) as stuck:
        await room.link.acall("blackboard.set", 0.3, key="k", body=bytes(1 << 20))
    assert not stuck.value.maybe_applied
    proxy.cut()
    await room.blackboard.set("k", large())


async def test_who_waits_behind_others_is_not_timed_out(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, bob = await join("ana"), await join("bob")
    keys = [f"k/{n}" for n in range(2 * AT_ONCE)]
    await asyncio.gather(*(ana.blackboard.set(key, large()) for key in keys))
    connection = bob.link.connection
    ask, loop, next_at = connection.ask, connection.io.loop, 0.0

    def slow(frame: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        nonlocal next_at
        if frame["op"] == "blob.get":  # one piece after the other
            next_at = max(next_at, loop.time()) + 0.07
            loop.call_at(next_at, lambda: ask(frame, *args, **kwargs))
        else:
            ask(frame, *args, **kwargs)

    monkeypatch.setattr(connection, "ask", slow)
    found = await asyncio.gather(*(bob.link.acall("blackboard.get", 0.5, key=key) for key in keys * 2))
    assert all(len(answer["entry"]["body"]) > SMALL for answer in found)


async def test_a_defect_while_a_value_comes_is_told(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, bob = await join("ana"), await join("bob")
    await ana.blackboard.set("k", large())
    monkeypatch.setattr(bob.link.connection.fetches, "_ask", None)
    with pytest.raises(BlobDamaged, match="not callable"):
        await asyncio.wait_for(bob.blackboard.get("k"), 10)


@pytest.mark.slow
async def test_the_largest_value_there_and_back(join: Join) -> None:
    desk, worker = await join("desk"), await join("worker")
    value = secrets.token_bytes((64 << 20) - 5)

    async def handler(task: HandedTask) -> Any:
        return task.payload

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("echo", value)
        assert await task.result(120) == value
    with pytest.raises(MessageTooLarge):
        await desk.handoff.dispatch("echo", value + b"x")
