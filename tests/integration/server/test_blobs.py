"""Large values on the wire: put in pieces, referred to, fetched by who knows the hash, and gone when nothing refers to them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import socket
import sqlite3
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from nolag_broker.engine.blobs import Name
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.server.blobs import Blobs
from nolag_broker.wire.blobs import BLOB, MARK, PIECE, Reference
from nolag_broker.wire.codes import Refusal

if TYPE_CHECKING:
    from .conftest import Client, Harness, Start


async def put(client: Client, value: bytes, room: str = "r") -> Reference:
    reference = Reference.to(value)
    at = 0
    while True:
        fields = {"hash": reference.hash, "size": len(value), "offset": at, "body": value[at : at + PIECE]}
        answer = await client.call("blob.put", room, **fields)
        if answer["whole"]:
            return reference
        at = answer["at"]


async def get(client: Client, reference: Reference, room: str = "r") -> bytes:
    found = [await client.call("blob.get", room, hash=reference.hash, offset=at) for at in range(0, reference.size, PIECE)]
    assert all(answer["size"] == reference.size for answer in found)
    return b"".join(answer["body"] for answer in found)


def referring(reference: Reference) -> dict[str, Any]:
    return {"body": reference.body, "ct": BLOB}


async def test_a_value_is_put_in_pieces_and_fetched_by_another(any_broker: Harness) -> None:
    ana, bob = await any_broker.client("ana"), await any_broker.client("bob")
    value = secrets.token_bytes(3 * PIECE + 1)
    reference = await put(ana, value)
    answer = await ana.call("blackboard.set", key="plan", **referring(reference))
    assert answer["revision"] == 1
    entry = (await bob.call("blackboard.get", key="plan"))["entry"]
    assert entry["ct"] == BLOB
    assert Reference.from_body(entry["body"]) == reference
    assert await get(bob, reference) == value


async def test_what_is_here_is_not_sent_again(broker: Harness) -> None:
    client = await broker.client()
    reference = await put(client, bytes(5 * PIECE))
    fields = {"hash": reference.hash, "size": reference.size, "offset": 0, "body": b""}
    assert await client.call("blob.put", **fields) == {"at": reference.size, "whole": True}
    assert await client.call("blob.put", "other", **fields) == {"at": 0, "whole": False}


async def test_pieces_that_do_not_follow_are_not_taken(broker: Harness) -> None:
    client = await broker.client()
    value = secrets.token_bytes(3 * PIECE)
    reference = Reference.to(value)

    async def piece(number: int) -> Any:
        start = number * PIECE
        fields = {"hash": reference.hash, "size": len(value), "offset": start, "body": value[start : start + PIECE]}
        return await client.call("blob.put", **fields)

    assert await piece(1) == {"at": 0, "whole": False}
    assert await piece(0) == {"at": PIECE, "whole": False}
    assert await piece(0) == {"at": PIECE, "whole": False}  # said again
    assert await piece(2) == {"at": PIECE, "whole": False}
    assert await piece(1) == {"at": 2 * PIECE, "whole": False}
    assert await piece(2) == {"at": 3 * PIECE, "whole": True}
    assert await get(client, reference) == value


async def test_an_upload_goes_on_after_a_reconnect_of_its_process(broker: Harness) -> None:
    value = secrets.token_bytes(2 * PIECE)
    fields = {"hash": Reference.to(value).hash, "size": len(value)}
    first = await broker.client("ana", instance="one")
    await first.call("blob.put", **fields, offset=0, body=value[:PIECE])
    await first.close()
    again, other = await broker.client("ana", instance="one"), await broker.client("ana", instance="two")
    assert await other.call("blob.put", **fields, offset=0, body=b"") == {"at": 0, "whole": False}
    assert await again.call("blob.put", **fields, offset=0, body=b"") == {"at": PIECE, "whole": False}
    assert await again.call("blob.put", **fields, offset=PIECE, body=value[PIECE:]) == {"at": len(value), "whole": True}


async def test_uploads_that_are_left_behind_are_in_nobodys_way(broker: Harness) -> None:
    """Of one process; it may have been cancelled in the middle of each."""
    client = await broker.client()
    begun = [Reference.to(bytes([n])) for n in range(40)]
    for reference in begun:
        await client.call("blob.put", hash=reference.hash, size=3 * PIECE, offset=0, body=bytes(PIECE))
    ask = {"size": 3 * PIECE, "offset": 0, "body": b""}
    assert [(await client.call("blob.put", hash=one.hash, **ask))["at"] for one in begun[-16:]] == [PIECE] * 16
    assert (await client.call("blob.put", hash=begun[0].hash, **ask))["at"] == 0
    assert (await client.call("blob.put", hash=begun[-1].hash, size=2 * PIECE, offset=0, body=b""))["at"] == 0
    value = secrets.token_bytes(PIECE)
    assert await get(client, await put(client, value)) == value


async def test_an_upload_with_a_piece_under_way_is_not_given_up() -> None:
    """Neither for one more, nor for another size, however late its piece is stored."""
    engine = MemoryEngine()
    await engine.open()
    await engine.create("r", "epoch")
    blobs = Blobs(engine, 3600, 60, itertools.count().__next__)
    values = [bytes([n]) * (PIECE + 1) for n in range(17)]

    def put(n: int, offset: int, size: int = PIECE + 1) -> Coroutine[Any, Any, dict[str, Any]]:
        return blobs.put(("ana", "one", "r", Reference.to(values[n]).hash), size, offset, values[n][offset : offset + PIECE])

    for n in range(16):
        await put(n, 0)
    last = put(0, PIECE)
    assert await put(16, 0) == {"at": PIECE, "whole": False}
    assert await last == {"at": PIECE + 1, "whole": True}
    assert await engine.blob_size("r", Reference.to(values[0]).hash) == PIECE + 1
    last = put(16, PIECE)
    with pytest.raises(Refusal, match="on their way"):
        put(16, 0, PIECE + 2)
    assert await last == {"at": PIECE + 1, "whole": True}


async def test_a_value_is_not_referred_to_before_it_is_stored() -> None:
    """Nor when it was given up meanwhile."""
    engine, value = MemoryEngine(), b"value"
    await engine.open()
    await engine.create("r", "epoch")
    blobs, reference = Blobs(engine, 3600, 60, itertools.count().__next__), Reference.to(value)
    add_piece = engine.add_piece

    async def given_up(blob: int, number: int, piece: bytes, name: Name | None = None) -> bool:
        with pytest.raises(Refusal, match="does not hold"):
            blobs.check("r", referring(reference))
        await engine.drop_blob(blob)
        return await add_piece(blob, number, piece, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "add_piece", given_up)
        assert await blobs.put(("ana", "one", "r", reference.hash), 5, 0, value) == {"at": 0, "whole": False}
    with pytest.raises(Refusal, match="does not hold"):
        blobs.check("r", referring(reference))


async def test_a_connection_waits_for_so_many_pieces(broker: Harness) -> None:
    client = await broker.client()
    reference = await put(client, bytes(1000))
    asked = [client.request("blob.get", hash=reference.hash, offset=0) for _ in range(200)]
    await client.send([frame for frame, _ in asked])
    answers = [await answer for _, answer in asked]
    assert {answer["err"]["code"] for answer in answers if "err" in answer} == {"overloaded"}
    assert sum("ok" in answer for answer in answers) >= 32
    assert await get(client, reference) == bytes(1000)


async def test_pieces_come_as_fast_as_they_are_read(start: Start) -> None:
    """All asked for at once, they are more than may wait for a reader that reads nothing for now: it is not closed as a slow consumer."""
    broker = await start(engine="sqlite", max_send_queue=1 << 20)
    client, other = await broker.client(sock=await narrow(broker), max_queue=1), await broker.client("bob")
    value = secrets.token_bytes(32 * PIECE)
    reference = await put(other, value)
    client.socket.transport.pause_reading()
    asked = [client.request("blob.get", hash=reference.hash, offset=n * PIECE) for n in range(32)]
    await client.send([frame for frame, _ in asked])
    assert await get(other, reference) == value  # meanwhile others are served
    client.socket.transport.resume_reading()
    answers = await asyncio.wait_for(asyncio.gather(*(answer for _, answer in asked)), 15)
    assert b"".join(answer["ok"]["body"] for answer in answers) == value


async def narrow(broker: Harness) -> socket.socket:
    """A connection that takes little of what nobody has read yet."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(broker.broker.url.rpartition(":")[2])))
    return sock


async def test_two_put_the_same_at_once(any_broker: Harness) -> None:
    value = secrets.token_bytes(8 * PIECE)
    clients = [await any_broker.client(actor) for actor in ("ana", "bob")]
    one, two = await asyncio.gather(*(put(client, value) for client in clients))
    assert one == two
    for client in clients:
        await client.call("topic.publish", topic="t", **referring(one))
        assert await get(client, one) == value


async def test_a_value_that_is_not_what_its_hash_says_is_not_kept(any_broker: Harness) -> None:
    client = await any_broker.client()
    lie = {"hash": Reference.to(b"x").hash, "size": 4, "offset": 0}
    assert (await client.refused("blob.put", **lie, body=b"lies"))["detail"] == {"field": "hash"}
    assert (await client.refused("blob.get", hash=lie["hash"], offset=0))["code"] == "blob_not_found"
    assert (await client.call("blob.put", **(lie | {"size": 1}), body=b"x"))["whole"]  # and whoever has it can put it


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hash": b"short"}, "hash"),
        ({"size": 0}, "size"),
        ({"offset": -1}, "offset"),
        ({"body": None}, "body"),
        ({"body": bytes(PIECE + 1)}, "body"),
        ({"body": bytes(PIECE - 1)}, "body"),
        ({"size": 10, "body": bytes(11)}, "body"),
    ],
)
async def test_bad_pieces_are_refused_by_name(broker: Harness, fields: dict[str, Any], field: str) -> None:
    client = await broker.client()
    good = {"hash": bytes(32), "size": 2 * PIECE, "offset": 0, "body": bytes(PIECE)}
    error = await client.refused("blob.put", **(good | fields))
    assert (error["code"], error["detail"]) == ("bad_request", {"field": field})


async def test_a_value_that_is_too_large_is_refused_before_it_comes(start: Start) -> None:
    broker = await start(max_value=1 << 20)
    client = await broker.client()
    assert client.welcome["max_value"] == 1 << 20
    error = await client.refused("blob.put", hash=bytes(32), size=(1 << 20) + 1, offset=0, body=b"")
    assert (error["code"], error["detail"]) == ("message_too_large", {"max": 1 << 20})


async def test_what_refers_to_nothing_that_is_here_is_refused(broker: Harness) -> None:
    client = await broker.member()
    here = await put(client, b"here")
    for op, fields in {
        "topic.publish": {"topic": "t", **referring(Reference.to(b"elsewhere"))},
        "blackboard.set": {"key": "k", **referring(Reference.to(b"elsewhere"))},
        "task.dispatch": {"task": "1", "type": "t", **referring(Reference.to(b"elsewhere"))},
    }.items():
        assert (await client.refused(op, **fields))["code"] == "blob_not_found"
    in_another_room = {"key": "k", **referring(here)}
    assert (await client.refused("blackboard.set", "other", **in_another_room))["code"] == "blob_not_found"
    wrong = Reference(here.hash, here.size + 1)
    assert (await client.refused("blackboard.set", key="k", **referring(wrong)))["code"] == "bad_request"
    assert (await client.refused("blackboard.set", key="k", body=b"?", ct=BLOB))["code"] == "bad_request"
    approval = {"approval": "1", "action": "pay", "allow": ["approve"], **referring(Reference.to(b"elsewhere"))}
    completion = {"task": "1", "token": 1, "body": b"", "approvals": [approval]}
    assert (await client.refused("task.complete", **completion))["code"] == "blob_not_found"


async def test_a_record_may_refer_too(any_broker: Harness) -> None:
    client = await any_broker.client()
    value = secrets.token_bytes(2 * PIECE)
    reference = await put(client, value)
    await client.call("record.write", puts=[["k/o/a", reference.record, False], ["k/o/b", b"small", False]])
    assert (await client.call("record.read", keys=["k/o/a", "k/o/b"]))["bodies"] == [reference.record, b"small"]
    assert (await client.call("record.scan", prefix="k/o/"))["items"] == [["k/o/a", reference.record], ["k/o/b", b"small"]]
    for record, code in ((Reference.to(b"elsewhere").record, "blob_not_found"), (MARK + b"?", "bad_request")):
        assert (await client.refused("record.write", puts=[["k/o/c", record, False]]))["code"] == code
    assert (await client.call("record.read", keys=["k/o/c"]))["bodies"] == [None]


async def test_who_may_put_and_fetch(broker: Harness) -> None:
    ana = await broker.client("ana")
    reference = await put(ana, b"value")
    listener = await broker.client(token=broker.broker.mint("lis", [{"room": "r", "verbs": ["subscribe"]}]))
    stranger = await broker.client(token=broker.broker.mint("str", [{"room": "elsewhere", "verbs": ["publish", "subscribe"]}]))
    assert await get(listener, reference) == b"value"
    piece = {"hash": reference.hash, "size": 5, "offset": 0, "body": b"value"}
    assert (await listener.refused("blob.put", **piece))["code"] == "not_authorized"
    assert (await stranger.refused("blob.put", **piece))["code"] == "not_authorized"
    assert (await stranger.refused("blob.get", hash=reference.hash, offset=0))["code"] == "not_authorized"


async def test_the_reference_of_a_directed_message_is_for_its_receiver(broker: Harness) -> None:
    ana, bob, eve = [await broker.member(actor) for actor in ("ana", "bob", "eve")]
    await eve.call("log.subscribe", sub=1)
    reference = await put(ana, b"secret")
    await ana.call("inbox.send", to="bob", **referring(reference))
    (message,) = (await bob.call("inbox.open"))["messages"]
    assert message["ct"] == BLOB
    (sent,) = await eve.until(lambda: [event for event in eve.events() if event["type"] == "inbox.sent"])
    assert "body" not in sent
    assert "ct" not in sent


async def test_the_digest_of_an_approval_is_of_what_is_shown(broker: Harness) -> None:
    client = await broker.client()
    reference = await put(client, b"shown")
    await client.call("approval.request", approval="1", action="pay", allow=["approve"], **referring(reference))
    info = (await client.call("approval.get", approval="1"))["approval"]
    assert info["digest"] == hashlib.sha256(b"shown").hexdigest()
    assert (info["ct"], info["body"]) == (BLOB, reference.body)


async def test_a_key_stands_for_the_same_large_value_only(broker: Harness) -> None:
    client = await broker.client()
    one, other = await put(client, b"one"), await put(client, b"other")
    first = await client.call("topic.publish", topic="t", key="k", **referring(one))
    assert await client.call("topic.publish", topic="t", key="k", **referring(one)) == first
    assert (await client.refused("topic.publish", topic="t", key="k", **referring(other)))["code"] == "key_conflict"


async def test_values_and_references_outlive_a_restart(start: Start) -> None:
    broker = await start(engine="sqlite")
    client = await broker.client()
    value = secrets.token_bytes(2 * PIECE)
    reference = await put(client, value)
    await client.call("blackboard.set", key="k", **referring(reference))
    await broker.restart()
    client = await broker.client()
    assert await get(client, reference) == value
    # Whoever refers to it again says first that it is here: the broker does not remember that it was asked.
    assert (await client.refused("blackboard.set", key="k", **referring(reference)))["code"] == "blob_not_found"
    await put(client, value)
    await client.call("blackboard.set", key="k", **referring(reference))


async def collected(client: Client, reference: Reference) -> None:
    """Wait until a value is gone."""
    async with asyncio.timeout(15):
        while True:
            frame, answer = client.request("blob.get", hash=reference.hash, offset=0)
            await client.send(frame)
            if "err" in (response := await answer):
                assert response["err"]["code"] == "blob_not_found"
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_what_nothing_refers_to_is_collected(start: Start, engine: str) -> None:
    broker = await start(engine=engine, trim_every=0.02, keep_uploads=0.3)
    client = await broker.member()
    effect, board, unused = [await put(client, secrets.token_bytes(1000 + n)) for n in range(3)]
    await client.call("task.serve", offer=1, slots=1)
    await client.call("task.dispatch", task="1", type="t", body=b"")
    token = (await client.push("task"))["token"]
    await client.call("effect.put", task="1", token=token, key="mail", **referring(effect))
    await client.call("blackboard.set", key="k", **referring(board))
    admin = await broker.admin()
    await admin.call("room.configure", retention={"count": 1})
    for _ in range(5):
        await client.call("event.emit", type="note.taken", body=b"x")
    await collected(client, unused)
    async with asyncio.timeout(15):  # the log is cut behind all of it
        while (await client.call("log.read", limit=1)).get("gap", {"to": 0})["to"] < 8:
            await asyncio.sleep(0.01)
            await client.call("event.emit", type="note.taken", body=b"x")
    await collected(client, await put(client, b"a marker that is collected after the cut"))
    assert len(await get(client, effect)) == 1000
    assert len(await get(client, board)) == 1001

    await client.call("task.complete", task="1", token=token, body=b"")
    for _ in range(101):  # the history of a key is kept too
        await client.call("blackboard.set", key="k", body=b"")
    for reference in (effect, board):
        async with asyncio.timeout(15):
            gone = asyncio.ensure_future(collected(client, reference))
            while not gone.done():
                await client.call("event.emit", type="note.taken", body=b"x")
                await asyncio.sleep(0.02)
            await gone


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_room_that_is_bounded_in_bytes_is_bounded_in_values(start: Start, engine: str) -> None:
    broker = await start(engine=engine, trim_every=0.02, keep_uploads=0.1)
    client = await broker.client()
    await (await broker.admin()).call("room.configure", retention={"bytes": 100_000})
    references = []
    for n in range(12):
        references.append(await put(client, bytes([n]) * 20_000))
        await client.call("event.emit", type="note.taken", **referring(references[-1]))
    await asyncio.gather(*(collected(client, reference) for reference in references[:6]))
    for reference in references[-5:]:
        assert len(await get(client, reference)) == 20_000


async def test_a_damaged_value_is_named_and_nothing_else_suffers(start: Start) -> None:
    broker = await start(engine="sqlite")
    client = await broker.client()
    reference = await put(client, secrets.token_bytes(2 * PIECE))
    await broker.broker.stop()
    with contextlib.closing(sqlite3.connect(broker.settings.path / "rooms.db")) as file:
        file.execute("UPDATE blob_piece SET bytes = zeroblob(1000) WHERE id & 1")
        file.commit()
    await broker.restart()
    client = await broker.client()
    assert len((await client.call("blob.get", hash=reference.hash, offset=0))["body"]) == PIECE
    assert (await client.refused("blob.get", hash=reference.hash, offset=PIECE))["code"] == "blob_damaged"
    await client.call("topic.publish", topic="t", body=b"all is well")
