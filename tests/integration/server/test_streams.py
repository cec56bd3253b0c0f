"""Streams over the wire: live, over reconnects and restarts, and shown to nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest

if TYPE_CHECKING:
    from .conftest import Client, Harness, Start


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.fanout.THROUGH_EVERY", 0.05)


async def opened(client: Client, stream: str = "s1", **fields: Any) -> dict[str, Any]:
    target = {} if "topic" in fields else {"to": "reader"}
    opened = await client.call("stream.open", stream=stream, **target, **fields)
    return {"stream": stream, "token": opened["token"]}


def chunks(frames: list[dict[str, Any]]) -> list[bytes]:
    found: list[bytes] = []
    for frame in frames:
        for first, last, body in frame.get("pieces", [[frame["first"], frame["last"], frame["body"]]] if "body" in frame else []):
            found.extend(msgpack.unpackb(body)[len(found) + 1 - first : last + 1 - first])
    return found


def pushed(client: Client, sub: int = 1) -> list[bytes]:
    return [
        chunk for p in client.pushes if p["push"] == "stream" and p["sub"] == sub and "body" in p for chunk in msgpack.unpackb(p["body"])
    ]


async def test_live_and_again_after_a_restart(start: Start) -> None:
    broker = await start(engine="sqlite", disconnect_grace=60)
    writer, reader = await broker.member("writer", instance="w"), await broker.client("reader")
    stream = await opened(writer)
    assert (await reader.call("stream.follow", sub=1, stream="s1"))["pieces"] == []
    assert await writer.call("stream.write", **stream, n=1, chunks=[b"a", b"b"]) == {"n": 2, "kept": 0}
    await reader.until(lambda: pushed(reader) == [b"a", b"b"])
    assert (await writer.push("kept", stream="s1"))["n"] == 2
    await writer.close()
    await broker.restart()
    writer, reader = await broker.member("writer", instance="w"), await broker.client("reader")
    assert await writer.call("stream.write", **stream, n=3, chunks=[b"c"]) == {"n": 3, "kept": 2}
    assert await writer.call("stream.close", **stream, n=3) == {"closed": True, "n": 3}
    answer = await reader.call("stream.follow", sub=1, stream="s1", after=1, token=stream["token"])
    assert (chunks([answer])[1:], answer["end"]) == ([b"b", b"c"], {"state": "closed"})


async def test_a_directed_stream_is_shown_to_its_receiver_and_its_chunks_to_nobody_else(any_broker: Harness) -> None:
    narrow = any_broker.broker.mint("reader", [{"room": "r", "topics": ["nothing"]}])
    writer, reader, other = await any_broker.member("writer"), await any_broker.client(token=narrow), await any_broker.client("other")
    blind = await any_broker.client(token=any_broker.broker.mint("blind", [{"room": "r", "topics": ["nothing"]}]))
    everybody = (writer, reader, other, blind, await any_broker.admin())
    for client in everybody:
        await client.call("log.subscribe", sub=1, types="stream.*")
    stream = await opened(writer)
    await writer.call("stream.write", **stream, n=1, chunks=[b"secret"])
    last = (await writer.response("stream.close", **stream, n=1))["seq"]
    for client, sees in zip(everybody, (True, True, False, None, True), strict=True):
        await client.until(lambda client=client: max((p["through"] for p in client.pushes if p["push"] == "log"), default=0) >= last)
        events = client.events()
        assert [event["type"] for event in events] == ([] if sees is None else ["stream.opened", "stream.rolled", "stream.closed"])
        assert [event["type"] for event in events if "body" in event] == (["stream.rolled"] if sees else [])
    assert (await other.refused("stream.follow", sub=2, stream="s1"))["code"] == "not_authorized"


async def test_a_topic_is_shown_to_those_who_may_subscribe(any_broker: Harness) -> None:
    writer = await any_broker.member("writer")
    readers = [
        await any_broker.client(token=any_broker.broker.mint(f"reader-{topic}", [{"room": "r", "topics": [topic], "verbs": ["subscribe"]}]))
        for topic in ("t", "u")
    ]
    stream = await opened(writer, topic="t")
    last = (await writer.response("stream.close", **stream, n=0))["seq"]
    for reader, count in zip(readers, (2, 0), strict=True):
        assert len((await reader.call("log.read", after=last - 2))["events"]) == count


async def test_a_token_that_is_refreshed_with_less_ends_what_it_followed(broker: Harness) -> None:
    writer, reader = await broker.member("writer"), await broker.client("reader")
    stream = await opened(writer, topic="t")
    await reader.call("stream.follow", sub=1, stream="s1")
    await reader.call("auth.refresh", None, token=broker.broker.mint("reader", [{"room": "r", "topics": ["u"]}]))
    assert (await reader.push("stream"))["err"]["code"] == "not_authorized"
    await writer.call("stream.write", **stream, n=1, chunks=[b"a"])
    await reader.call("ping", None)
    assert not reader.pushes


async def test_a_writer_that_is_cut_off_leaves_nothing_in_memory_only(any_broker: Harness) -> None:
    writer, reader = await any_broker.member("writer"), await any_broker.client("reader")
    stream = await opened(writer)
    await writer.call("stream.write", **stream, n=1, chunks=[b"a"])
    await reader.call("log.subscribe", sub=1, types="stream.rolled")
    await writer.close()
    await reader.until(lambda: reader.events())
    assert reader.events()[0]["sender"] == "@broker"


async def test_a_reader_that_does_not_read_is_evicted_and_resumes(start: Start) -> None:
    broker = await start(max_send_queue=1 << 20)
    writer, slow = await broker.member("writer"), await broker.client("reader", instance="slow", max_queue=1)
    quick = await broker.client("reader")
    stream = await opened(writer)
    for reader in (slow, quick):
        await reader.call("stream.follow", sub=1, stream="s1")
    slow.socket.transport.pause_reading()
    for n in range(1, 65):
        await writer.call("stream.write", **stream, n=n, chunks=[bytes([n]) * (256 << 10)])
    await writer.call("stream.close", **stream, n=64)
    await quick.push("stream", end={"state": "closed"})
    assert len(pushed(quick)) == 64
    slow.socket.transport.resume_reading()
    assert (await slow.close_code())[0] == 4008
    had = len(pushed(slow))
    assert had < 64
    again = await broker.client("reader", instance="slow")
    pages = [await again.call("stream.follow", sub=1, stream="s1", after=had)]
    while pages[-1]["more"]:
        last = pages[-1]["pieces"][-1][1]
        pages.append(await again.call("stream.follow", sub=1, stream="s1", after=last))
    got = [chunk for page in pages for _, _, body in page["pieces"] for chunk in msgpack.unpackb(body)]
    assert pushed(slow) + got == pushed(quick)
