"""What goes wrong is said: a typed error, and whether to try again (`retryable`) or to look first (`maybe_applied`).

Everything here goes through the public API, on a broker and, where its disk is concerned, a broker process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, Room, Worker, connect, room_agent
from langgraph_nolag.errors import (
    AlreadyDecided,
    BadRequest,
    NoLagError,
    NotAuthorized,
    NotEncodable,
    RevisionConflict,
    StorageFailed,
    TaskFailed,
    ToolFailed,
)

Join = Callable[[str], Awaitable[Room]]
WITHIN = 30.0  # seconds that anything here may take


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Join a room as an actor."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(LocalBroker())

        async def joined(actor: str) -> Room:
            client = await stack.enter_async_context(connect(broker.url, token=broker.token(actor), actor=actor))
            return await client.join("demo")

        yield joined


async def refused(awaited: Awaitable[Any], error: type[NoLagError], **detail: Any) -> NoLagError:
    """It must be refused with just this error, for good, and without having done anything."""
    with pytest.raises(error) as caught:
        await asyncio.wait_for(awaited, WITHIN)
    assert type(caught.value) is error
    assert (caught.value.retryable, caught.value.maybe_applied) == (False, False)
    assert {name: caught.value.detail[name] for name in detail} == detail
    return caught.value


async def events(room: Room) -> list[str]:
    page = await room.link.acall("log.read", limit=1000)
    return [event["type"] for event in page["events"]]


# ------------------------------------------------------------------------------------------ what is asked


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delay", -1),
        ("delay", float("nan")),
        ("timeout", 0),
        ("timeout", -5.0),
        ("attempt_timeout", -1),
        ("max_attempts", 0),
        ("delay", ""),
        ("priority", 2**40),
        ("priority", ""),
        ("concurrency_limit", 0),
        ("retry", "sometimes"),
        ("retry", {"backoff": 2}),
        ("retry", {"initial": -1}),
        ("retry", {"factor": 0}),
        ("retry", {"jitter": 2}),
        ("retry", {"maximum": float("inf")}),
        ("retry", {1: 2.0}),
        ("delay", 10**30),
        ("delay", timedelta(seconds=1)),
        ("timeout", datetime(2030, 1, 1, tzinfo=UTC)),
        ("priority", 2**80),
        ("key", "\ud800"),
        ("concurrency_key", object()),
    ],
)
async def test_a_task_that_makes_no_sense(join: Join, field: str, value: Any) -> None:
    """A negative delay, a retry policy that is none, and their like: the error names the field, and nothing is accepted."""
    room = await join("planner")
    error = await refused(room.handoff.dispatch("draft", **{field: value}), BadRequest, field=field)
    assert field in str(error)
    assert "task.dispatched" not in await events(room)


async def test_a_map_with_keys_that_are_no_texts(join: Join) -> None:
    """The broker ends connections for them. Here they end nothing: the call alone is refused, and what else the process does goes on."""
    room = await join("planner")

    async def handler(task: Any) -> str:
        wrong: Any = {1: 2}
        await refused(room.handoff.dispatch("draft", retry=wrong), BadRequest, field="retry")
        await refused(room.presence.update(metadata=wrong), BadRequest, field="metadata")
        await refused(room.observe.emit("draft.started", severity=wrong), BadRequest, field="severity")
        await refused(room.handoff.cancel("nothing", reason=wrong), BadRequest, field="reason")
        await refused(room.approve.decide("nothing", "approve", message=wrong), BadRequest, field="message")
        await refused(room.configure(retention=wrong), BadRequest, field="retention")
        return "done"

    async with room.handoff.serve(handler):
        assert await (await room.handoff.dispatch("review", max_attempts=1)).result(timeout=WITHIN) == "done"


async def test_what_can_not_be_called_where_a_function_goes(join: Join) -> None:
    """Accepted, it would fail the work of others, or be told nothing."""
    room = await join("planner")
    wrong: Any = 5
    for given in (lambda: room.handoff.serve(wrong), lambda: Worker("demo").task("t")(wrong)):
        with pytest.raises(BadRequest, match="handler is a function, not 5"):
            given()

    async def awaited(value: Any) -> None:
        """Called like a callback, it never runs."""

    for wrong in (5, awaited):
        await refused(room.handoff.dispatch("t", on_progress=wrong), BadRequest, field="on_progress")
        await refused(room.tools.invoke("t", on_progress=wrong), BadRequest, field="on_progress")
        with pytest.raises(BadRequest, match="on_disconnected"):
            connect("ws://127.0.0.1:1", token="t", on_disconnected=wrong)

    async def handler(task: Any) -> str:
        await refused(task.effect("pay", 5), BadRequest, field="do")
        await refused(room.blackboard.update("key", 5), BadRequest, field="change")  # type: ignore[arg-type]
        return "done"

    async with room.handoff.serve(handler):
        assert await (await room.handoff.dispatch("review", max_attempts=1)).result(timeout=WITHIN) == "done"


@pytest.mark.parametrize("never", [float("nan"), "5", timedelta(seconds=5)], ids=["nan", "text", "timedelta"])
async def test_a_time_to_wait_that_is_no_number_of_seconds(join: Join, never: Any) -> None:
    """With `nan` seconds it would be for ever."""
    room = await join("planner")
    batch = await room.handoff.batch([{"type": "draft"}])
    asked = await room.approve.request("publish")
    for wait in (batch.tasks[0].result, batch.gather, asked.decision):
        await refused(wait(never), BadRequest, field="timeout")
    with pytest.raises(BadRequest, match="timeout is a number of seconds"):
        connect("ws://127.0.0.1:1", token="t", timeout=never)
    with pytest.raises(BadRequest, match="drain is a number of seconds"):
        room.handoff.serve(print, drain=never)


async def test_what_would_be_taken_for_something_else(join: Join) -> None:
    """For all there are, for one of two places to begin at, for an error, for a room."""
    room = await join("planner")
    nan: Any = float("nan")
    wrong: Any = 5
    for listed in (room.handoff.list(limit=nan), room.approve.list(limit=nan), room.approve.list(["decided"], limit=nan)):
        await refused(listed, BadRequest, field="limit")
    for read in (lambda: room.subscribe("notes", since=0, since_time=1.0), lambda: room.observe.stream(since=0, since_time=1.0)):
        with pytest.raises(BadRequest, match="since_time stands in place of since"):
            read()
    async with await room.open_stream(to="editor") as stream:
        await refused(stream.fail(wrong), BadRequest, field="error")
        await stream.write("it goes on")
    with pytest.raises(BadRequest, match="not a room: 5"):
        Worker(wrong)
    with pytest.raises(BadRequest, match="5 is not an address"):
        connect(wrong, token="t")


async def test_a_value_that_holds_itself_is_not_sent(join: Join) -> None:
    room = await join("planner")
    wrong: Any = []
    wrong.append(wrong)
    await refused(room.blackboard.get(wrong), BadRequest)
    await refused(room.publish(wrong, "text"), BadRequest)


async def test_what_is_no_list_where_a_list_of_names_goes(join: Join) -> None:
    room = await join("planner")
    wrong: Any = 5
    await refused(room.handoff.dispatch("t", capabilities=wrong), BadRequest, field="capabilities")
    await refused(room.handoff.list(states=wrong), BadRequest, field="states")
    await refused(room.approve.request("publish", approvers=wrong), BadRequest, field="approvers")
    with pytest.raises(BadRequest, match="types is a list of names, not 5"):
        room.handoff.serve(print, types=wrong)


async def test_a_text_where_a_list_of_names_goes(join: Join) -> None:
    """Taken for a list it would be its letters, and a task would wait for ever for who can do `d`, `r`, `a`, `f` and `t`."""
    room = await join("planner")
    name: Any = "draft"
    calls: list[tuple[Callable[[], Awaitable[Any]], str]] = [
        (lambda: room.handoff.dispatch("t", capabilities=name), "capabilities"),
        (lambda: room.handoff.schedule("* * * * *", "t", capabilities=name), "capabilities"),
        (lambda: room.handoff.list(states=name), "states"),
        (lambda: room.handoff.purge_dead_letters(name), "task_ids"),
        (lambda: room.presence.update(capabilities=name), "capabilities"),
        (lambda: room.approve.request("publish", allow=name), "allow"),
        (lambda: room.approve.list(name), "states"),
        (lambda: room.runs.start("graph", {}, capabilities=name), "capabilities"),
    ]
    for call, field in calls:
        error = await refused(call(), BadRequest, field=field)
        assert "['draft']" in str(error)
    made: list[tuple[Callable[[], Any], str]] = [
        (lambda: room.handoff.serve(print, types=name), "types"),
        (lambda: room.handoff.serve(print, capabilities=name), "capabilities"),
        (lambda: room.tools.serve([], capabilities=name), "capabilities"),
        (lambda: Worker("demo", name), "capabilities"),
        (lambda: room_agent("writer", capabilities=name), "capabilities"),
    ]
    for make, field in made:
        with pytest.raises(BadRequest) as caught:
            make()
        assert caught.value.detail == {"field": field}
    with LocalBroker() as broker:
        with pytest.raises(BadRequest, match="roles"):
            broker.token("ana", roles=name)
        async with connect(broker.url, token=broker.token("ana")) as client:
            await refused(client.join("demo", capabilities=name), BadRequest, field="capabilities")


@pytest.mark.parametrize("cron", ["whenever", "", "* * *", "61 * * * *", "0 0 31 2 *", "@sometimes", "* * * * * * * *"])
async def test_a_cron_line_that_is_none(join: Join, cron: str) -> None:
    room = await join("planner")
    await refused(room.handoff.schedule(cron, "draft"), BadRequest, field="cron")
    await refused(room.handoff.schedule("* * * * *", "draft", tz="Middle/Earth"), BadRequest, field="tz")
    assert await room.handoff.schedules() == []


async def test_a_value_that_can_not_be_encoded_is_not_sent(join: Join) -> None:
    room = await join("planner")
    value = {"steps": [1, {"tool": object()}]}
    for awaited in (
        room.handoff.dispatch("draft", value),
        room.blackboard.set("plan", value),
        room.publish("notes", value),
        room.inbox.send("planner", value),
        room.observe.emit("draft.started", value),
        room.approve.request("publish", value),
        room.tools.invoke("search", value),
        room.handoff.schedule("* * * * *", "draft", value),
    ):
        error = await refused(awaited, NotEncodable)
        assert ".steps[1].tool" in str(error), "it says where"
    assert await events(room) == ["room.opened", "presence.joined"]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_result_that_can_not_be_encoded(join: Join, is_async: bool) -> None:
    """No retry would help, so there is none; the dispatcher is told why, and the worker goes on."""
    room = await join("writer")

    def blocking(task: Any) -> Any:
        return {"draft": object()} if task.payload == "bad" else "fine"

    async def handler(task: Any) -> Any:
        return blocking(task)

    async with room.handoff.serve(handler if is_async else blocking, capabilities=["draft"]):
        bad = await room.handoff.dispatch("draft", "bad", capabilities=["draft"], max_attempts=3)
        error = await refused(bad.result(timeout=WITHIN), TaskFailed)
        assert isinstance(error, TaskFailed)
        assert error.error_type == "NotEncodable"
        assert ".draft" in str(error)
        assert [info.id for info in await room.handoff.dead_letters()] == [bad.id]
        good = await room.handoff.dispatch("draft", "good", capabilities=["draft"])
        assert await good.result(timeout=WITHIN) == "fine"


async def test_an_effect_whose_result_can_not_be_encoded(join: Join) -> None:
    """The effect was done, and that can't be recorded: the attempt fails rather than go on as if it were."""
    room = await join("writer")

    async def handler(task: Any) -> Any:
        return await task.effect("charge", lambda: object())

    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("pay", max_attempts=1)
        error = await refused(task.result(timeout=WITHIN), TaskFailed)
        assert isinstance(error, TaskFailed)
        assert error.error_type == "NotEncodable"


async def test_a_tool_that_fails(join: Join) -> None:
    room = await join("writer")

    def search(q: str) -> str:
        """Search."""
        raise LookupError("no such shelf")

    async with room.tools.serve([search]):
        error = await refused(room.tools.invoke("search", {"q": "tea"}), ToolFailed)
        assert "no such shelf" in str(error)


async def test_a_revision_from_the_future(join: Join) -> None:
    room = await join("writer")
    await refused(room.blackboard.set("plan", 1, expected=7), RevisionConflict, revision=0)
    entry = await room.blackboard.set("plan", 1, expected=0)
    await refused(room.blackboard.set("plan", 2, expected=entry.revision + 1), RevisionConflict, revision=1)
    await refused(room.blackboard.delete("plan", expected=99), RevisionConflict, revision=1)
    await refused(room.blackboard.set("plan", 2, expected=-1), BadRequest, field="expected")
    found = await room.blackboard.get("plan")
    assert found is not None
    assert (found.value, found.revision) == (1, 1)


# ------------------------------------------------------------------------------------------ decisions


async def test_a_decision_by_someone_not_allowed(join: Join) -> None:
    writer, eve = await join("writer"), await join("eve")
    request = await writer.approve.request("pay", {"eur": 5}, approvers=["ana", "role:finance"])
    await refused(eve.approve.decide(request.id, "approve", by="ana"), NotAuthorized, approvers=["ana", "role:finance"])
    await refused(eve.approve.delegate(request.id, "eve"), NotAuthorized)
    assert [pending.votes for pending in await writer.approve.pending()] == [()]


async def test_a_decision_that_was_not_asked_for(join: Join) -> None:
    room = await join("ana")
    request = await room.approve.request("pay", {"eur": 5}, allow=["approve", "edit", "reject"])
    await refused(room.approve.decide(request.id, "respond", message="hm"), BadRequest, field="type")
    await refused(room.approve.decide(request.id, "perhaps"), BadRequest, field="type")
    await refused(room.approve.decide(request.id, "edit"), BadRequest, field="body")
    await refused(room.approve.decide(request.id, "edit", args={"eur": object()}), NotEncodable)
    await refused(room.approve.decide(request.id, "approve", digest="of something else"), BadRequest, field="digest")
    assert len(await room.approve.pending()) == 1


async def test_a_second_decision(join: Join) -> None:
    ana, ben = await join("ana"), await join("ben")
    request = await ana.approve.request("pay", {"eur": 5})
    await ana.approve.decide(request.id, "reject", message="too much")
    for type in ("approve", "reject"):
        error = await refused(ben.approve.decide(request.id, type), AlreadyDecided)
        assert (error.detail["decision"]["actor"], error.detail["decision"]["approved"]) == ("ana", False)
    await refused(request.withdraw(), AlreadyDecided)
    assert (await request.decision(WITHIN)).message == "too much"


# ------------------------------------------------------------------------------------------ the disk


class Broker:
    """A broker process on one folder, which comes back at the same port."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._port = 0
        self._errors = folder / "broker.log"

    def start(self) -> None:
        command = [sys.executable, "-m", "nolag_broker", "--path", str(self.data), "--port", str(self._port)]
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        self._port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ended(self) -> str:
        """Wait until it has stopped by itself, cleanly, with the status that says so; its last word."""
        assert self.process.wait(WITHIN) == 1
        self.close()
        said = self._errors.read_text()
        assert "Traceback" not in said
        last = said.splitlines()[-1]
        assert last.startswith("stopped: ")
        return last

    def connect(self) -> Any:
        found = json.loads((self.data / "credentials.json").read_text())
        return connect(found["url"], token=found["token"])

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.close()


def storage_failed(error: NoLagError) -> None:
    assert (error.code, error.retryable, error.maybe_applied) == ("storage_failed", False, True)


async def test_a_disk_that_is_full(broker: Broker) -> None:
    """What fails is said to have failed, though it may be there; the broker stops; with room on its disk it serves all that it said."""
    acknowledged: list[int] = []
    broker.start()
    async with broker.connect() as client:
        room = await client.join("demo")
        size = sum(file.stat().st_size for file in broker.data.iterdir()) + 200_000
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (size, size))
        with pytest.raises(StorageFailed) as caught:
            while len(acknowledged) < 100:
                note = {"n": len(acknowledged), "text": "x" * 10_000}
                acknowledged.append(await room.publish("notes", note))
        storage_failed(caught.value)
        assert 0 < len(acknowledged) < 100
        await asyncio.to_thread(broker.ended)
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(WITHIN):  # the same client, which has come back by itself
            after = await room.publish("notes", "after")
            found = [message async for message in _until(room.subscribe("notes", since=0), after)]
    assert {message.seq for message in found} >= {*acknowledged, after}
    assert [message.body["n"] for message in found if message.seq in acknowledged] == list(range(len(acknowledged)))


async def _until(stream: Any, last: int) -> AsyncIterator[Any]:
    async for message in stream:
        yield message
        if message.seq == last:
            return


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a broker in the middle of which a bit has flipped: in the room `hurt`; the room `sound` is as it was."""
    path = tmp_path_factory.mktemp("damaged") / "data"

    async def fill(broker: LocalBroker) -> None:
        async with connect(broker.url, token=broker.token("writer")) as client:
            hurt, sound = await client.join("hurt"), await client.join("sound")
            for room in (hurt, sound):
                for n in range(20):
                    await room.publish("notes", {"n": n, "text": "x" * 5000})
                    if n == 10:
                        await room.blackboard.set("plan", f"the plan of {room.link.room}")

    with LocalBroker(path=path) as broker:
        asyncio.run(fill(broker))
    content = bytearray((path / "rooms.db").read_bytes())
    content[content.index(b"the plan of hurt")] ^= 1
    (path / "rooms.db").write_bytes(content)
    return path


async def by_key(room: Room) -> None:
    await room.blackboard.get("plan")


async def page_by_page(room: Room) -> None:
    await events(room)


async def as_a_stream(room: Room) -> None:
    async for _ in room.subscribe("notes", since=0):
        pass


async def in_a_group(room: Room) -> None:
    async for message in room.subscribe("notes", since=0, group="readers"):
        await message.ack()


async def test_a_database_that_is_damaged_in_the_middle(damaged: Path, broker: Broker) -> None:
    """Whoever comes upon the damage is told, however it reads; the broker stops and says where it is; started again it serves the rest."""
    shutil.copytree(damaged, broker.data)
    broker.start()
    async with broker.connect() as client:  # the same all the time: it comes back by itself
        hurt, sound = await client.join("hurt"), await client.join("sound")
        for read in (by_key, page_by_page, as_a_stream, in_a_group):
            with pytest.raises(StorageFailed) as caught:
                await asyncio.wait_for(read(hurt), WITHIN)
            storage_failed(caught.value)
            assert "damaged" in await asyncio.to_thread(broker.ended)
            await asyncio.to_thread(broker.start)
            async with asyncio.timeout(WITHIN):
                entry = await sound.blackboard.get("plan")
                assert entry is not None
                assert entry.value == "the plan of sound"
                await hurt.publish("notes", "what is not damaged goes on too")


async def test_a_broker_in_this_process_stops_too(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LocalBroker(path=damaged) as broker:
        async with connect(broker.url, token=broker.token("reader")) as client:
            room = await client.join("hurt")
            with pytest.raises(StorageFailed) as caught:
                await asyncio.wait_for(by_key(room), WITHIN)
            storage_failed(caught.value)
    assert "damaged" in caplog.text
    with LocalBroker(path=damaged) as broker:
        async with connect(broker.url, token=broker.token("reader")) as client:
            assert await (await client.join("sound")).blackboard.get("plan") is not None
