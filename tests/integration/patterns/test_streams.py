"""Streams: chunks in order, once, whatever happens to connections, brokers, writers and readers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import (
    KeyConflict,
    LocalBroker,
    MessageTooLarge,
    NotAuthorized,
    NotEncodable,
    Retry,
    Rewind,
    Room,
    StaleLease,
    StreamAborted,
    StreamEnded,
    StreamFailed,
    StreamGap,
    StreamNotFound,
    connect,
)
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.patterns.streams import IncomingStream
from langgraph_nolag.testing import eventually
from nolag_broker.core.limits import Limits

from .conftest import Restarting

SOON = Retry(initial=0.01, jitter=0)


async def first(streams: Any) -> IncomingStream:
    stream: IncomingStream = await asyncio.wait_for(anext(streams), 10)
    return stream


async def take(stream: Any, count: int) -> list[Any]:
    return [await asyncio.wait_for(anext(stream), 10) for _ in range(count)]


async def connected(stack: AsyncExitStack, url: str, token: Any, actor: str, **options: Any) -> Room:
    client = await stack.enter_async_context(connect(url, token=token, actor=actor, **options))
    return await client.join("demo")


async def test_from_one_agent_to_another(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor")
    incoming = await first(editor.streams())
    assert (incoming.id, incoming.writer, incoming.task) == (stream.id, "writer", None)
    for chunk in ("All ", {"about": "tea"}, None, b"\x00"):
        await stream.write(chunk)
    assert await take(incoming, 4) == ["All ", {"about": "tea"}, None, b"\x00"]
    await stream.close()
    assert [chunk async for chunk in incoming] == []
    assert incoming.n == stream.n == 4


async def test_what_was_written_before_anybody_listened_waits_for_its_reader(join: Any) -> None:
    writer = await join("writer")
    for n in range(3):
        async with await writer.open_stream(to="editor") as stream:
            await stream.write(n)
    editor = await join("editor")
    streams = editor.streams()
    for n in range(2):
        assert await (await first(streams)).collect() == [n]
    again = editor.streams()  # those that were read to the end do not come again
    assert await (await first(again)).collect() == [2]
    async with await writer.open_stream(to="editor") as stream:
        await stream.write("new")
    assert await (await first(again)).collect() == ["new"]


async def test_ten_thousand_tokens_are_few_rows(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor")
    reading = asyncio.create_task((await first(editor.streams())).collect())
    for n in range(10_000):
        await stream.write(f"token {n} ")
    await stream.close()
    assert await asyncio.wait_for(reading, 30) == [f"token {n} " for n in range(10_000)]
    assert (await writer.link.acall("room.info")).seq < 50


async def test_topics_have_many_readers_and_patterns(join: Any) -> None:
    writer = await join("writer")
    readers = [(await join(f"reader-{n}")).streams("drafts/*") for n in range(2)]
    early = await writer.open_stream(topic="drafts/tea")
    await writer.open_stream(topic="other")
    await writer.open_stream(to="reader-0")
    found = [await first(streams) for streams in readers]
    late = await writer.open_stream(topic="drafts/coffee")
    more = [await first(streams) for streams in readers]
    await early.write(1)
    await late.write(2)
    for stream in (early, late):
        await stream.close()
    assert [await stream.collect() for stream in (*found, *more)] == [[1], [1], [2], [2]]


async def test_a_reader_goes_on_elsewhere_where_another_left_off(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    async with await writer.open_stream(to="editor") as stream:
        for n in range(10):
            await stream.write(n)
        incoming = await first(editor.streams())
        assert await take(incoming, 4) == [0, 1, 2, 3]
        incoming.close()
        elsewhere = (await join("editor")).stream(incoming.id, after=incoming.n, token=incoming.token)
        assert await take(elsewhere, 6) == [4, 5, 6, 7, 8, 9]


async def test_chunks_of_another_content_type_are_handed_out_as_they_are(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    opened = await writer.link.acall("stream.open", stream="raw", to="editor", ct="text/plain")
    await writer.link.acall("stream.write", stream="raw", token=opened["token"], n=1, chunks=[b"A"])
    assert await take(await first(editor.streams()), 1) == [b"A"]


async def test_how_a_stream_ends_is_told(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor")
    with pytest.raises(ValueError, match="no more"):
        async with stream:
            await stream.write(1)
            raise ValueError("no more")
    incoming = editor.stream(stream.id)
    assert await take(incoming, 1) == [1]
    with pytest.raises(StreamFailed) as failed:
        await anext(incoming)
    assert (failed.value.error_type, failed.value.error_message, failed.value.code) == ("ValueError", "no more", "stream_failed")
    with pytest.raises(StreamEnded):
        await stream.write(2)
    with pytest.raises(StreamEnded):
        await writer.open_stream(to="editor", id=stream.id)

    stream = await writer.open_stream(to="editor")
    await stream.write(1)
    incoming = editor.stream(stream.id)
    assert await take(incoming, 1) == [1]
    await writer.leave()
    with pytest.raises(StreamAborted) as aborted:
        await asyncio.wait_for(anext(incoming), 10)
    assert aborted.value.detail == {"reason": "writer_gone"}


async def test_a_stream_whose_opening_was_cancelled_fails(join: Any) -> None:
    writer = await join("writer")
    opening = asyncio.create_task(writer.open_stream(topic="drafts", id="given up"))
    await asyncio.sleep(0)  # it is asked for
    opening.cancel()
    await asyncio.wait([opening])
    with pytest.raises(StreamFailed) as caught:
        await asyncio.wait_for(writer.stream("given up").collect(), 10)
    assert caught.value.error_type == "CancelledError"
    await eventually(lambda: not writer.link._outgoing._streams)


async def test_what_is_refused(join: Any) -> None:
    writer, editor, other = await join("writer"), await join("editor"), await join("other")
    stream = await writer.open_stream(to="editor")
    with pytest.raises(NotEncodable):
        await stream.write(object())
    with pytest.raises(MessageTooLarge):
        await stream.write(bytes(1 << 20))
    with pytest.raises(NotAuthorized):
        await anext(other.stream(stream.id))
    with pytest.raises(StreamNotFound):
        await anext(editor.stream("nothing"))
    with pytest.raises(KeyConflict):
        await other.open_stream(to="editor", id=stream.id)
    await stream.write("still good")
    await stream.close()
    await stream.close()
    assert await editor.stream(stream.id).collect() == ["still good"]


async def test_a_slow_reader_gets_everything_and_holds_little(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langgraph_nolag.patterns.streams.LIMIT", 20_000)
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor")
    incoming = await first(editor.streams())
    await stream.write("begin")
    assert await take(incoming, 1) == ["begin"]
    for n in range(3000):
        await stream.write("x" * 100 + str(n))
    await stream.close()
    assert incoming._items is not None
    feed = incoming._items._feed
    await eventually(lambda: feed._full)
    assert feed._size - feed._taken < 1 << 20
    assert await asyncio.wait_for(_rest(incoming), 20) == ["x" * 100 + str(n) for n in range(3000)]


async def _rest(stream: IncomingStream) -> list[Any]:
    return [chunk async for chunk in stream]


# -- connections that break


async def test_cuts_on_both_sides_leave_no_hole_and_no_repeat(broker: Any, proxy: Any, stack: AsyncExitStack) -> None:
    writer = await connected(stack, proxy.url, broker.token("writer"), "writer")
    editor = await connected(stack, proxy.url, broker.token("editor"), "editor")
    stream = await writer.open_stream(to="editor")
    incoming = await first(editor.streams())
    read: list[Any] = []
    for turn in range(6):
        for n in range(50):
            await stream.write(50 * turn + n)
        read += await take(incoming, 10)
        if turn % 2:
            proxy.hold_answers()  # what was received, the writer does not hear
            await stream.write(f"turn {turn}")
        proxy.cut()
    await asyncio.wait_for(stream.close(), 20)
    read += await asyncio.wait_for(_rest(incoming), 20)
    assert [chunk for chunk in read if isinstance(chunk, int)] == list(range(300))
    assert [chunk for chunk in read if not isinstance(chunk, int)] == ["turn 1", "turn 3", "turn 5"]
    assert proxy.connections >= 4


async def test_writing_waits_when_too_much_is_not_in_the_log(broker: Any, proxy: Any, stack: AsyncExitStack) -> None:
    writer = await connected(stack, proxy.url, broker.token("writer"), "writer")
    stream = await writer.open_stream(to="editor")
    proxy.hold_answers()
    chunk = bytes(200_000)
    for _ in range(5):
        await asyncio.wait_for(stream.write(chunk), 10)
    waiting = asyncio.create_task(stream.write(chunk))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    assert stream.n == 5
    proxy.cut()
    await asyncio.wait_for(waiting, 10)
    await asyncio.wait_for(stream.close(), 10)
    assert stream.n == 6


class Process:
    """A broker process that is killed and started again on its folder and port."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.lease = 1.0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "nolag_broker", "--path", str(self.path), "--port", str(self.port), "--lease", str(self.lease)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        return str(json.loads((self.path / "credentials.json").read_text())["token"])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "data")
    process.start()
    yield process
    process.kill()


async def agents(stack: AsyncExitStack, process: Process, *names: str) -> list[Room]:
    admin = await stack.enter_async_context(connect(process.url, token=process.admin))
    tokens = [(await admin._connection.acall("token.mint", actor=name, ttl=3600))["token"] for name in names]
    return [await connected(stack, process.url, token, name) for name, token in zip(names, tokens, strict=True)]


async def test_a_broker_that_is_killed_loses_no_chunk_of_a_writer_that_lives(process: Process, stack: AsyncExitStack) -> None:
    writer, editor = await agents(stack, process, "writer", "editor")
    stream = await writer.open_stream(to="editor")
    incoming = await first(editor.streams())
    for n in range(300):
        await stream.write(n)
    read = await take(incoming, 300)  # some of it is nowhere but here and with the writer
    await asyncio.to_thread(process.kill)
    await stream.write("between")
    process.lease = 30.0  # longer than any machine needs to let the writer come back
    await asyncio.to_thread(process.start)
    assert await take(incoming, 1) == ["between"]
    await asyncio.wait_for(stream.close(), 20)
    assert (read, await _rest(incoming)) == (list(range(300)), [])
    assert await asyncio.wait_for(editor.stream(stream.id).collect(), 10) == [*range(300), "between"]

    # and when the writer is killed with it, the stream ends at what was kept
    stream = await writer.open_stream(to="editor")
    incoming = editor.stream(stream.id)
    await stream.write("kept")
    await eventually(lambda: not stream._outgoing._size)
    await stream.write("not kept")
    assert await take(incoming, 2) == ["kept", "not kept"]
    await asyncio.to_thread(process.kill)
    await writer.link.connection.aclose(0.0)
    process.lease = 1.0
    await asyncio.to_thread(process.start)
    told: list[Any] = []
    with pytest.raises(StreamAborted):
        while True:
            told += await take(incoming, 1)
    assert (told, incoming.n) in (([Rewind(1)], 1), ([], 2))  # on a busy machine it may have been kept before the kill


async def test_a_broker_on_an_older_copy_is_no_reason_to_wait_for_ever(process: Process, stack: AsyncExitStack, tmp_path: Path) -> None:
    [writer] = await agents(stack, process, "writer")
    stream = await writer.open_stream(to="editor")
    await stream.write(0)
    admin = await stack.enter_async_context(connect(process.url, token=process.admin))
    await admin._connection.acall("broker.backup", folder=str(tmp_path / "copy"))
    for n in range(1, 10):
        await stream.write(n)
    await eventually(lambda: stream._outgoing._kept == 10)
    await asyncio.to_thread(process.kill)
    process.path, process.lease = tmp_path / "copy", 30.0  # longer than any machine needs to let the writer come back
    await asyncio.to_thread(process.start)
    with pytest.raises(StreamEnded, match="lost chunks"):
        await asyncio.wait_for(stream.close(), 20)


async def test_a_closed_stream_can_not_fail_any_more(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    with pytest.raises(ValueError, match="no more"):
        async with await writer.open_stream(to="editor") as stream:
            await stream.write(1)
            await stream.close()
            with pytest.raises(StreamEnded):
                await stream.fail(TypeError("too late"))
            raise ValueError("no more")
    await stream.close()
    assert await (await first(editor.streams())).collect() == [1]


async def test_a_stream_fails_whatever_its_error_says(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor")
    await stream.fail(ValueError("the model said \ud83d" + "x" * 10_000))
    with pytest.raises(StreamFailed, match=r"the model said .ud83dxxx"):
        await (await first(editor.streams())).collect()


async def test_a_broker_that_lost_its_memory_ends_streams_and_takes_new_ones(forgetful: Restarting, stack: AsyncExitStack) -> None:
    room = await connected(stack, forgetful.url, lambda: forgetful.token("writer"), "writer")
    stream, streams = await room.open_stream(to="writer"), room.streams()
    await stream.write(1)
    incoming = await first(streams)
    assert await take(incoming, 1) == [1]
    await forgetful.restart()
    with pytest.raises(StreamNotFound):
        await take(incoming, 1)
    with pytest.raises(StreamNotFound):
        await stream.close()
    stream = await room.open_stream(to="writer")
    assert (await first(streams)).id == stream.id


# -- taking over


async def test_another_process_of_ours_takes_over(join: Any) -> None:
    writer, editor = await join("writer"), await join("editor")
    stream = await writer.open_stream(to="editor", id="report")
    incoming = await first(editor.streams())
    for n in range(4):
        await stream.write(n)
    assert await take(incoming, 4) == [0, 1, 2, 3]
    successor = await (await join("writer")).open_stream(to="editor", id="report", keep=3)
    assert successor.n == 3
    await successor.write("three")
    assert await take(incoming, 2) == [Rewind(3), "three"]
    with pytest.raises(StaleLease):
        await stream.write(4)  # it is refused, and
        await eventually(lambda: stream._outgoing._error)
        await stream.write(5)  # that is known now
    with pytest.raises(StaleLease):
        await stream.close()
    await successor.close()
    assert await editor.stream("report").collect() == [0, 1, 2, "three"]


async def test_a_task_streams_to_whoever_wants_it_done(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")

    async def handler(task: HandedTask) -> int:
        stream = await task.open_stream()
        for word in ("All", "about", task.payload):
            await stream.write(word)
        return int(stream.n)  # it is closed when we return

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft", "tea")
        incoming = await first(desk.streams())
        assert (incoming.task, incoming.id) == (task.id, f"{task.id}/stream")
        assert await asyncio.wait_for(incoming.collect(), 10) == ["All", "about", "tea"]
        assert await task.result(10) == 3


async def test_sync_handlers_stream_without_await(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")

    def handler(task: HandedTask) -> None:
        with task.open_stream("text", topic="drafts") as stream:
            for n in range(3):
                stream.write(n)
        left_open = task.open_stream("more", topic="drafts")
        left_open.write("closed all the same")

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        await task.result(10)
    assert await desk.stream(f"{task.id}/text").collect() == [0, 1, 2]
    assert await desk.stream(f"{task.id}/more").collect() == ["closed all the same"]


async def test_the_next_attempt_writes_anew_and_readers_are_told(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    seen = asyncio.Event()

    async def handler(task: HandedTask) -> None:
        async with await task.open_stream(keep=None if task.attempt == 3 else 0) as stream:
            await stream.write([task.attempt, stream.n])
            if task.attempt < 3:
                await seen.wait()
                seen.clear()
                raise RuntimeError("try again")

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft", retry=SOON)
        incoming = await first(desk.streams())
        assert await take(incoming, 1) == [[1, 0]]
        seen.set()
        assert await take(incoming, 2) == [Rewind(0), [2, 0]]
        seen.set()
        assert await take(incoming, 1) == [[3, 1]]
        await task.result(10)
        assert await _rest(incoming) == []
    assert await desk.stream(incoming.id).collect() == [[2, 0], [3, 1]]


async def test_a_worker_that_lost_its_task_writes_no_more(broker: Any, join: Any, proxy: Any, stack: AsyncExitStack) -> None:
    desk, other = await join("desk"), await join("other")
    worker = await connected(stack, proxy.url, broker.token("worker"), "worker")
    refused: list[str] = []
    writing, lost = asyncio.Event(), asyncio.Event()

    async def insist(stream: Any) -> None:
        await lost.wait()
        try:
            while True:
                await stream.write("still mine")
                await asyncio.sleep(0.01)
        except StaleLease as error:
            refused.append(error.code)

    async def stubborn(task: HandedTask) -> None:
        stream = await task.open_stream()
        await stream.write("mine")
        work = asyncio.ensure_future(insist(stream))
        writing.set()
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:  # it is told, and does not listen
            await work
            raise

    async def good(task: HandedTask) -> None:
        async with await task.open_stream() as stream:
            await stream.write("other's")

    async with worker.handoff.serve(stubborn):
        task = await desk.handoff.dispatch("draft", attempt_timeout=60)
        incoming = await first(desk.streams())
        assert await take(incoming, 1) == ["mine"]
        await writing.wait()
        proxy.refuses = True
        proxy.cut()
        async with other.handoff.serve(good):
            assert await take(incoming, 2) == [Rewind(0), "other's"]
            await task.result(10)
        proxy.refuses = False
        lost.set()
        await eventually(lambda: refused)
    assert await _rest(incoming) == []
    assert await desk.stream(incoming.id).collect() == ["other's"]


async def test_a_stream_of_a_task_whose_opening_was_cancelled_ends_with_the_task(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")

    async def handler(task: HandedTask) -> str:
        opening = asyncio.create_task(task.open_stream())
        await asyncio.sleep(0)  # it is asked for
        opening.cancel()
        await asyncio.wait([opening])
        return "without it"

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        assert await task.result(10) == "without it"
        with pytest.raises(StreamAborted):
            await asyncio.wait_for(desk.stream(f"{task.id}/stream").collect(), 10)
    await eventually(lambda: not worker.link._outgoing._streams)


async def test_a_stream_ends_when_its_task_is_cancelled(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")

    async def handler(task: HandedTask) -> None:
        stream = await task.open_stream()
        await stream.write(1)
        await asyncio.sleep(60)

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("draft")
        incoming = await first(desk.streams())
        assert await take(incoming, 1) == [1]
        await task.cancel()
        with pytest.raises(StreamAborted) as caught:
            await asyncio.wait_for(anext(incoming), 10)
    assert caught.value.detail == {"reason": "task_cancelled"}


async def test_what_is_gone_of_a_very_long_stream_is_said(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nolag_broker.server.node.Limits", partial(Limits, stream_pieces=2))
    broker = stack.enter_context(LocalBroker())
    writer, editor = [await connected(stack, broker.url, broker.token(name), name) for name in ("writer", "editor")]
    async with await writer.open_stream(to="editor") as stream:
        for n in range(5):
            await stream.write(bytes(70_000))
            await stream.write(n)
            await eventually(lambda: stream._outgoing._size < 10)
    incoming = editor.stream(stream.id)
    (gap,) = await take(incoming, 1)
    assert isinstance(gap, StreamGap)
    assert gap.from_n == 1
    assert incoming.n == gap.to_n > 1
    with pytest.raises(StreamFailed, match="are gone"):
        await editor.stream(stream.id).collect()
