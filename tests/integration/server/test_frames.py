"""What comes in: good frames in order, and everything that is not a good frame."""

from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from .conftest import Harness, Start


def nested(depth: int, opening: bytes = b"\x91") -> bytes:
    return opening * depth + b"\x01"


NOT_FRAMES: dict[str, bytes] = {
    "text": b"hello",
    "a number": msgpack.packb(7),
    "nil": b"\xc0",
    "an array of numbers": msgpack.packb([1, 2]),
    "an array in an array": msgpack.packb([[{"op": "ping", "id": 1}]]),
    "two objects": msgpack.packb({"op": "ping"}) * 2,
    "half an object": msgpack.packb({"op": "ping", "id": 1})[:-1],
    "keys that are numbers": msgpack.packb({1: 2}),
    "keys that are bytes": b"\x81\xc4\x02op\xa4ping",
    "an extension type": msgpack.packb({"op": "ping", "id": msgpack.ExtType(5, b"x")}),
    "a timestamp": msgpack.packb({"op": msgpack.Timestamp(1)}),
    "arrays, 10,000 deep": nested(10_000),
    "maps, 10,000 deep": nested(10_000, b"\x81\xa1a"),
    "a frame with a body 10,000 deep": b"\x82\xa2op\xa4ping\xa1x" + nested(10_000),
    "an array said to have 4 GiB items": b"\xdd\xff\xff\xff\xff" + b"\x01" * 100,
    "a map said to have 4 GiB items": b"\xdf\xff\xff\xff\xff" + b"\xa1a\x01" * 30,
    "bytes said to be 4 GiB": b"\xc6\xff\xff\xff\xff" + b"x" * 100,
    "a text said to be 4 GiB": b"\xdb\xff\xff\xff\xff" + b"x" * 100,
    "an extension said to be 4 GiB": b"\xc9\xff\xff\xff\xff\x05" + b"x" * 100,
    "a text that is not UTF-8": b"\x81\xa2op\xa4\xff\xfe\xfd\xfc",
    "a code that is never used": b"\xc1",
    "no op": msgpack.packb({"id": 1}),
    "an op that is a number": msgpack.packb({"id": 1, "op": 7}),
    "an op that is a list": msgpack.packb({"id": 1, "op": ["ping"]}),
    "an id of 0": msgpack.packb({"id": 0, "op": "ping"}),
    "an id that is true": msgpack.packb({"id": True, "op": "ping"}),
    "an id that is a text": msgpack.packb({"id": "1", "op": "ping"}),
    "an id below 0": msgpack.packb({"id": -1, "op": "ping"}),
}


@pytest.mark.parametrize("name", NOT_FRAMES)
async def test_what_is_not_a_frame_closes_the_connection(broker: Harness, name: str) -> None:
    client, bystander = await broker.client(), await broker.client("bob")
    await client.send(NOT_FRAMES[name])
    assert await client.close_code() == (1003, "bad_frame")
    assert await bystander.call("ping", None)


async def test_a_message_may_come_in_fragments(broker: Harness) -> None:
    """As a proxy may cut it; what comes behind it is another message."""
    client = await broker.client()
    (first, answer), (second, another) = client.request("ping", None), client.request("ping", None)
    message = msgpack.packb(first)
    await client.socket.send([message[:3], b"", message[3:7], message[7:]])
    await client.send(second)
    assert "ok" in await asyncio.wait_for(answer, 10)
    assert "ok" in await asyncio.wait_for(another, 10)


@pytest.mark.parametrize("name", ["text", "maps, 10,000 deep", "bytes said to be 4 GiB", "an array of numbers", "nil"])
async def test_before_auth_too(broker: Harness, name: str) -> None:
    client = await broker.socket()
    await client.send(NOT_FRAMES[name])
    answer = msgpack.unpackb(await asyncio.wait_for(client.socket.recv(decode=False), 10))
    assert (answer["success"], answer["error"]) == (False, "bad_frame")
    assert await client.close_code() == (1003, "bad_frame")


async def test_random_bytes_close_it_or_are_refused_and_never_hurt(broker: Harness) -> None:
    """Frames with some bytes changed. Whatever they have become, the broker answers or closes, and serves others."""
    rng = random.Random(7)
    good = [
        msgpack.packb(frame)
        for frame in (
            {"id": 1, "op": "task.dispatch", "room": "r", "task": "t", "type": "x", "body": b"b", "capabilities": ["a"]},
            {"id": 2, "op": "log.subscribe", "room": "r", "sub": 1, "types": "a.**", "since": 0},
            {"id": 3, "op": "record.write", "room": "r", "puts": [["checkpoint/a/b", b"x", True]]},
            [{"id": 4, "op": "ping"}, {"id": 5, "op": "room.join", "room": "r", "metadata": {"a": {"b": [1.5]}}}],
        )
    ]
    closed = 0
    client = await broker.client()
    for _ in range(1500):
        frame = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        if client.socket.state.name != "OPEN":
            assert await client.close_code() == (1003, "bad_frame")
            closed += 1
            client = await broker.client()
        try:
            await client.send(bytes(frame))
            await client.call("ping", None, id=1_000_000 + rng.randrange(10**6))
        except (ConnectionError, ConnectionClosed):
            continue  # closed while we were sending
    assert closed > 100
    await (await broker.client("bob")).call("ping", None)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": "no.such"}, "unknown_op"),
        ({"op": "task.get", "task": "t"}, "bad_request"),  # no room
        ({"op": "task.get", "room": 7, "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": ["r"], "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": "", "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": "a*", "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": "x" * 513, "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": "a\nb", "task": "t"}, "bad_request"),
        ({"op": "task.get", "room": "r"}, "bad_request"),
        ({"op": "task.get", "room": "r", "task": 7}, "bad_request"),
        ({"op": "task.get", "room": "_system", "task": "t"}, "not_authorized"),
        ({"op": "log.subscribe", "room": "_system", "sub": 1}, "not_authorized"),
        ({"op": "log.subscribe", "room": "r"}, "bad_request"),
        ({"op": "log.subscribe", "room": "r", "sub": -1}, "bad_request"),
        ({"op": "log.subscribe", "room": "r", "sub": 1, "types": "a**"}, "bad_request"),
        ({"op": "log.subscribe", "room": "r", "sub": 1, "types": ""}, "bad_request"),
        ({"op": "log.subscribe", "room": "r", "sub": 1, "since": -1}, "bad_request"),
        ({"op": "log.subscribe", "room": "r", "sub": 1, "since": 1.5}, "bad_request"),
        ({"op": "log.read", "room": "r", "limit": 0}, "bad_request"),
        ({"op": "log.read", "room": "r", "limit": 100_000}, "bad_request"),
        ({"op": "record.write", "room": "r", "puts": 7}, "bad_request"),
        ({"op": "room.create", "name": 7}, "bad_request"),
        ({"op": "token.mint"}, "bad_request"),
        ({"op": "auth.refresh"}, "access_denied"),
    ],
)
async def test_a_bad_request_is_refused_and_the_connection_goes_on(broker: Harness, frame: dict[str, Any], code: str) -> None:
    client = await broker.client()
    fields = dict(frame)
    err = await client.refused(fields.pop("op"), fields.pop("room", None), **fields)
    assert err["code"] == code
    assert err["message"]
    assert await client.call("ping", None)


async def test_a_body_over_the_limit_is_refused_and_a_frame_over_it_closes(start: Start) -> None:
    broker = await start(max_body=1000)
    client = await broker.member()
    assert client.welcome["max_body"] == 1000
    await client.call("blackboard.set", key="a", body=bytes(1000))
    for op, fields in (
        ("blackboard.set", {"key": "a", "body": bytes(1001)}),
        ("task.dispatch", {"task": "t", "type": "x", "body": bytes(500_000)}),
        ("record.write", {"puts": [["checkpoint/a/b", bytes(1001), False]]}),
    ):
        err = await client.refused(op, **fields)
        assert (err["code"], err["detail"]) == ("message_too_large", {"max": 1000})
    assert (await client.call("blackboard.get", key="a"))["entry"]["revision"] == 1
    await client.send({"op": "ping", "x": bytes(client.welcome["max_frame"])})
    assert (await client.close_code())[0] == 1009


async def test_responses_come_in_the_order_of_the_requests(any_broker: Harness) -> None:
    """Writes, reads and a read that has to be fetched, several messages and arrays of frames, one room."""
    client = await any_broker.member()
    frames, answers = [], []
    for number in range(60):
        for op, fields in (
            ("blackboard.set", {"key": f"k{number % 7}", "body": b"%d" % number}),
            ("blackboard.get", {"key": f"k{number % 7}"}),
            ("task.dispatch", {"task": f"t{number}", "type": "x", "body": b"p"}),
        ):
            frame, answer = client.request(op, **fields)
            frames.append(frame)
            answers.append(answer)
    client.answered.clear()
    for at in range(0, len(frames), 17):
        await client.send(frames[at : at + 17])
    responses = await asyncio.wait_for(asyncio.gather(*answers), 10)
    assert client.answered == [frame["id"] for frame in frames]
    for number in range(60):
        wrote, read, dispatched = responses[3 * number : 3 * number + 3]
        assert read["ok"]["entry"]["body"] == b"%d" % number
        assert read["ok"]["entry"]["revision"] == wrote["ok"]["revision"]
        assert wrote["seq"] <= read["seq"] < dispatched["seq"]


async def test_frames_of_a_turn_leave_as_one_message(broker: Harness) -> None:
    client = await broker.client()
    asked = [client.request("ping", None) for _ in range(50)]
    before = client.messages
    await client.send([frame for frame, _ in asked])
    await asyncio.wait_for(asyncio.gather(*(answer for _, answer in asked)), 10)
    assert client.messages == before + 1


async def test_a_request_without_an_id_gets_no_response(broker: Harness) -> None:
    client = await broker.member()
    await client.send([{"op": "ping"}, {"op": "no.such"}, {"op": "blackboard.set", "room": "r", "key": "k", "body": b"v"}])
    assert (await client.call("blackboard.get", key="k"))["entry"]["body"] == b"v"
    assert client.answered == [1, 2]


async def test_an_array_may_be_empty(broker: Harness) -> None:
    client = await broker.client()
    await client.send([])
    assert await client.call("ping", None)


async def test_a_heartbeat_is_answered_with_one(broker: Harness) -> None:
    client = await broker.client()
    for count in (1, 2, 3):
        await client.send(b"")
        await client.until(lambda count=count: client.heartbeats == count)


async def test_text_messages_are_taken_as_their_bytes(broker: Harness) -> None:
    client = await broker.client()
    await client.socket.send("{}")
    assert await client.close_code() == (1003, "bad_frame")


async def test_raw_headers_that_promise_too_much_are_closed(broker: Harness) -> None:
    """A WebSocket header that announces 2**62 bytes."""
    client = await broker.client()
    client.socket.transport.write(b"\x82\xff" + struct.pack(">Q", 2**62) + b"\0\0\0\0" + b"x" * 1000)
    assert (await client.close_code())[0] == 1009


async def test_an_answer_that_is_too_large_is_refused_and_others_go_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies are fetched in bounded amounts; only an answer that needs more than that alone is refused."""
    monkeypatch.setattr("nolag_broker.server.fetching.FETCH_BYTES", 500_000)
    broker = await start(engine="sqlite", body_cache=0, max_body=100_000)
    client = await broker.member()
    for number in range(60):
        await client.call("blackboard.set", key=f"k/{number}", body=bytes(20_000))
        await client.call("record.write", puts=[[f"checkpoint/x/{number}", bytes(20_000), False]])
    asked = [client.request("blackboard.get", key=f"k/{number}") for number in range(60)]
    asked.insert(30, client.request("record.read", keys=[f"checkpoint/x/{number}" for number in range(60)]))
    asked.insert(20, client.request("blackboard.list"))
    asked.insert(10, client.request("blackboard.list", bodies=False))
    await client.send([frame for frame, _ in asked])
    answers = await asyncio.wait_for(asyncio.gather(*(answer for _, answer in asked)), 10)
    assert client.answered[-63:] == [frame["id"] for frame, _ in asked]
    refused = {frame["op"]: answer["err"]["code"] for (frame, _), answer in zip(asked, answers, strict=True) if "err" in answer}
    assert refused == {"blackboard.list": "message_too_large", "record.read": "message_too_large"}
    assert len(answers[10]["ok"]["entries"]) == 60
    assert all(len(answer["ok"]["entry"]["body"]) == 20_000 for answer in answers if "entry" in answer.get("ok", {}))
    page = await client.call("record.scan", prefix="checkpoint/x/5")
    assert (len(page["items"]), page["end"]) == (11, True)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
@pytest.mark.parametrize("cache", [0, 64 << 20])
async def test_few_bodies_are_too_large_as_many_are(start: Start, monkeypatch: pytest.MonkeyPatch, engine: str, cache: int) -> None:
    monkeypatch.setattr("nolag_broker.server.fetching.FETCH_BYTES", 500_000)
    broker = await start(engine=engine, body_cache=cache, max_body=200_000)
    client = await broker.member()
    keys = [f"checkpoint/x/{number}" for number in range(4)]
    for key in keys:
        await client.call("blackboard.set", key=key, body=bytes(190_000))
        await client.call("record.write", puts=[[key, bytes(190_000), False]])
        await client.call("store.write", puts=[[["n", key], msgpack.packb({"text": "x" * 190_000}), {}]])
    asked = [
        client.request("blackboard.list"),
        client.request("record.read", keys=keys[:2]),
        client.request("record.read", keys=keys),
        client.request("store.get", paths=[["n", key] for key in keys]),
        client.request("blackboard.get", key=keys[0]),
        client.request("store.search", prefix=["n"], limit=4, filter=msgpack.packb({"text": "y"})),
        client.request("store.search", prefix=["n"], limit=4),
    ]
    await client.send([frame for frame, _ in asked])
    answers = await asyncio.wait_for(asyncio.gather(*(answer for _, answer in asked)), 10)
    large = {"code": "message_too_large", "max": 500_000}
    said = [{"code": answer["err"]["code"], **answer["err"]["detail"]} if "err" in answer else None for answer in answers]
    assert said == [large, None, large, large, None, None, large]
