"""Consumer groups: `subscribe(topic, group=...)` shares."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from langgraph_nolag import BadRequest, LocalBroker, NotAuthorized, connect
from langgraph_nolag.client import standing
from langgraph_nolag.client.sharing import Share
from nolag_broker.core.limits import Limits


class Reader:
    """Reads a stream, acknowledges what it is told to, and remembers it all."""

    def __init__(self, stream: Any, *, acks: bool = True) -> None:
        self.stream = stream
        self.seen: list[tuple[Any, int]] = []
        self._acks = acks
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.stream:
            self.seen.append((message.body, message.attempt))
            if self._acks:
                await message.ack()

    @property
    def bodies(self) -> list[Any]:
        return [body for body, _ in self.seen]

    def leave(self) -> None:
        self.stream.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def begun(*rooms: Any) -> None:
    """On their connections, after the subscriptions."""
    for room in rooms:
        await room.observe.emit("settled")


async def test_each_message_goes_to_one_of_the_group_in_order(join: Any) -> None:
    one, two, writer = await join("one"), await join("two"), await join("writer")
    readers = [Reader(room.subscribe("notes/*", group="readers")) for room in (one, two)]
    everything = Reader(writer.subscribe("notes/*"), acks=False)
    other = Reader(writer.subscribe("notes/*", group="others"))
    await begun(one, two, writer)
    for n in range(20):
        await writer.publish("notes/a", n, qos=1 + n % 2)
    await until(lambda: len(readers[0].seen) + len(readers[1].seen) == len(other.seen) == len(everything.seen) == 20)
    assert sorted(readers[0].bodies + readers[1].bodies) == list(range(20))
    assert all(reader.bodies == sorted(reader.bodies) and reader.bodies for reader in readers)
    assert other.bodies == everything.bodies == list(range(20))


async def test_qos_0_goes_to_one_and_is_not_acknowledged(join: Any) -> None:
    one, two = await join("one"), await join("two")
    readers = [Reader(room.subscribe("notes", group="readers"), acks=False) for room in (one, two)]
    await begun(one, two)
    for n in range(4):
        await one.publish("notes", n, qos=0)
    await until(lambda: len(readers[0].seen) == len(readers[1].seen) == 2)
    with pytest.raises(BadRequest):
        stream = one.subscribe("more", group="readers")
        await begun(one)
        await one.publish("more", 1, qos=0)
        await (await anext(stream)).ack()


async def test_a_reader_that_is_slow_misses_qos_0_messages(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one without a group: what waits for it is bounded."""
    monkeypatch.setattr("langgraph_nolag.client.sharing.LIMIT", 10_000)
    room = await join("one")
    stream = room.subscribe("notes", group="readers")
    await begun(room)
    for n in range(50):
        await room.publish("notes", [n, bytes(1000)], qos=0)
    await room.publish("notes", "stored")
    async with asyncio.timeout(10):
        read = [await anext(stream)]
        while read[-1].body != "stored":
            read.append(await anext(stream))
        assert [message.body[0] for message in read[:-1]] == list(range(9))
        await room.publish("notes", "there is room again", qos=0)
        assert (await anext(stream)).body == "there is room again"


async def test_what_is_not_acknowledged_goes_to_who_comes_next(join: Any) -> None:
    one, two = await join("one"), await join("two")
    careless = Reader(one.subscribe("notes", group="readers", max_in_flight=2), acks=False)
    await begun(one)
    for n in range(4):
        await one.publish("notes", n)
    await until(lambda: careless.bodies == [0, 1])
    careful = Reader(two.subscribe("notes", group="readers"))
    await until(lambda: careful.bodies == [2, 3])
    careless.leave()
    await until(lambda: careful.seen[2:] == [(0, 2), (1, 2)])


async def test_a_message_comes_again_when_its_time_runs_out(join: Any) -> None:
    room = await join("one")
    stream = room.subscribe("notes", group="readers", ack_within=0.05)
    await begun(room)
    await room.publish("notes", "x")
    async with asyncio.timeout(10):
        first, second = await anext(stream), await anext(stream)
    assert (first.seq, first.attempt, second.attempt) == (second.seq, 1, 2)
    await second.ack()


async def test_a_slow_reader_is_handed_nothing_again_that_it_has_acknowledged(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dealt: set[tuple[Any, int]] = set()
    on_push = Share.on_push

    def recording(share: Share, frame: dict[str, Any]) -> None:
        on_push(share, frame)
        if frame["push"] == "dealt":
            dealt.update(zip([event["seq"] for event in frame["events"]], frame["attempts"], strict=True))

    monkeypatch.setattr(Share, "on_push", recording)
    room = await join("one")
    stream = room.subscribe("notes", group="readers", ack_within=0.05)
    await begun(room)
    seqs = [await room.publish("notes", n) for n in range(3)]
    await until(lambda: dealt >= {(seq, attempt) for seq in seqs for attempt in (1, 2, 3)})
    async with asyncio.timeout(10):
        for n in range(3):
            message = await anext(stream)
            assert message.body == n
            assert message.attempt >= 3, "of what was dealt again and again before it came to it, the newest"
            await until(lambda message=message: (message.seq, message.attempt + 1) in dealt)
            await message.ack()
        await room.publish("notes", "end")
        assert (await anext(stream)).body == "end"


async def test_a_cut_connection_repeats_and_loses_nothing(broker: LocalBroker, stack: Any, proxy: Any, join: Any) -> None:
    writer = await join("writer")
    client = await stack.enter_async_context(connect(proxy.url, token=broker.token("reader"), actor="reader"))
    room = await client.join("demo")
    reader = Reader(room.subscribe("notes", group="readers"))
    await begun(room)
    for n in range(30):
        await writer.publish("notes", n)
        if n % 10 == 5:
            proxy.cut()
    await until(lambda: len(reader.seen) >= 30)
    assert sorted(reader.bodies) == list(range(30)), "what it has in hand is its own over a reconnect"


async def test_what_does_not_go_together(join: Any) -> None:
    room = await join("one")
    for fields in ({"cursor": "mine"}, {"retained": True}, {"since_time": 1.0}):
        with pytest.raises(BadRequest):
            room.subscribe("notes", group="readers", **fields)
    narrow = await join("two", grants=[{"room": "demo", "topics": ["notes"], "verbs": ["subscribe"]}])
    with pytest.raises(NotAuthorized):
        await anext(narrow.subscribe("notes", group="readers"))


async def test_a_group_that_nobody_reads_in_can_be_deleted(join: Any) -> None:
    room = await join("one")
    reader = Reader(room.subscribe("notes", group="readers", since=0))
    await room.publish("notes", 1)
    await until(lambda: reader.seen)
    with pytest.raises(BadRequest, match="has members"):
        await room.delete_group("notes", "readers")
    reader.leave()
    await room.delete_group("notes", "readers")
    await room.delete_group("notes", "readers")
    again = Reader(room.subscribe("notes", group="readers", since=0))
    await until(lambda: again.seen)
    assert again.seen == [(1, 1)], "it begins as one that never was"


async def test_a_room_with_too_many_groups_is_no_silent_wait(
    stack: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standing, "REFUSALS", 2)
    monkeypatch.setattr("nolag_broker.server.node.Limits", partial(Limits, groups=1))
    broker = stack.enter_context(LocalBroker())
    client = await stack.enter_async_context(connect(broker.url, token=broker.token("one"), actor="one"))
    room = await client.join("demo")
    first = Reader(room.subscribe("notes", group="first"))
    second = Reader(room.subscribe("notes", group="second"))
    await until(lambda: "delete those that nobody needs" in caplog.text)
    first.leave()
    await room.delete_group("notes", "first")
    async with asyncio.timeout(10):
        while not second.seen:
            await room.publish("notes", 1)
            await asyncio.sleep(0.05)
