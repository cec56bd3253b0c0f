"""The log over the wire: from now on, from a sequence, over reconnects, and who may see what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Client, Harness, Start


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribers hear sooner of sequences that held nothing for them: many tests wait for that."""
    monkeypatch.setattr("nolag_broker.server.fanout.THROUGH_EVERY", 0.05)


async def emit(client: Client, count: int, type: str = "note.taken", body: bytes = b"body", room: str = "r") -> int:
    """Emit events in one message; the last sequence."""
    asked = [client.request("event.emit", room, type=type, body=body) for _ in range(count)]
    await client.send([frame for frame, _ in asked])
    return max([response["ok"]["seq"] for response in await asyncio.gather(*(answer for _, answer in asked))])


def through(client: Client, sub: int = 1) -> int:
    return max([push["through"] for push in client.pushes if push["push"] == "log" and push["sub"] == sub], default=0)


async def caught_up(client: Client, seq: int, sub: int = 1) -> list[dict[str, Any]]:
    await client.until(lambda: through(client, sub) >= seq)
    return client.events(sub)


async def test_from_now_on(any_broker: Harness) -> None:
    client = await any_broker.member()
    before = await emit(client, 3)
    response = await client.response("log.subscribe", sub=7)
    assert response["ok"]["since"] == response["seq"] == before
    last = await emit(client, 3)
    assert [event["seq"] for event in await caught_up(client, last, 7)] == [before + 1, before + 2, before + 3]
    assert set(client.events(7)[0]) == {"seq", "type", "time", "sender", "data", "body"}


async def test_in_the_middle_of_a_message(any_broker: Harness) -> None:
    """Subscribing is decided in its turn: what was asked before is not seen, what was asked after is."""
    client = await any_broker.member()
    asked = [client.request("event.emit", type="a.b", body=b"%d" % number) for number in range(10)]
    asked.insert(4, client.request("log.subscribe", sub=1))
    asked.insert(8, client.request("log.unsubscribe", sub=1))
    asked.insert(8, client.request("log.subscribe", sub=2))
    await client.send([frame for frame, _ in asked])
    await asyncio.gather(*(answer for _, answer in asked))
    last = await emit(client, 1)
    assert [event["body"] for event in await caught_up(client, last, 2)] == [b"7", b"8", b"9", b"body"]
    # The first one was ended in the message that began it; what it was sent until then, it was sent in order.
    assert [event["body"] for event in client.events(1)] in ([], [b"4", b"5", b"6"])


@pytest.mark.parametrize("group", [{}, {"group": "readers"}])
async def test_the_end_waits_for_no_turn_and_the_number_is_free(any_broker: Harness, group: dict[str, Any]) -> None:
    client = await any_broker.member()
    last = await emit(client, 2)
    ops = ({"op": "log.subscribe", "since": 0}, {"op": "log.unsubscribe"}, {"op": "log.subscribe", "since": last - 1})
    asked = [client.request(sub=1, **op, **group) for op in ops]
    await client.send([frame for frame, _ in asked])
    answers = await asyncio.gather(*(answer for _, answer in asked))
    assert [answer["ok"].get("since") for answer in answers][1:] == [None, last - 1]
    assert client.answered[-3:] == [answers[1]["id"], answers[0]["id"], answers[2]["id"]]
    push = await client.until(lambda: client.pushes)
    assert [event["seq"] for event in push[0]["events"]] == [last], "of the first nothing came"


async def test_from_a_sequence(any_broker: Harness) -> None:
    client = await any_broker.member()
    last = await emit(client, 1200)  # more than one chunk
    for sub, since in enumerate((0, 1, 600, last - 1, last), 1):
        assert (await client.call("log.subscribe", sub=sub, since=since))["since"] == since
    last = await emit(client, 5)
    for sub, since in enumerate((0, 1, 600, last - 6, last - 5), 1):
        assert [event["seq"] for event in await caught_up(client, last, sub)] == list(range(since + 1, last + 1))


async def test_replay_while_others_write_has_no_gap_and_no_repeat(any_broker: Harness) -> None:
    writer, readers = await any_broker.member("writer"), [await any_broker.client(f"reader-{n}") for n in range(5)]
    await emit(writer, 300)
    done = asyncio.Event()

    async def write() -> int:
        last = 0
        for _ in range(24):
            last = await emit(writer, 25)
        done.set()
        return last

    async def read(reader: Client, delay: int) -> int:
        """Subscribe from the beginning, again and again, at moments of one's own; how often."""
        sub = 0
        while not done.is_set() or sub < 4:
            sub += 1
            for _ in range(delay):
                await asyncio.sleep(0)
            await reader.call("log.subscribe", sub=sub, since=sub * 7)
        return sub

    writing = asyncio.create_task(write())
    counts = await asyncio.gather(*(read(reader, delay) for delay, reader in enumerate(readers)))
    last = await writing
    for reader, count in zip(readers, counts, strict=True):
        for sub in range(1, count + 1):
            assert [event["seq"] for event in await caught_up(reader, last, sub)] == list(range(sub * 7 + 1, last + 1))


async def test_patterns_choose_and_through_covers_the_rest(broker: Harness) -> None:
    client = await broker.member()
    await client.call("log.subscribe", sub=1, types="a.*")
    await client.call("log.subscribe", sub=2, types="topic.published", subject="news/**")
    await client.call("log.subscribe", sub=3, types="nothing.**")
    await emit(client, 2, "a.b")
    await emit(client, 2, "a.b.c")
    await client.call("topic.publish", topic="news/uk", body=b"x")
    last = (await client.call("topic.publish", topic="sports", body=b"x"))["seq"]
    assert [event["type"] for event in await caught_up(client, last, 1)] == ["a.b", "a.b"]
    assert [event["subject"] for event in await caught_up(client, last, 2)] == ["news/uk"]
    assert await caught_up(client, last, 3) == []  # nothing was for it, and it is told so


async def test_bodies_can_be_left_out(any_broker: Harness) -> None:
    client = await any_broker.member()
    await emit(client, 2)
    for sub, since in ((1, {}), (2, {"since": 0})):
        await client.call("log.subscribe", sub=sub, types="note.**", bodies=False, **since)
    last = await emit(client, 1)
    for sub, count in ((1, 1), (2, 3)):
        events = await caught_up(client, last, sub)
        assert len(events) == count
        assert not any("body" in event for event in events)


async def test_reading_pages(any_broker: Harness) -> None:
    client = await any_broker.member()
    last = await emit(client, 25, "a.b")
    await emit(client, 3, "c.d")
    seen, after, end = [], 0, False
    while not end:
        page = await client.call("log.read", after=after, limit=10, types="a.**")
        seen += [event["seq"] for event in page["events"]]
        assert len(page["events"]) <= 10
        assert page["through"] > after
        after, end = page["through"], page["end"]
    assert seen == list(range(last - 24, last + 1))
    response = await client.response("log.read", after=after)
    assert response["ok"] == {"events": [], "through": after, "end": True}
    assert response["seq"] == after


async def test_numbers_are_unique_on_a_connection(broker: Harness) -> None:
    client, other = await broker.member(), await broker.member("bob")
    await client.call("log.subscribe", sub=1)
    assert (await client.refused("log.subscribe", sub=1))["code"] == "subscription_conflict"
    assert (await client.refused("log.subscribe", "s", sub=1))["code"] == "subscription_conflict"
    await other.call("log.subscribe", sub=1)
    await client.call("log.unsubscribe", sub=1)
    await client.call("log.subscribe", sub=1)
    await client.call("log.unsubscribe", sub=99)  # nothing to end is no error


async def test_nothing_comes_after_the_end(broker: Harness) -> None:
    client = await broker.member()
    await client.call("log.subscribe", sub=1)
    await client.call("log.unsubscribe", sub=1)
    await emit(client, 3)
    assert client.events(1) == []


async def test_rooms_do_not_leak(broker: Harness) -> None:
    client = await broker.member()
    await client.call("log.subscribe", "r", sub=1)
    await client.call("log.subscribe", "s", sub=2)
    await emit(client, 3, room="s")
    last = await emit(client, 1, room="r")
    assert len(await caught_up(client, last, 1)) == 1
    assert [event["type"] for event in client.events(2) if event["type"] == "note.taken"] == ["note.taken"] * 3


async def test_another_epoch_is_a_gap(start: Start) -> None:
    broker = await start()  # in memory: a restart loses the log
    client = await broker.member()
    last = await emit(client, 5)
    epoch = (await client.call("log.subscribe", sub=1))["epoch"]
    await broker.restart()
    client = await broker.member()
    now = await emit(client, 2)
    again = await client.response("log.subscribe", sub=1, since=last, epoch=epoch)
    assert again["ok"]["epoch"] == again["epoch"] != epoch
    gap = await client.push("gap")
    assert gap == {"push": "gap", "sub": 1, "room": "r", "from": 1, "to": now, "epoch": again["epoch"]}
    after = await emit(client, 1)
    assert [event["seq"] for event in await caught_up(client, after)] == [after]


async def test_a_sequence_that_never_was_is_a_gap(broker: Harness) -> None:
    client = await broker.member()
    await client.call("log.subscribe", sub=1, since=10_000)
    assert (await client.push("gap"))["to"] < 10_000
    last = await emit(client, 1)
    assert [event["seq"] for event in await caught_up(client, last)] == [last]


async def test_retained_messages_come_first(any_broker: Harness) -> None:
    client = await any_broker.member()
    seqs = []
    for topic, body in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("other", b"4")):
        seqs.append((await client.call("topic.publish", topic=topic, body=body, retain=True))["seq"])
    late = await any_broker.client("late")
    await late.call("log.subscribe", sub=1, types="topic.published", subject="*", retained=True)
    await late.call("log.subscribe", sub=2, types="topic.published", subject="b", retained=True)
    await late.call("log.subscribe", sub=3, types="topic.published", subject="c", retained=True)
    await late.call("log.subscribe", sub=4, types="topic.published", subject="*", retained=True, retained_after=seqs[1])
    last = (await client.call("topic.publish", topic="b", body=b"5"))["seq"]
    assert [event["body"] for event in await caught_up(late, last, 1)] == [b"2", b"3", b"4", b"5"]
    assert [event["body"] for event in await caught_up(late, last, 2)] == [b"2", b"5"]
    assert await caught_up(late, last, 3) == []
    assert [event["body"] for event in await caught_up(late, last, 4)] == [b"3", b"4", b"5"]


async def test_qos_0_reaches_those_who_are_there_and_no_log(broker: Harness) -> None:
    client, reader = await broker.member(), await broker.client("bob")
    await reader.call("log.subscribe", sub=4, types="topic.published", subject="news")
    await reader.call("log.subscribe", sub=5, types="topic.published", subject="sports")
    assert (await client.call("topic.publish", topic="news", body=b"x", qos=0, ct="text"))["seq"] == 0
    message = await reader.push("message")
    assert message.pop("time") > 0
    assert len(message.pop("id")) == 32
    assert message.pop("after") >= 1
    assert message == {"push": "message", "sub": 4, "topic": "news", "sender": "ana", "body": b"x", "ct": "text"}
    assert not [event for event in (await client.call("log.read"))["events"] if event["type"] == "topic.published"]
    assert not [push for push in reader.pushes if push["push"] == "message"]


# -- who may see what


async def scene(broker: Harness) -> tuple[Client, int]:
    """A room in which one of each kind of event has happened; the last sequence."""
    ana, _ = await broker.member("ana"), await broker.member("bob")
    for op, fields in (
        ("event.emit", {"type": "plan.made", "body": b"emitted"}),
        ("topic.publish", {"topic": "news/uk", "body": b"published"}),
        ("blackboard.set", {"key": "plan", "body": b"written"}),
        ("inbox.send", {"to": "bob", "body": b"secret"}),
        ("task.dispatch", {"task": "t", "type": "draft", "body": b"payload"}),
        ("record.write", {"puts": [["checkpoint/x/y", b"row", False]]}),
    ):
        await ana.call(op, **fields)
    return ana, (await ana.call("event.emit", type="the.end", body=b""))["seq"]


@pytest.mark.parametrize(
    ("grant", "seen"),
    [
        ({"topics": ["news/*"], "verbs": ["subscribe"]}, {b"published"}),
        ({"topics": ["plan"], "verbs": ["state"]}, {b"written"}),
        ({"topics": ["plan.*"], "verbs": ["subscribe"]}, {b"emitted"}),
        ({"topics": ["task.*"], "verbs": ["subscribe"]}, {b"payload"}),
        ({"topics": ["inbox.*"], "verbs": ["subscribe"]}, set()),
        ({"topics": ["blackboard.*"], "verbs": ["subscribe"]}, set()),
        ({"topics": ["**"], "verbs": ["subscribe"]}, {b"published", b"emitted", b"payload"}),
        ({"topics": ["**"], "verbs": ["publish", "dispatch", "claim", "approve", "tools", "checkpoint"]}, set()),
        ({"topics": ["**"], "verbs": ["admin"]}, {b"published", b"emitted", b"payload", b"written", b"secret"}),
    ],
)
async def test_grants_are_judged_for_each_event(any_broker: Harness, grant: dict[str, Any], seen: set[bytes]) -> None:
    """The same, whether it is replayed, live, or read in pages."""
    reader = await any_broker.client(token=any_broker.broker.mint("eve", [{"room": "r", **grant}]))
    await reader.call("log.subscribe", sub=1)
    _, last = await scene(any_broker)
    await reader.call("log.subscribe", sub=2, since=0)
    live, replayed = await caught_up(reader, last, 1), await caught_up(reader, last, 2)
    page = (await reader.call("log.read", limit=1000))["events"]
    for events in (live, replayed, page):
        assert {event["body"] for event in events if event.get("body")} == seen
    assert {event["seq"] for event in live} <= {event["seq"] for event in replayed} == {event["seq"] for event in page}


@pytest.mark.parametrize(("actor", "reads"), [("ana", True), ("bob", True), ("eve", False)])
async def test_a_message_is_read_by_sender_and_receiver(any_broker: Harness, actor: str, reads: bool) -> None:
    reader, other = await any_broker.client(actor), await any_broker.client("someone")
    for client in (reader, other):
        await client.call("log.subscribe", sub=1, types="inbox.**")
    _, last = await scene(any_broker)
    (event,) = await caught_up(reader, last)
    assert event["subject"] == "bob"
    assert ("body" in event) is reads
    assert ["body" in event for event in await caught_up(other, last)] == [False]


async def test_a_refreshed_token_changes_what_is_seen(broker: Harness) -> None:
    client = await broker.member("ana")
    reader = await broker.client(token=broker.broker.mint("eve", [{"room": "r", "topics": ["a"], "verbs": ["subscribe"]}]))
    await reader.call("log.subscribe", sub=1)
    await emit(client, 1, "a")
    await emit(client, 1, "b")
    await reader.call("auth.refresh", None, token=broker.broker.mint("eve", [{"room": "r", "topics": ["b"], "verbs": ["subscribe"]}]))
    await emit(client, 1, "a")
    last = await emit(client, 1, "b")
    assert [event["type"] for event in await caught_up(reader, last)] == ["a", "b"]


async def test_a_token_refreshed_before_the_subscription_begins_leaves_no_hole_and_no_repeat(
    broker: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it begins is still looked up; what is committed meanwhile is replayed with the rest, under the newest grants."""

    def token(*topics: str) -> str:
        return broker.broker.mint("eve", [{"room": "r", "topics": list(topics), "verbs": ["subscribe"]}])

    writer, reader = await broker.member(), await broker.client(token=token("a"))
    first = await emit(writer, 1, "b")
    engine, asked, go_on = broker.broker._engine, asyncio.Event(), asyncio.Event()

    async def held(*where: Any, events: Any = engine.events) -> Any:
        asked.set()
        await go_on.wait()
        return await events(*where)

    monkeypatch.setattr(engine, "events", held)
    subscribe, subscribed = reader.request("log.subscribe", sub=1, since_time=0.0)
    await reader.send(subscribe)
    await asyncio.wait_for(asked.wait(), 15)
    await reader.call("auth.refresh", None, token=token("a", "b"))
    await reader.call("auth.refresh", None, token=token("b"))
    await emit(writer, 1, "a")
    second = await emit(writer, 1, "b")
    go_on.set()
    assert (await subscribed)["ok"]["since"] == 0
    last = await emit(writer, 1, "b")
    assert [event["seq"] for event in await caught_up(reader, last)] == [first, second, last]
