"""Consumer groups over the wire: who is dealt what, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nolag_broker.server import sharing

from .conftest import Client, Harness, Start

GROUP = {"group": "readers", "types": "topic.published", "subject": "notes/*"}


@pytest.fixture
async def quick(start: Start) -> Harness:
    """A broker that waits for nobody for long."""
    return await start(engine="sqlite", lease=2.0, disconnect_grace=0.3)


async def join(client: Client, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await client.call("log.subscribe", sub=1, **GROUP, **fields)
    return answer


async def publish(client: Client, *bodies: bytes, topic: str = "notes/a", **fields: Any) -> list[int]:
    return [(await client.call("topic.publish", topic=topic, body=body, **fields))["seq"] for body in bodies]


def dealt(client: Client) -> list[tuple[bytes, int]]:
    """Bodies and attempts."""
    return [
        (event["body"], attempt)
        for push in client.pushes
        if push["push"] == "dealt"
        for event, attempt in zip(push["events"], push["attempts"], strict=True)
    ]


async def has(client: Client, *bodies: bytes, attempt: int = 1) -> None:
    """Wait until just these were dealt to it, in this order."""
    await client.until(lambda: len(dealt(client)) >= len(bodies))
    assert dealt(client) == [(body, attempt) for body in bodies]
    client.pushes.clear()


async def ack(client: Client, *messages: int) -> int:
    return int((await client.call("group.ack", messages=list(messages), **GROUP))["acknowledged"])


async def test_each_message_goes_to_the_member_with_least_in_hand(any_broker: Harness) -> None:
    a, b, writer = [await any_broker.client(name) for name in ("a", "b", "writer")]
    assert (await join(a))["since"] == (await join(b))["since"]
    one, two, three = await publish(writer, b"1", b"2", b"3")
    await has(a, b"1", b"3")
    await has(b, b"2")
    assert await ack(a, one, three) == 2
    await publish(writer, b"4", b"5", topic="other")
    await publish(writer, b"6", b"7", b"8")
    await has(a, b"6", b"8")
    await has(b, b"7")
    assert await ack(b, two) == 1


async def test_no_more_than_it_has_room_for(any_broker: Harness) -> None:
    a = await any_broker.client("a")
    await publish(a, b"0")
    await join(a, max_in_flight=2, since=0)
    one, two, *_ = await publish(a, b"1", b"2", b"3", b"4")
    await has(a, b"0", b"1")
    b = await any_broker.client("b")  # comes later, and takes what waits
    await join(b, max_in_flight=1)
    await has(b, b"2")
    await ack(a, one)
    await has(a, b"3")
    await ack(b, two)
    await has(b, b"4")


async def test_what_a_member_had_in_hand_goes_to_others_when_it_leaves(any_broker: Harness) -> None:
    a, b = await any_broker.client("a"), await any_broker.client("b")
    await join(a)
    one, _, _ = await publish(a, b"1", b"2", b"3")
    await has(a, b"1", b"2", b"3")
    await ack(a, one)
    await join(b)
    await publish(a, b"4")
    await has(b, b"4")
    await a.call("log.unsubscribe", sub=1)
    await has(b, b"2", b"3", attempt=2)


async def test_a_connection_that_breaks_may_come_back(quick: Harness) -> None:
    a, b = await quick.client("a", instance="process"), await quick.client("b")
    await join(a, max_in_flight=2)
    one, two = await publish(b, b"1", b"2")
    await has(a, b"1", b"2")
    await a.socket.close()
    back = await quick.client("a", instance="process")
    await join(b)
    await join(back, max_in_flight=2, holding=[[one, 1]])  # the second never came: it is dealt again, to whoever has least
    await has(b, b"2")
    assert (await ack(back, one), await ack(b, two)) == (1, 1)


async def test_a_connection_that_does_not_come_back(quick: Harness) -> None:
    a, b = await quick.client("a"), await quick.client("b")
    await join(a)
    await publish(b, b"1")
    await has(a, b"1")
    await join(b)
    await a.close()
    await has(b, b"1", attempt=2)


async def test_a_member_that_is_silent_for_a_lease(start: Start) -> None:
    harness = await start(lease=0.4)
    a, b = await harness.client("a"), await harness.client("b")
    await join(a)
    (one,) = await publish(b, b"1")
    await has(a, b"1")
    await join(b)
    alive = asyncio.create_task(_beat(b))
    await has(b, b"1", attempt=2)
    assert await ack(a, one) == 1, "it was dealt with, whoever says so"
    alive.cancel()


async def _beat(client: Client) -> None:
    while True:
        await client.send(b"")
        await asyncio.sleep(0.1)


async def test_time_to_acknowledge_runs_out(any_broker: Harness) -> None:
    a = await any_broker.client("a")
    await join(a, ack_within=0.05)
    (one,) = await publish(a, b"1")
    await has(a, b"1")
    await a.until(lambda: len(dealt(a)) >= 2)
    assert dealt(a)[:2] == [(b"1", 2), (b"1", 3)]
    await ack(a, one)


async def test_the_group_goes_on_after_a_restart_of_everybody(quick: Harness) -> None:
    writer = await quick.client("writer")
    a = await quick.client("a")
    await join(a)
    one, two, three = await publish(writer, b"1", b"2", b"3")
    await has(a, b"1", b"2", b"3")
    await ack(a, two)
    await quick.restart()
    writer = await quick.client("writer")
    await publish(writer, b"4")
    a = await quick.client("a")
    await join(a)
    await a.until(lambda: len(dealt(a)) == 3)
    assert dealt(a) == [(b"1", 2), (b"3", 2), (b"4", 1)], "the first two were dealt before"
    await ack(a, one, three)


async def test_what_was_dealt_to_who_has_left_was_dealt_before(quick: Harness) -> None:
    """Also where nobody is left who keeps count."""
    a, writer = await quick.client("a"), await quick.client("writer")
    await join(a)
    await publish(writer, b"1")
    await has(a, b"1")
    await a.call("log.unsubscribe", sub=1)
    await publish(writer, b"2")
    await join(writer)
    await writer.until(lambda: len(dealt(writer)) == 2)
    assert dealt(writer) == [(b"1", 2), (b"2", 1)]


async def test_what_is_in_hand_over_a_restart_of_the_broker_stays_there(quick: Harness) -> None:
    """The row lags behind what was dealt: nothing was acknowledged before the restart."""
    a, writer = await quick.client("a", instance="process"), await quick.client("writer")
    await join(a)
    one, two, three = await publish(writer, b"1", b"2", b"3")
    await has(a, b"1", b"2", b"3")
    await quick.restart()
    b, a = await quick.client("b"), await quick.client("a", instance="process")
    await join(b)
    assert await ack(a, two) == 1
    await join(a, holding=[[one, 1], [two, 1], [three, 1]])
    (four,) = await publish(b, b"4")
    await has(b, b"4")
    assert dealt(a) == []
    await a.call("log.unsubscribe", sub=1)
    await has(b, b"1", b"3", attempt=2)
    assert await ack(b, one, three, four) == 3


async def test_qos_0_goes_to_one_who_is_there(any_broker: Harness) -> None:
    a, b, writer = [await any_broker.client(name) for name in ("a", "b", "writer")]
    await join(a)
    await join(b)
    await publish(writer, b"1", b"2", b"3", b"4", qos=0)
    await a.until(lambda: len(a.pushes) == 2)
    await b.until(lambda: len(b.pushes) == 2)
    assert sorted(push["body"] for push in a.pushes + b.pushes) == [b"1", b"2", b"3", b"4"]
    assert {push["push"] for push in a.pushes} == {"message"}


async def test_grants_count_at_the_join_and_at_each_message(any_broker: Harness) -> None:
    def token(*topics: str) -> str:
        return any_broker.broker.mint("a", [{"room": "r", "topics": list(topics), "verbs": ["subscribe"]}])

    writer = await any_broker.client("writer")
    stranger = await any_broker.client(token=token("notes/*"))
    assert (await stranger.refused("log.subscribe", sub=1, **GROUP))["code"] == "not_authorized"
    narrow = await any_broker.client(token=token("notes/a", "group/readers"))
    await join(narrow)
    await publish(writer, b"1")
    await publish(writer, b"2", topic="notes/b")
    await publish(writer, b"3")
    await has(narrow, b"1", b"3")
    wide = await any_broker.client("b")
    await join(wide)
    await has(wide, b"2")
    await narrow.call("auth.refresh", None, token=token("notes/a"))  # a member no longer
    assert (await narrow.push("failed", sub=1))["err"]["code"] == "not_authorized"
    await wide.until(lambda: len(dealt(wide)) == 2)
    assert dealt(wide) == [(b"1", 2), (b"3", 2)]


async def test_what_no_member_may_see_holds_nobody_up(any_broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.sharing.WINDOW", 5)
    writer = await any_broker.client("writer")
    grants = [{"room": "r", "topics": ["notes/a", "group/readers"], "verbs": ["subscribe"]}]
    narrow = await any_broker.client(token=any_broker.broker.mint("a", grants))
    await join(narrow)
    secret = [b"%d" % number for number in range(20)]
    await publish(writer, *secret, topic="notes/b")
    await publish(writer, b"seen")
    await has(narrow, b"seen")
    wide = await any_broker.client("b")
    await join(wide)
    await has(wide, *secret)


async def test_a_group_of_which_nobody_may_see_anything_ends(any_broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in silence: what it asks for and what it may see are two things."""
    monkeypatch.setattr("nolag_broker.server.sharing.UNSEEN", 10)
    writer = await any_broker.client("writer")
    grants = [{"room": "r", "topics": ["notes/a", "group/readers"], "verbs": ["subscribe"]}]
    narrow = await any_broker.client(token=any_broker.broker.mint("a", grants))
    await join(narrow)
    await publish(writer, *[b"secret"] * 11, topic="notes/b")
    assert (await narrow.push("failed", sub=1))["err"]["code"] == "not_authorized"
    await narrow.call("log.subscribe", sub=1, types="note")  # the number is free


async def test_a_seat_that_a_refresh_ends_leaves_nothing_behind(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is free, whether its turn has come or not, and it counts no more."""
    monkeypatch.setattr("nolag_broker.server.log_ops.MAX_SUBSCRIPTIONS", 1)
    tokens = [broker.broker.mint("a", [{"room": "r", "topics": topics, "verbs": ["subscribe"]}]) for topics in (["**"], ["notes/*"])]
    a, writer = await broker.client(token=tokens[0]), await broker.client("writer")
    await join(a)
    await a.call("auth.refresh", None, token=tokens[1])
    await a.push("failed", sub=1)
    await a.call("auth.refresh", None, token=tokens[0])
    subscribe, subscribed = a.request("log.subscribe", sub=1, **GROUP)
    refresh, _ = a.request("auth.refresh", None, token=tokens[1])
    await a.send([subscribe, refresh])  # which comes before the other's turn
    assert "ok" in await subscribed
    await a.push("failed", sub=1)
    await writer.call("group.delete", **GROUP)  # it has no members
    await a.call("log.subscribe", sub=1)


async def test_what_retention_dropped_is_a_gap(start: Start) -> None:
    harness = await start(engine="sqlite", trim_every=0.05)
    a, admin = await harness.client("a"), await harness.admin()
    await join(a, max_in_flight=1)
    await publish(a, *[b"%d" % n for n in range(20)])
    await has(a, b"0")
    await a.call("log.unsubscribe", sub=1)
    await admin.call("room.configure", retention={"count": 5})

    async def trimmed() -> bool:
        return "gap" in await a.call("log.read")

    async with asyncio.timeout(10):
        while not await trimmed():
            await asyncio.sleep(0.02)
    await join(a)
    gap = await a.push("gap")
    assert gap["to"] > gap["from"] or gap["from"] == 2
    await a.until(lambda: dealt(a) and dealt(a)[-1][0] == b"19")
    assert dealt(a)[0][0] != b"0"


async def test_a_gap_is_told_again_where_it_may_not_have_arrived(start: Start) -> None:
    harness = await start(engine="sqlite", trim_every=0.05)
    writer, admin = await harness.client("writer"), await harness.admin()
    await publish(writer, *[b"%d" % n for n in range(20)])
    await admin.call("room.configure", retention={"count": 5})
    async with asyncio.timeout(10):
        while "gap" not in await writer.call("log.read"):
            await asyncio.sleep(0.02)
    holding: list[list[int]] = []
    told = []
    for _ in range(3):
        a = await harness.client("a", instance="process")
        await join(a, since=0, max_in_flight=1, holding=holding)
        if not holding:
            await a.until(lambda: dealt(a))  # noqa: B023
            holding = [[push["events"][0]["seq"], 1] for push in a.pushes if push["push"] == "dealt"]
        elif len(told) == 2:
            await ack(a, holding[0][0])
        told.append([(push["from"], push["to"]) for push in a.pushes if push["push"] == "gap"])
        await a.socket.close()
    assert told[0] == told[1] == told[2] != []
    last = await harness.client("a", instance="process")
    await join(last)
    assert not any(push["push"] == "gap" for push in last.pushes), "it has acknowledged what came after"


async def test_a_backlog_is_read_in_pieces(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "CHUNK_EVENTS", 3)
    monkeypatch.setattr(sharing, "WINDOW", 7)
    harness = await start(engine="sqlite")
    a = await harness.client("a")
    sequences = await publish(a, *[b"%d" % n for n in range(30)])
    await join(a, since=0)
    seen: list[bytes] = []
    while len(seen) < 30:
        await a.until(lambda: dealt(a))
        bodies = [body for body, _ in dealt(a)]
        a.pushes.clear()
        seen += bodies
        await ack(a, *[sequences[int(body)] for body in bodies])
    assert seen == [b"%d" % n for n in range(30)]


@pytest.mark.parametrize(
    "fields",
    [{"cursor": "c"}, {"since_time": 1.0}, {"retained": True}, {"max_in_flight": 0}, {"ack_within": -1}, {"holding": [1]}, {"group": ""}],
)
async def test_what_does_not_go_together(broker: Harness, fields: dict[str, Any]) -> None:
    a = await broker.client("a")
    assert (await a.refused("log.subscribe", sub=1, **{**GROUP, **fields}))["code"] == "bad_request"
    await join(a)


async def test_a_group_without_members_can_be_deleted(any_broker: Harness) -> None:
    a = await any_broker.client("a")
    await join(a, since=0)
    await publish(a, b"1")
    assert (await a.refused("group.delete", **GROUP))["code"] == "bad_request"
    await a.call("log.unsubscribe", sub=1)
    assert (await a.refused("group.delete", **GROUP, lease=["lost", 1]))["code"] == "stale_lease"
    await a.call("group.delete", **GROUP)
    a.pushes.clear()
    await join(a, since=0)
    await has(a, b"1")


async def test_who_comes_back_while_what_it_had_is_read_again_has_it_alone(quick: Harness) -> None:
    a, b, writer = [await quick.client(name) for name in ("a", "b", "writer")]
    await join(a, max_in_flight=2)
    one, two = await publish(writer, b"1", b"2")
    await has(a, b"1", b"2")
    await join(b, max_in_flight=1)
    (three,) = await publish(writer, b"3")
    await has(b, b"3")
    engine = quick.broker._engine
    events, second, go_on = engine.events, asyncio.Event(), asyncio.Event()

    async def slow(room: str, after: int, *limits: int) -> Any:
        if after + 1 == two:
            second.set()
            await go_on.wait()
        return await events(room, after, *limits)

    engine.events = slow
    await a.close()
    await asyncio.sleep(0.6)  # it was away for too long
    await ack(b, three)
    await asyncio.wait_for(second.wait(), 5)
    again = await quick.client("a", instance=a.instance)
    await join(again, max_in_flight=2, holding=[[one, 1]])
    go_on.set()
    await has(b, b"2", attempt=2)
    assert await ack(again, one) == 1
    assert await ack(b, two) == 1
    await publish(writer, b"4")
    await has(again, b"4")
