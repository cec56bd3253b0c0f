"""How connections begin and end: auth, replacement, slow readers, limits, and what a client finds when it comes back."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from nolag_broker.core.turn import Turn
from nolag_broker.engine.base import SequenceConflict, StorageFailed
from nolag_broker.server.auth import EVERYTHING
from nolag_broker.server.errors import CannotStart
from nolag_broker.server.node import Node
from nolag_broker.server.operations import COMPILED
from nolag_broker.server.session import Session

if TYPE_CHECKING:
    from .conftest import Harness, Start


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url.replace("ws://", "http://"), timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# -- the beginning


async def test_the_answer_to_auth(broker: Harness) -> None:
    client = await broker.client(token=broker.broker.mint("ana", roles=["b", "a"]))
    welcome = dict(client.welcome)
    assert welcome.pop("expires") > time.time()
    assert len(welcome.pop("session")) >= 8
    assert welcome.pop("server").startswith("nolag-broker/")
    assert welcome == {
        "type": "auth",
        "success": True,
        "dialect": "nolag-rooms/1",
        "actor": "ana",
        "instance": client.instance,
        "roles": ["a", "b"],
        "heartbeat": 10.0,
        "lease": 30.0,
        "max_frame": (16 << 20) + (1 << 20),
        "max_body": 16 << 20,
        "max_value": 64 << 20,
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "hello"}, "not_authenticated"),
        ({"dialect": "nolag-rooms/9"}, "bad_request"),
        ({"dialect": None}, "bad_request"),
        ({"dialect": ["nolag-rooms/1"]}, "bad_request"),
        ({"instance": None}, "bad_request"),
        ({"instance": 7}, "bad_request"),
        ({"instance": ""}, "bad_request"),
        ({"instance": "x" * 1000}, "bad_request"),
    ],
)
async def test_an_auth_frame_that_is_none(broker: Harness, changes: dict[str, Any], code: str) -> None:
    client = await broker.socket()
    answer = await client.auth(broker.broker.mint("ana"), **changes)
    assert (answer["success"], answer["error"]) == (False, code)
    assert (await client.close_code())[0] == 1000


async def test_before_auth_only_little_is_taken(broker: Harness) -> None:
    stranger = await broker.socket()
    await stranger.send(bytes(100_000))
    assert (await stranger.close_code())[0] == 1009
    await (await broker.member()).call("blackboard.set", key="k", body=bytes(1_000_000))


async def test_a_request_before_auth(broker: Harness) -> None:
    client = await broker.socket()
    await client.send({"id": 1, "op": "ping"})
    answer = msgpack.unpackb(await asyncio.wait_for(client.socket.recv(decode=False), 10))
    assert answer["error"] == "not_authenticated"


async def test_silence_is_closed_in_time(start: Start) -> None:
    broker = await start(auth_timeout=0.2)
    assert await (await broker.socket()).close_code() == (4003, "auth_timeout")


async def test_a_socket_that_says_nothing_at_all_is_closed_in_time(start: Start) -> None:
    broker = await start(auth_timeout=0.2)
    port = int(broker.broker.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()


async def test_other_paths_are_not_the_socket(broker: Harness) -> None:
    from websockets.asyncio.client import connect

    for path, status in (("/", 404), ("/ws2", 404), ("/healthz", 200)):
        with pytest.raises(InvalidStatus) as caught:
            await connect(broker.broker.url + path)
        assert caught.value.response.status_code == status
    assert await asyncio.to_thread(get, broker.broker.url + "/nothing") == (
        404,
        "Nothing here: the WebSocket is /ws, health is /healthz.\n",
    )
    assert (await asyncio.to_thread(get, broker.broker.url + "/ws"))[0] == 426


async def test_health(broker: Harness) -> None:
    await broker.member()
    status, body = await asyncio.to_thread(get, broker.broker.url + "/healthz")
    health = json.loads(body)
    assert (status, health["status"], health["rooms"], health["connections"], health["durability"]) == (200, "ok", 1, 1, "process")
    assert health["compiled"] is COMPILED


async def test_a_connection_too_many_is_told_so(start: Start) -> None:
    broker = await start(max_connections=2)
    one, _ = await broker.client("a"), await broker.client("b")
    third = await broker.socket()
    assert await third.close_code() == (4002, "limit")
    await one.close()
    await asyncio.sleep(0)
    for _ in range(100):  # the broker sees the close a moment later
        again = await broker.socket()
        if (await again.auth(broker.broker.mint("c")))["success"]:
            break
    await again.call("ping", None)


# -- rooms


async def test_rooms_open_by_use_on_loopback_and_are_listed(broker: Harness) -> None:
    client = await broker.client(token=broker.broker.mint("ana", [{"room": "news*"}]))
    other = await broker.member("bob", "secret")
    for room in ("news-b", "news-a"):
        await client.call("room.join", room)
    assert [room["name"] for room in (await client.call("rooms.list", None))["rooms"]] == ["news-a", "news-b"]
    assert [room["name"] for room in (await other.call("rooms.list", None))["rooms"]] == ["news-a", "news-b", "secret"]
    assert (await client.refused("room.join", "secret"))["code"] == "not_authorized"


async def test_closed_rooms_are_opened_by_admins_only(start: Start) -> None:
    broker = await start(open_rooms=False)
    client, admin = await broker.client(), await broker.admin()
    for op, fields in (("room.join", {}), ("log.subscribe", {"sub": 1}), ("log.read", {}), ("blackboard.set", {"key": "k", "body": b""})):
        assert (await client.refused(op, "r", **fields))["code"] == "room_not_found"
    assert await admin.call("room.create", None, name="r") == {}
    assert await admin.call("room.create", None, name="r") == {}
    await client.call("room.join", "r")
    await admin.call("room.join", "by-use")
    await client.call("room.join", "by-use")


async def test_what_is_refused_for_want_of_a_room_takes_up_nothing(start: Start) -> None:
    broker = await start(open_rooms=False)
    client, admin = await broker.client(), await broker.admin()
    for some in range(3):  # together more than a connection can be in
        asked = [client.request("log.subscribe", f"absent-{some}-{number}", sub=number) for number in range(400)]
        await client.send([frame for frame, _ in asked])
        assert {(await answer)["err"]["code"] for _, answer in asked} == {"room_not_found"}
    for fields in ({"sub": 0}, {"sub": 1, "group": "g"}):
        assert (await client.refused("log.subscribe", "r", **fields))["code"] == "room_not_found"
    await admin.call("room.create", None, name="r")
    for fields in ({"sub": 0}, {"sub": 1, "group": "g"}):
        await client.call("log.subscribe", "r", **fields)
    assert (await client.refused("log.subscribe", "r", sub=0))["code"] == "subscription_conflict"


@pytest.mark.sources
async def test_rooms_in_which_a_connection_has_nothing_any_more_do_not_count(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.session.MAX_ROOMS", 5)
    ana = await broker.client()
    await ana.call("room.join", "joined")
    await ana.call("log.subscribe", "listened", sub=1)
    await ana.call("task.dispatch", "followed", task="t", type="a", body=b"")
    for n in range(20):
        await ana.call("room.join", f"passing-{n}")
        await ana.call("room.leave", f"passing-{n}")
        await ana.call("room.info", f"looked-at-{n}")
    await ana.call("room.join", "fourth")
    await ana.call("room.join", "fifth")
    assert (await ana.refused("room.info", "sixth"))["code"] == "overloaded"
    assert (await ana.call("task.cancel", "followed", task="t", reason="enough"))["state"] == "cancelled"
    await ana.push("result")
    await ana.call("log.unsubscribe", "listened", sub=1)
    frames = [ana.request("room.join", "sixth"), ana.request("room.leave", "sixth"), ana.request("room.join", "sixth")]
    await ana.send([frame for frame, _ in frames])
    await asyncio.gather(*(answer for _, answer in frames))
    await ana.call("room.info", "seventh")
    ben = await broker.client("ben")
    await ana.close()
    for room in ("joined", "fourth", "fifth", "sixth"):
        async with asyncio.timeout(10):
            while (await ben.call("presence.list", room))["members"][0]["online"]:
                await asyncio.sleep(0.01)


async def test_searches_that_are_asked_for_at_once_look_through_so_many_items(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.store_ops.MAX_LOOKED_AT", 100)
    client = await broker.client()
    value = msgpack.packb({"n": 1})
    await client.call("store.write", puts=[[["n", f"k{number}"], value, {}] for number in range(40)])
    for _ in range(2):  # what was looked through counts no more
        asked = [client.request("store.search", prefix=["n"], filter=value, limit=1) for _ in range(5)]
        await client.send([frame for frame, _ in asked])
        answers = [await answer for _, answer in asked]
        assert [answer["err"]["code"] if "err" in answer else "ok" for answer in answers] == ["ok", "ok", *["overloaded"] * 3]


async def test_an_operation_that_is_not_granted(broker: Harness) -> None:
    client = await broker.member(token=broker.broker.mint("ana", [{"room": "r", "topics": ["a/**"], "verbs": ["dispatch"]}]))
    await client.call("task.dispatch", task="t", type="a/b", body=b"")
    for op, fields in (
        ("task.dispatch", {"task": "u", "type": "b", "body": b""}),
        ("blackboard.get", {"key": "a/b"}),
        ("event.emit", {"type": "a.b"}),
        ("task.serve", {"offer": 1, "slots": 1}),
        ("record.read", {"keys": ["checkpoint/a/b"]}),
    ):
        assert (await client.refused(op, **fields))["code"] == "not_authorized"


async def test_what_a_grant_would_have_to_cover_is_said_by_room_and_server_alike(broker: Harness) -> None:
    client = await broker.client(token=broker.broker.mint("ana", [{"room": "r", "topics": ["a"], "verbs": ["subscribe"]}]))
    for op, fields, resource in (
        ("log.subscribe", {"sub": 1, "cursor": "c"}, "cursor/c"),
        ("log.subscribe", {"sub": 1, "group": "g"}, "group/g"),
        ("group.delete", {"group": "g"}, "group/g"),
        ("group.ack", {"group": "g", "types": "**", "subject": "**", "messages": [1]}, "group/g"),
    ):
        err = await client.refused(op, **fields)
        assert (err["code"], err["detail"]) == ("not_authorized", {"verb": "subscribe", "resource": resource})
        assert err["message"] == f"this token has no grant for 'subscribe' on '{resource}' in the room 'r'"


# -- the same process again


async def test_the_same_process_replaces_its_older_connection(broker: Harness) -> None:
    older = await broker.member(instance="i")
    another_process = await broker.member(instance="j")
    another_actor = await broker.member("bob", instance="i")
    newer = await broker.member(instance="i")
    assert await older.close_code() == (4005, "replaced")
    for client in (another_process, another_actor, newer):
        await client.call("ping", None)
    members = (await newer.call("presence.list"))["members"]
    assert sorted((member["actor"], member["instance"], member["online"]) for member in members) == [
        ("ana", "i", True),
        ("ana", "j", True),
        ("bob", "i", True),
    ]


async def test_a_request_sent_again_after_a_cut_is_applied_once(any_broker: Harness) -> None:
    client = await any_broker.member(instance="i")
    frame, _ = client.request("blackboard.set", key="k", body=b"v")
    await client.send(frame)
    client.socket.transport.abort()  # the answer is lost, or the request never came
    again = await any_broker.member(instance="i")
    frame, answer = again.request(frame["op"], id=frame["id"], resent=True, key="k", body=b"v")
    await again.send(frame)
    assert (await asyncio.wait_for(answer, 10))["ok"]["revision"] == 1
    assert (await again.call("blackboard.get", key="k"))["entry"]["revision"] == 1


async def test_a_half_open_connection_is_cut(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that keeps the socket open and says nothing. Its own heartbeats keep another one alive."""
    monkeypatch.setattr("nolag_broker.server.broker.PATIENCE", 0.1)
    monkeypatch.setattr("nolag_broker.server.sessions.LOOK_EVERY", 0.05)
    broker = await start(lease=0.6)
    silent, alive = await broker.client("a"), await broker.client("b")
    deadline = time.monotonic() + 10
    while silent.closed is None and time.monotonic() < deadline:
        await alive.send(b"")
        await asyncio.sleep(0.05)
    assert silent.closed == (1006, "")
    await alive.call("ping", None)


async def test_a_heartbeat_wakes_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections are many: what comes alone is answered where it is read, and still renews the lease."""
    received: list[bytes] = []
    receive = Session.receive
    monkeypatch.setattr(Session, "receive", lambda self, message: received.append(message) or receive(self, message))
    broker = await start(lease=3.0)
    member, other = await broker.member("ana"), await broker.client("ben")

    async def heard_of() -> float:
        (found,) = (await other.call("presence.list"))["members"]
        return float(found["last_heartbeat"])

    began = await heard_of()
    async with asyncio.timeout(10):
        while await heard_of() < began + 0.5:
            heartbeats, others = member.heartbeats, len(received)
            await member.send(b"")
            await member.until(lambda before=heartbeats: member.heartbeats > before)
            assert len(received) == others, "a message of a session"


async def test_what_looks_like_a_heartbeat_within_a_frame_is_none(broker: Harness) -> None:
    """Frames come in any pieces."""
    client = await broker.member()
    (connection,) = broker.broker._transport._server.connections
    beat = b"\x82\x80abcd"
    body = b"before" + beat + b"after"
    request = msgpack.packb({"id": 1000, "op": "topic.publish", "room": "r", "topic": "t", "body": body})
    frame = b"\x82" + bytes([0x80 | len(request)]) + bytes(4) + request
    cut = frame.index(beat)
    sub = await client.call("log.subscribe", sub=1)
    for piece in (beat[:1], beat[1:], frame[:cut], beat, frame[cut + len(beat) :], beat + beat):
        connection.data_received(piece)
    event = await client.until(lambda: next(iter(client.events()), None))
    assert (event["seq"], event["body"]) == (sub["since"] + 1, body)
    await client.until(lambda: client.heartbeats == 3)


# -- slow readers


async def test_a_slow_reader_is_evicted_and_comes_back_without_a_gap(start: Start) -> None:
    broker = await start(engine="sqlite", max_send_queue=1 << 20)
    writer = await broker.member("writer")
    slow = await broker.client("slow", max_queue=1)
    good = await broker.client("good")
    await slow.call("log.subscribe", sub=1, since=0)
    await good.call("log.subscribe", sub=1, since=0)
    slow.socket.transport.pause_reading()
    last = 0
    for _ in range(200):  # 20 MB and more: kernel buffers hold some, the queue one
        last = (await writer.call("event.emit", type="a.b", body=bytes(100_000)))["seq"]
    await good.until(lambda: good.events() and good.events()[-1]["seq"] == last)
    assert [event["seq"] for event in good.events()] == list(range(1, last + 1))
    slow.socket.transport.resume_reading()
    assert (await slow.close_code())[0] in (4008, 1006)  # 1006: it was too slow even for the close
    got = slow.events()[-1]["seq"]
    assert got < last
    assert [event["seq"] for event in slow.events()] == list(range(1, got + 1))
    again = await broker.client("slow")
    await again.call("log.subscribe", sub=1, since=got)
    await again.until(lambda: again.events() and again.events()[-1]["seq"] == last)
    assert [event["seq"] for event in again.events()] == list(range(got + 1, last + 1))


async def test_a_slow_reader_is_evicted_and_nobody_else_notices(start: Start) -> None:
    """Though it has more than one thing to hear at the moment when it is too much."""
    broker = await start(engine="sqlite", max_send_queue=1 << 20)
    writer = await broker.member("writer")
    slow = await broker.client("slow", max_queue=1)
    for sub in (1, 2, 3):
        await slow.call("log.subscribe", sub=sub)
    slow.socket.transport.pause_reading()
    sessions = broker.broker._context.sessions
    while len(sessions) > 1:
        await writer.call("event.emit", type="a.b", body=bytes(100_000))
    assert (await writer.call("event.emit", type="a.b"))["seq"] > 1
    assert writer.closed is None
    slow.socket.transport.resume_reading()
    assert (await slow.close_code())[0] in (4008, 1006)


async def test_who_reads_nothing_any_more_is_let_go(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes, too, although its end can't be said: it would count for as long as the peer's process stands still."""
    monkeypatch.setattr("nolag_broker.server.transport.CLOSE_TIMEOUT", 0.1)
    broker = await start(max_send_queue=1 << 20)
    writer, slow = await broker.member("writer"), await broker.client("slow", max_queue=1)
    await slow.call("log.subscribe", sub=1)
    slow.socket.transport.pause_reading()
    while len(broker.broker._context.sessions) > 1:
        await writer.call("event.emit", type="a.b", body=bytes(100_000))
    async with asyncio.timeout(10):
        while broker.broker._transport._open > 1:
            await asyncio.sleep(0.01)
    slow.socket.transport.resume_reading()
    await slow.close_code()


async def test_a_flood_of_refused_requests_holds_nobody_up(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a bound connections are not read until a commit has taken what waits; of what was refused none takes anything."""
    monkeypatch.setattr("nolag_broker.server.pressure.MAX_WAITING", 1000)
    client, other = await broker.client("ana"), await broker.client("bob")
    for _ in range(3):
        assert (await client.refused("topic.publish", topic="*", body=bytes(2000)))["code"] == "bad_request"
        assert await other.call("ping", None)


async def test_what_was_said_before_the_end_is_heard(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the broker is behind: each message here is more than it takes at a time."""
    monkeypatch.setattr("nolag_broker.server.pressure.MAX_WAITING", 1000)
    leaving, other = await broker.member("ana"), await broker.member("bob")
    await other.call("log.subscribe", sub=1, since=0, types="note")
    for number in range(20):
        await leaving.send({"op": "event.emit", "room": "r", "type": "note", "body": bytes([number]) * 1000})
    await leaving.socket.close()
    await other.until(lambda: len(other.events()) == 20)
    assert [event["body"][0] for event in other.events()] == list(range(20))


async def test_who_joins_and_is_gone_before_that_is_heard_does_not_stay(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asked is decided first, and its leaving after that, also where the broker is behind."""
    ana, bob = await broker.client("ana"), await broker.client("bob")
    await bob.call("log.subscribe", sub=1, since=0, types="presence.*")
    caught_up = asyncio.Event()

    async def relief(self: Node) -> None:
        await caught_up.wait()

    monkeypatch.setattr(Node, "overloaded", property(lambda self: not caught_up.is_set()))
    monkeypatch.setattr(Node, "relief", relief)
    await ana.send({"op": "event.emit", "room": "r", "type": "note", "body": b""})
    await ana.send({"op": "room.join", "room": "r", "id": 7})
    await ana.socket.close()
    await asyncio.sleep(0.05)  # the broker knows that she is gone, too; were it to come later, there would be nothing to see
    caught_up.set()
    await bob.until(lambda: any(event["type"] == "presence.joined" for event in bob.events()))
    async with asyncio.timeout(10):
        while any(member["online"] for member in (await bob.call("presence.list"))["members"]):
            await asyncio.sleep(0.01)


async def test_catching_up_slowly_does_not_evict(start: Start) -> None:
    """A replay of thirty times the queue, to a reader that pauses."""
    broker = await start(engine="sqlite", max_send_queue=1 << 20)
    writer = await broker.member("writer")
    last = 0
    for _ in range(30):
        asked = [writer.request("event.emit", type="a.b", body=bytes(100_000)) for _ in range(10)]
        await writer.send([frame for frame, _ in asked])
        last = max([response["ok"]["seq"] for response in await asyncio.gather(*(answer for _, answer in asked))])
    reader = await broker.client("reader", max_queue=1)
    await reader.call("log.subscribe", sub=1, since=0)
    while not reader.events() or reader.events()[-1]["seq"] < last:
        seen = reader.messages  # the last one may come while it pauses
        reader.socket.transport.pause_reading()
        await asyncio.sleep(0.01)
        reader.socket.transport.resume_reading()
        await reader.until(lambda seen=seen: reader.messages > seen or reader.closed)
        assert reader.closed is None
    assert [event["seq"] for event in reader.events()] == list(range(1, last + 1))


# -- when it goes wrong


async def test_a_storage_error_is_told_and_stops_the_broker(start: Start) -> None:
    broker = await start()
    client = await broker.member()

    async def broken(turns: Any) -> Any:
        raise StorageFailed("disk on fire")

    broker.broker._engine.commit = broken  # type: ignore[method-assign]
    err = await client.refused("blackboard.set", key="k", body=b"v")
    assert (err["code"], err["maybe_applied"], err["retryable"]) == ("storage_failed", True, False)
    assert str(await asyncio.wait_for(broker.broker.failed(), 10)) == "disk on fire"
    assert (await client.refused("blackboard.get", key="k"))["code"] == "storage_failed"
    assert (await asyncio.to_thread(get, broker.broker.url + "/healthz"))[0] == 503
    await broker.broker.stop()
    assert await client.close_code() == (1012, "restarting")


async def test_another_owner_of_the_room_makes_it_load_again(start: Start) -> None:
    broker = await start()
    client, bystander = await broker.member(), await broker.member("bob", "other")
    await client.call("blackboard.set", key="k", body=b"v")
    commit, engine = broker.broker._engine.commit, broker.broker._engine

    async def fenced(turns: Any) -> Any:
        engine.commit = commit  # type: ignore[method-assign]
        return [SequenceConflict("moved") for _ in turns]

    engine.commit = fenced  # type: ignore[method-assign]
    err = await client.refused("blackboard.set", key="k", body=b"lost")
    assert (err["code"], err["maybe_applied"], err["retryable"]) == ("unavailable", True, True)
    assert await client.close_code() == (1012, "restarting")
    again = await broker.member()
    assert (await again.call("blackboard.get", key="k"))["entry"]["body"] == b"v"
    assert (await again.call("blackboard.set", key="k", body=b"w"))["revision"] == 2
    await bystander.call("ping", None)


async def test_a_stop_finishes_what_was_asked_and_closes_with_1012(start: Start) -> None:
    broker = await start(engine="sqlite")
    client = await broker.member()
    asked = [client.request("blackboard.set", key=f"k{number}", body=b"v") for number in range(200)]
    await client.send([frame for frame, _ in asked])
    await asked[0][1]
    began = time.monotonic()
    await broker.restart()
    assert time.monotonic() - began < 5
    assert await client.close_code() == (1012, "restarting")
    acknowledged = {f"k{number}" for number, (_, answer) in enumerate(asked) if "ok" in await answer}
    assert acknowledged
    again = await broker.member()
    kept = {entry["key"] for entry in (await again.call("blackboard.list"))["entries"]}
    assert acknowledged <= kept


async def test_tasks_that_come_and_go_write_no_rows(start: Start) -> None:
    """Rows are written behind the log, and with a stop at the latest."""
    broker = await start(engine="sqlite")
    engine = broker.broker._engine
    turns: list[Turn] = []

    async def commit(stored: Sequence[tuple[str, Turn]], commit: Any = engine.commit) -> Any:
        turns.extend(turn for _, turn in stored)
        return await commit(stored)

    engine.commit, engine.commit_at_once = commit, lambda turns: None  # type: ignore[method-assign]
    worker, client = await broker.member("worker"), await broker.member()
    await worker.call("task.serve", offer=1, kind="handoff", types=["t"], slots=1)
    for n in range(50):
        await client.call("task.dispatch", task=f"t{n}", type="t", body=b"payload")
        task = await worker.push("task")
        await worker.call("task.complete", task=task["task"], token=task["token"], body=b"result")
        if n < 49:
            await client.call("task.ack", tasks=[f"t{n}"])
    behind = [turn for turn in turns if not turn.caught_up]
    assert len(behind) > 50
    assert not any(turn.heads or turn.records for turn in behind)
    assert sum(key.startswith(("task/", "kept/")) for turn in turns for key in (*turn.heads, *turn.records)) < 25
    await broker.restart()
    assert turns[-1].caught_up
    client = await broker.member()
    assert (await client.call("task.get", task="t49"))["task"]["state"] == "completed"
    assert await client.refused("task.get", task="t48")


async def test_a_restart_keeps_everything(start: Start) -> None:
    broker = await start(engine="sqlite")
    client = await broker.member()
    epoch = (await client.response("blackboard.set", key="plan", body=b"tea", ct="text"))["epoch"]
    await client.call("task.dispatch", task="t", type="draft", body=b"payload", key="k")
    await client.call("topic.publish", topic="news", body=b"kept", retain=True)
    await client.call("approval.request", approval="a", action="publish", body=b"shown", allow=["approve", "reject"])
    await client.call("record.write", puts=[["checkpoint/x/1", b"row", False]])
    before = (await client.call("log.read", limit=1000))["events"]
    await broker.restart()
    client = await broker.member("bob")
    entry = await client.response("blackboard.get", key="plan")
    assert (entry["ok"]["entry"]["body"], entry["ok"]["entry"]["ct"], entry["epoch"]) == (b"tea", "text", epoch)
    assert (await client.call("record.read", keys=["checkpoint/x/1"]))["bodies"] == [b"row"]
    assert [pending["body"] for pending in (await client.call("approval.list"))["approvals"]] == [b"shown"]
    assert (await client.call("log.read", limit=1000))["events"][: len(before)] == before
    await client.call("task.serve", offer=1, slots=1)
    task = await client.push("task")
    assert (task["task"], task["body"], task["attempt"]) == ("t", b"payload", 1)
    await client.call("task.complete", task="t", token=task["token"], body=b"result")
    again = await client.call("task.dispatch", task="t2", type="draft", body=b"payload", key="k")
    assert again == {"task": "t", "state": "completed", "attached": True}
    assert (await client.push("result"))["body"] == b"result"


# -- starting


async def test_a_port_in_use_is_one_clear_line(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotStart, match=rf"port {taken.getsockname()[1]} on 127.0.0.1 is in use\..*--port"):
            await start(port=taken.getsockname()[1])


async def test_beyond_this_machine_only_when_asked(start: Start) -> None:
    with pytest.raises(CannotStart, match="--insecure"):
        await start(host="0.0.0.0")
    broker = await start(host="0.0.0.0", insecure=True)
    assert broker.broker.url.startswith("ws://127.0.0.1:")
    client = await broker.client()
    assert (await client.refused("room.join", "r"))["code"] == "room_not_found"  # rooms are closed there


async def test_credentials_are_there_while_it_runs(start: Start) -> None:
    broker = await start(engine="sqlite")
    file = broker.settings.path / "credentials.json"
    credentials = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert credentials["url"] == broker.broker.url
    client = await broker.client(token=credentials["token"])
    info = await client.call("broker.info", None)
    assert (info["engine"], info["compiled"]) == ("sqlite", COMPILED)
    assert client.welcome["actor"] == "admin"
    await broker.broker.stop()
    assert not file.exists()
    assert EVERYTHING[0]["room"] == "**"


async def test_while_it_stops_it_says_so_and_takes_nothing_more(start: Start) -> None:
    """A commit that takes its time: what was asked before is answered, what comes meanwhile is refused and may come again."""
    broker = await start()
    client = await broker.member()
    engine, release = broker.broker._engine, asyncio.Event()
    commit = engine.commit

    async def slow(turns: Any) -> Any:
        await release.wait()
        return await commit(turns)

    engine.commit = slow  # type: ignore[method-assign]
    frame, answer = client.request("blackboard.set", key="k", body=b"v")
    await client.send(frame)
    await client.call("ping", None)
    stopping = asyncio.create_task(broker.broker.stop())
    await asyncio.sleep(0)
    err = await client.refused("blackboard.get", key="k")
    assert (err["code"], err["retryable"], err["maybe_applied"]) == ("unavailable", True, False)
    assert (await asyncio.to_thread(get, broker.broker.url + "/healthz"))[0] == 503
    assert (await asyncio.to_thread(get, broker.broker.url + "/ws"))[0] == 503
    assert not answer.done()
    release.set()
    assert (await asyncio.wait_for(answer, 10))["ok"]["revision"] == 1
    assert await client.close_code() == (1012, "restarting")
    await stopping


@pytest.mark.parametrize(
    ("op", "fields", "reads"),
    [("blackboard.get", {"key": "k"}, "bodies"), ("topic.publish", {"topic": "t", "key": "once", "body": b"v"}, "records")],
    ids=["an answer", "a decision"],
)
async def test_a_stop_waits_for_what_is_read(start: Start, op: str, fields: dict[str, Any], reads: str) -> None:
    broker = await start(body_cache=0)
    client = await broker.member()
    await client.call("blackboard.set", key="k", body=b"v")
    node, engine = broker.broker._context.node, broker.broker._engine
    for hosted in node.rooms():
        await node.behind.written(hosted)  # nothing else is waited for
    read, begun, release = getattr(engine, reads), asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        begun.set()
        await release.wait()
        return await read(*args)

    setattr(engine, reads, slow)
    frame, answer = client.request(op, **fields)
    await client.send(frame)
    await begun.wait()
    draining = asyncio.create_task(node.drain())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not draining.done()
    release.set()
    await draining
    await broker.broker.stop()
    assert "ok" in await answer


@pytest.mark.sources
@pytest.mark.parametrize("where", ["decide", "needs"])
async def test_a_defect_in_a_command_hurts_nobody_else(start: Start, where: str) -> None:
    """A command that breaks the room: it is answered, the room is loaded again, other rooms do not notice."""
    from nolag_broker.core.room import Room

    broker = await start()
    client, bystander = await broker.member(), await broker.member("bob", "other")
    await client.call("blackboard.set", key="k", body=b"v")
    sound = getattr(Room, where)

    def broken(self: Room, command: Any, *rest: Any) -> Any:
        if type(command).__name__ == "BlackboardDelete":
            raise ZeroDivisionError
        return sound(self, command, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Room, where, broken)
        err = await client.refused("blackboard.delete", key="k")
    assert (err["code"], err["maybe_applied"]) == ("internal", True)
    assert await client.close_code() == (1012, "restarting")
    again = await broker.member()
    assert (await again.call("blackboard.get", key="k"))["entry"]["body"] == b"v"
    await bystander.call("blackboard.list", "other")
