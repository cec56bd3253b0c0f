"""What a room keeps of its log: its policy, what outlives it, and what readers hear of the rest."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from nolag_broker.core.turn import ScanAt, Turn

if TYPE_CHECKING:
    from .conftest import Client, Harness, Start


@pytest.fixture(params=["memory", "sqlite"])
async def trimming(start: Start, request: pytest.FixtureRequest) -> Harness:
    """A broker that trims again and again."""
    return await start(engine=request.param, trim_every=0.02)


async def emit(client: Client, count: int, size: int = 10) -> int:
    """Emit events in one message; the last sequence."""
    asked = [client.request("event.emit", type="note.taken", body=bytes(size)) for _ in range(count)]
    await client.send([frame for frame, _ in asked])
    return max([response["ok"]["seq"] for response in await asyncio.gather(*(answer for _, answer in asked))])


async def configure(broker: Harness, **retention: Any) -> int:
    """The sequence of the policy's event."""
    return int((await (await broker.admin()).response("room.configure", retention=retention))["seq"])


async def trimmed(client: Client) -> int:
    """Wait until the log is trimmed; where it begins."""
    async with asyncio.timeout(15):
        while (gap := (await client.call("log.read", limit=1)).get("gap")) is None:
            await asyncio.sleep(0.01)
    assert gap["from"] == 1
    return int(gap["to"]) + 1


async def read_all(client: Client, after: int = 0) -> list[int]:
    found: list[int] = []
    while True:
        page = await client.call("log.read", after=after, limit=1000)
        found += [event["seq"] for event in page["events"]]
        after = page["through"]
        if page["end"]:
            return found


async def test_by_count(trimming: Harness) -> None:
    client = await trimming.member()
    await configure(trimming, count=80)
    last = await emit(client, 300)
    async with asyncio.timeout(15):
        while last + 1 - (first := await trimmed(client)) > 90:
            await asyncio.sleep(0.01)
    found = await read_all(client)
    assert found == list(range(first, last + 1))
    assert len(found) >= 80
    await client.call("log.subscribe", sub=1, since=3)
    gap = await client.push("gap")
    assert (gap["from"], gap["to"]) == (4, first - 1)
    await client.until(lambda: len(client.events(1)) == len(found))
    assert [event["seq"] for event in client.events(1)] == found


async def test_by_bytes(trimming: Harness) -> None:
    client = await trimming.member()
    await configure(trimming, bytes=100_000)
    for _ in range(30):
        last = await emit(client, 1, 10_000)
    found = list(range(last))
    async with asyncio.timeout(15):
        while len(found) > 11:
            found = await read_all(client)
    assert len(found) >= 9
    assert found[-1] == last


async def test_by_age(trimming: Harness) -> None:
    client = await trimming.member()
    last = await emit(client, 20)
    await configure(trimming, age=0.05)
    async with asyncio.timeout(15):
        while await trimmed(client) <= last:
            await asyncio.sleep(0.01)


async def test_where_the_log_begins_outlives_a_restart(start: Start) -> None:
    broker = await start(engine="sqlite", trim_every=0.02)
    client = await broker.member()
    await configure(broker, count=50)
    await emit(client, 300)
    first = await trimmed(client)
    await broker.restart()
    client = await broker.member()
    assert await trimmed(client) >= first
    assert (await client.call("room.info"))["retention"] == {"age": 30 * 86400.0, "count": 50, "bytes": 10 << 30}


async def test_what_is_still_referred_to_stays_readable(trimming: Harness) -> None:
    ana, bob = await trimming.member("ana"), await trimming.member("bob")
    await ana.call("blackboard.set", key="plan", body=b"old plan")
    await ana.call("blackboard.set", key="plan", body=b"new plan")
    await ana.call("topic.publish", topic="state", body=b"retained", retain=True)
    await ana.call("inbox.send", to="carl", body=b"unread", keep=True)
    await ana.call("approval.request", approval="p1", action="pay", body=b"shown", allow=["approve"])
    await ana.call("task.dispatch", task="t1", type="draft", body=b"payload", follow=False)
    await ana.call("task.dispatch", task="t2", type="other", body=b"payload 2", follow=False)
    await bob.call("task.serve", offer=1, slots=1, types=["other"])
    push = await bob.push("task")
    last = (await bob.response("task.complete", task="t2", token=push["token"], body=b"result"))["seq"]
    await configure(trimming, count=10)
    await emit(ana, 400)
    async with asyncio.timeout(15):
        while await trimmed(ana) <= last:
            await asyncio.sleep(0.01)
    if trimming.settings.engine == "sqlite":  # from the disk, not from what is remembered
        await trimming.restart()
        ana, bob = await trimming.member("ana"), await trimming.member("bob")
    assert (await ana.call("blackboard.get", key="plan"))["entry"]["body"] == b"new plan"
    assert [entry["body"] for entry in (await ana.call("blackboard.history", key="plan"))["entries"]] == [b"new plan", b"old plan"]
    assert (await ana.call("approval.get", approval="p1"))["approval"]["body"] == b"shown"
    await ana.call("task.follow", tasks=[["t2", 0]])
    assert (await ana.push("result"))["body"] == b"result"
    await bob.call("task.serve", offer=1, slots=1, types=["draft"])
    assert (await bob.push("task"))["body"] == b"payload"
    await bob.call("log.subscribe", sub=1, types="topic.published", retained=True)
    await bob.until(lambda: [event["body"] for event in bob.events(1)] == [b"retained"])
    carl = await trimming.member("carl")
    (message,) = (await carl.call("inbox.open"))["messages"]
    assert message["body"] == b"unread"


async def test_records_of_periods_gone_by_are_swept(trimming: Harness) -> None:
    engine, period = trimming.broker._engine, int(time.time() // trimming.settings.keep_keys)
    kept = [f"kept/{number}/task/t" for number in (period - 1, period, period + 1)]
    await engine.create("r", "epoch")
    await engine.commit([("r", Turn(0, records=dict.fromkeys(["kept/9/task/t", f"kept/{period - 2}/key/k", "other/x", *kept], b"row")))])
    await trimming.member()
    async with asyncio.timeout(15):
        while len(found := await engine.scan("r", ScanAt("", bodies=False))) > 4:
            await asyncio.sleep(0.01)
    assert [key for key, _ in found] == [*kept, "other/x"]


async def test_a_policy_is_replaced_whole_and_null_is_no_bound(broker: Harness) -> None:
    admin = await broker.admin()
    for given, effective in (
        ({"age": 60, "count": 5}, {"age": 60.0, "count": 5, "bytes": 10 << 30}),
        ({"bytes": None}, {"age": 30 * 86400.0, "count": None, "bytes": None}),
        ({}, {"age": 30 * 86400.0, "count": None, "bytes": 10 << 30}),
    ):
        assert (await admin.call("room.configure", retention=given))["retention"] == effective
        assert (await admin.call("room.info"))["retention"] == effective


@pytest.mark.parametrize("retention", [{"age": 0}, {"age": -1}, {"count": 0}, {"count": 1.5}, {"bytes": "1 GB"}, {"years": 1}, 7])
async def test_senseless_policies_are_refused(broker: Harness, retention: Any) -> None:
    admin = await broker.admin()
    assert (await admin.refused("room.configure", retention=retention))["code"] == "bad_request"


async def test_a_policy_needs_admin(broker: Harness) -> None:
    assert (await (await broker.member()).refused("room.configure", retention={"count": 1}))["code"] == "not_authorized"
