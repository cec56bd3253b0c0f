from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from langgraph_nolag import (
    Gap,
    KeyConflict,
    LocalBroker,
    NoLagError,
    NoLagStore,
    NotAuthorized,
    NotEncodable,
    Permanent,
    StaleLease,
    TaskCancelled,
    TaskFailed,
    TaskFinished,
    TaskNotFound,
    TaskTimeout,
    connect,
)
from langgraph_nolag.client.follow import Result
from langgraph_nolag.client.latch import Latch
from langgraph_nolag.client.offer import Assigned
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually

from .conftest import enter


async def test_a_task_goes_to_a_capable_worker_and_its_result_comes_back(join: Any) -> None:
    desk, writer = await join("desk"), await join("writer", capabilities=["draft"], max_concurrency=5)
    seen: list[HandedTask] = []

    async def draft(task: HandedTask) -> Any:
        seen.append(task)
        return {"text": f"about {task.payload['topic']}"}

    async with writer.handoff.serve(draft):
        task = await desk.handoff.dispatch("draft", {"topic": "tea"}, capabilities=["draft"], priority=5, timeout=60.0)
        assert await task.result(timeout=10) == {"text": "about tea"}
        assert await task.result() == {"text": "about tea"}
    assert task.state == "completed"
    handed = seen[0]
    assert (handed.id, handed.type, handed.attempt, handed.dispatcher, handed.cancelled) == (task.id, "draft", 1, "desk", False)
    assert handed.fencing_token > 0
    assert handed.deadline is not None
    assert 50 < handed.deadline - time.time() < 61


async def test_sync_handlers_run_on_threads_side_by_side(join: Any) -> None:
    room = await join("worker", max_concurrency=4)
    together = threading.Barrier(4, timeout=10)

    def handler(task: HandedTask) -> str:
        together.wait()
        return threading.current_thread().name

    async with room.handoff.serve(handler):
        tasks = [await room.handoff.dispatch("t", n) for n in range(4)]
        names = {await task.result(timeout=10) for task in tasks}
    assert len(names) == 4
    assert all(name.startswith("nolag-handler") for name in names)


@pytest.mark.parametrize("all_fit", [True, False])
async def test_a_blocked_loop_is_told_progress_later_but_before_the_end(
    join: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, all_fit: bool
) -> None:
    room, told, blocked = await join("worker"), [], threading.Event()
    if not all_fit:
        monkeypatch.setattr("langgraph_nolag.patterns.progress.LIMIT", 10_000)

    def handler(task: HandedTask) -> str:
        assert blocked.wait(10)
        for n in range(300):
            task.progress(f"{n:01000}")
        return "done"

    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("t", on_progress=lambda value: told.append(int(value)))
        blocked.set()
        task._end.wait_blocking(20)  # so long does this loop do nothing else
        assert await task.result() == "done"
        assert told == list(range(300) if all_fit else range(300 - len(told), 300))
        assert (0 < len(told) < 300) != all_fit
    assert (f"of task {task.id} is left out" in caplog.text) != all_fit


async def test_a_hundred_tasks_in_flight_each_have_their_own_result(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", max_concurrency=10)

    async def square(task: HandedTask) -> int:
        return int(task.payload) ** 2

    async with worker.handoff.serve(square):
        tasks = await asyncio.gather(*(desk.handoff.dispatch("square", n) for n in range(300)))
        assert await asyncio.gather(*(task.result(20) for task in tasks)) == [n * n for n in range(300)]


async def test_a_preferred_worker_gets_what_it_has_a_slot_for(join: Any) -> None:
    desk = await join("desk")
    a, b = await join("a", max_concurrency=2), await join("b", max_concurrency=2)
    full = asyncio.Event()
    started: list[str] = []

    def handler(name: str) -> Any:
        async def run(task: HandedTask) -> str:
            started.append(name)
            if len(started) == 4:
                full.set()
            await full.wait()
            return name

        return run

    async with a.handoff.serve(handler("a")), b.handoff.serve(handler("b")):
        tasks = [await desk.handoff.dispatch("t", n, preferred="b") for n in range(4)]
        assert [await task.result(10) for task in tasks] == ["b", "b", "a", "a"]


async def test_types_keep_offers_apart(join: Any) -> None:
    room = await join("worker", max_concurrency=2)

    async def a(task: HandedTask) -> str:
        return "a"

    async def b(task: HandedTask) -> str:
        return "b"

    async with room.handoff.serve(a, types=["a"]), room.handoff.serve(b, types=["b"]):
        first, second = await room.handoff.dispatch("a"), await room.handoff.dispatch("b")
        assert (await first.result(10), await second.result(10)) == ("a", "b")


async def test_an_exception_is_retried_and_then_a_dead_letter_with_every_error(join: Any) -> None:
    room = await join("worker")
    attempts: list[int] = []

    async def fail(task: HandedTask) -> None:
        attempts.append(task.attempt)
        raise ValueError(f"no {task.attempt}")

    async with room.handoff.serve(fail):
        task = await room.handoff.dispatch("t", max_attempts=2)
        with pytest.raises(TaskFailed) as caught:
            await task.result(timeout=20)
        assert (caught.value.error_type, caught.value.error_message, caught.value.task) == ("ValueError", "no 2", task.id)
        assert attempts == [1, 2]
        (letter,) = await room.handoff.dead_letters()
        assert letter.id == task.id
        assert [error["error"]["message"] for error in letter.errors] == ["no 1", "no 2"]

    async def succeed(task: HandedTask) -> str:
        return "at last"

    async with room.handoff.serve(succeed):
        assert await room.handoff.retry(task.id) in ("waiting", "running")
        assert (await eventually(lambda: _ended(room, task.id))).state == "completed"


async def _ended(room: Any, id: str) -> Any:
    info = await room.handoff.get(id)
    return info if info.state in ("completed", "failed") else None


async def test_permanent_ends_it_at_once(join: Any) -> None:
    room = await join("worker")
    attempts: list[int] = []

    def fail(task: HandedTask) -> None:
        attempts.append(task.attempt)
        raise Permanent("hopeless")

    async with room.handoff.serve(fail):
        with pytest.raises(TaskFailed, match="hopeless"):
            await (await room.handoff.dispatch("t")).result(10)
    assert attempts == [1]


async def test_a_result_whose_question_is_another_one_of_that_name_fails_the_task(join: Any) -> None:
    room = await join("worker")
    await room.approve.request("pay", 5, id="a1")

    def end(assigned: Assigned) -> None:
        gate = {"approval": "a1", "action": "delete", "body": b"", "allow": ["approve", "reject"]}
        assigned.offer.complete(assigned, b"", approvals=[gate])

    offer = room.link.serve(on_task=end)
    with pytest.raises(TaskFailed, match="a1"):
        await (await room.handoff.dispatch("t")).result(10)
    await asyncio.wrap_future(offer.close())


async def test_a_result_that_is_not_plain_fails_the_task_and_says_where(join: Any) -> None:
    room = await join("worker")

    async def give_object(task: HandedTask) -> Any:
        return {"a": [object()]}

    async with room.handoff.serve(give_object):
        with pytest.raises(TaskFailed, match=r"object at \.a\[0\]") as caught:
            await (await room.handoff.dispatch("t")).result(10)
    assert caught.value.error_type == "NotEncodable"


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "type", "text"),
    [
        (ValueError("the model said \ud83d"), "ValueError", r"the model said \ud83d"),
        (ValueError("x" * (20 << 20)), "ValueError", "x" * 8192),
        (Speechless(), "Speechless", "<no text: ValueError>"),
        (Permanent("\ud83d"), "Permanent", r"\ud83d"),
    ],
    ids=["surrogate", "huge", "speechless", "permanent"],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_error_fails_the_task_whatever_it_says(join: Any, error: Exception, type: str, text: str, is_async: bool) -> None:
    room = await join("worker")

    def fail(task: HandedTask) -> None:
        raise error

    async def afail(task: HandedTask) -> None:
        raise error

    async with room.handoff.serve(afail if is_async else fail):
        task = await room.handoff.dispatch("t", max_attempts=1)
        with pytest.raises(TaskFailed) as caught:
            await task.result(10)
    assert (caught.value.error_type, caught.value.error_message) == (type, text)


async def test_a_failure_that_cant_be_stored_is_told_without_what_it_says(join: Any) -> None:
    room = await join("worker")
    seen: list[int] = []

    def on_task(task: Any) -> None:
        seen.append(task.attempt)
        task.offer.fail(task, "Broken", "no", delay=-1.0, retry=False)

    offer = room.link.serve(types=["t"], on_task=on_task)
    task = await room.handoff.dispatch("t")
    with pytest.raises(TaskFailed, match="could not be sent"):
        await task.result(10)
    assert seen == [1]
    await asyncio.wrap_future(offer.close())


async def test_a_payload_that_is_not_plain_is_refused_here(join: Any) -> None:
    room = await join("desk")
    with pytest.raises(NotEncodable):
        await room.handoff.dispatch("t", {"x": object()})


async def test_nobody_capable_it_waits_visibly_and_its_timeout_ends_it(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", capabilities=["text"])

    async def handler(task: HandedTask) -> None:
        raise AssertionError("an incapable worker was given the task")

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("t", capabilities=["gpu"], timeout=0.5)
        assert task.state == "waiting"
        assert [(info.id, info.state, info.capabilities) for info in await desk.handoff.list()] == [(task.id, "waiting", ("gpu",))]
        with pytest.raises(TaskTimeout) as caught:
            await task.result(timeout=10)
        assert (caught.value.state, caught.value.retryable) == ("timed_out", False)
        assert task.state == "timed_out"


async def test_waiting_for_a_result_can_be_given_up_and_taken_up(join: Any) -> None:
    room = await join("worker")
    release = asyncio.Event()

    async def handler(task: HandedTask) -> str:
        await release.wait()
        return "done"

    async with room.handoff.serve(handler):
        task = await room.handoff.dispatch("t")
        with pytest.raises(TaskTimeout) as caught:
            await task.result(timeout=0.01)
        assert (caught.value.state, caught.value.retryable) == (None, True)
        release.set()
        assert await task.result(10) == "done"


async def test_whoever_follows_after_another_gave_up_is_told(join: Any) -> None:
    """However close behind: the end of the one following is said before the next one begins."""
    desk = await join("desk")
    task = (await desk.link.acall("task.dispatch", task=desk.link.new_id(), type="nobodys", body=b"", follow=False))["task"]
    io, go_on, ends = desk.link.connection.io, threading.Event(), Latch[Result]()
    io.post(go_on.wait, 10)  # so that all of it is there at once
    desk.link.follow(task, on_end=lambda end: None).close()
    followed = desk.link.follow(task, on_end=ends.set)
    go_on.set()
    await desk.link.acall("task.get", task=task)  # the broker has heard all of it
    await desk.link.acall("task.cancel", task=task)
    assert (await ends.wait(10)).state == "cancelled"
    followed.close()


@pytest.mark.parametrize("there", [True, False])
async def test_a_dispatch_that_is_closed_before_it_is_accepted_tells_nothing_more(join: Any, there: bool) -> None:
    """Also where it attaches to a task that was there, under another id than it asked for."""
    desk = await join("desk")
    fields, told = {"type": "draft", "key": "k"}, []
    if there:
        await desk.link.acall("task.dispatch", task="first", body=b"", follow=False, **fields)
    followed = desk.link.dispatch(fields, b"", on_end=told.append)
    followed.close()
    task = (await asyncio.wrap_future(followed.accepted))["task"]
    ends: list[Result] = []
    if there:
        desk.link.follow(task, on_end=ends.append)
    await desk.link.acall("task.cancel", task=task)
    await desk.link.acall("room.info")
    assert told == []
    assert [end.state for end in ends] == ["cancelled"] * there


async def test_cancel_reaches_async_and_sync_handlers(join: Any) -> None:
    room = await join("worker", max_concurrency=2)
    began, ended = threading.Semaphore(0), asyncio.Queue[str]()
    loop = asyncio.get_running_loop()

    async def handler(task: HandedTask) -> None:
        began.release()
        try:
            await asyncio.sleep(60)
        finally:
            await ended.put(f"async {task.cancelled}")

    def blocking(task: HandedTask) -> None:
        began.release()
        deadline = time.monotonic() + 20
        while not task.cancelled and time.monotonic() < deadline:
            time.sleep(0.005)
        loop.call_soon_threadsafe(ended.put_nowait, f"sync {task.cancelled}")

    async with room.handoff.serve(handler, types=["a"]), room.handoff.serve(blocking, types=["b"]):
        for kind, said in (("a", "async True"), ("b", "sync True")):
            task = await room.handoff.dispatch(kind)
            assert await asyncio.to_thread(began.acquire, True, 10)
            assert await task.cancel("changed my mind") == "cancelled"
            with pytest.raises(TaskCancelled):
                await task.result(10)
            assert await asyncio.wait_for(ended.get(), 10) == said
        again = await room.handoff.dispatch("a")  # the slot is free again
        assert await asyncio.to_thread(began.acquire, True, 10)
        await again.cancel()


async def test_a_waiting_task_can_be_cancelled_and_a_finished_one_stays(join: Any) -> None:
    room = await join("worker")
    task = await room.handoff.dispatch("t")
    assert await task.cancel() == "cancelled"
    with pytest.raises(TaskCancelled):
        await task.result(10)
    with pytest.raises((TaskNotFound, TaskFinished)):
        await room.handoff.retry(task.id)


async def test_a_key_attaches_and_another_payload_conflicts(join: Any) -> None:
    desk, other, worker = await join("desk"), await join("other"), await join("worker")
    runs: list[str] = []

    async def handler(task: HandedTask) -> str:
        runs.append(task.id)
        return "once"

    first = await desk.handoff.dispatch("draft", {"n": 1}, key="article-7")
    second = await other.handoff.dispatch("draft", {"n": 1}, key="article-7")
    assert (first.attached, second.attached, second.id) == (False, True, first.id)
    async with worker.handoff.serve(handler):
        assert await first.result(10) == await second.result(10) == "once"
        late = await other.handoff.dispatch("draft", {"n": 1}, key="article-7")
        assert (late.attached, await late.result(10)) == (True, "once")
    assert runs == [first.id]
    with pytest.raises(KeyConflict):
        await desk.handoff.dispatch("draft", {"n": 2}, key="article-7")


async def test_a_delay_and_a_concurrency_key_are_passed_on(join: Any) -> None:
    room = await join("worker", max_concurrency=4)
    running = most = 0

    async def handler(task: HandedTask) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    delayed = await room.handoff.dispatch("t", delay=0.3)
    assert delayed.state == "delayed"
    async with room.handoff.serve(handler):
        tasks = [await room.handoff.dispatch("t", n, concurrency_key="one") for n in range(4)]
        for task in [delayed, *tasks[:3]]:
            await task.result(10)
    assert most <= 2  # one of the lane, and the delayed one beside it


async def test_progress_reaches_the_dispatcher_in_order(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", max_concurrency=2)

    async def handler(task: HandedTask) -> None:
        for n in range(5):
            await task.progress({"n": n})

    def blocking(task: HandedTask) -> None:
        for n in range(5):
            task.progress({"n": n})

    for handle in (handler, blocking):
        seen: list[Any] = []
        async with worker.handoff.serve(handle):
            await (await desk.handoff.dispatch("t", on_progress=seen.append)).result(10)
        await eventually(lambda seen=seen: len(seen) == 5)
        assert seen == [{"n": n} for n in range(5)]


async def test_what_is_kept_of_progress_is_bounded_however_small_it_is(join: Any) -> None:
    room = await join("worker")

    async def handler(task: HandedTask) -> int:
        for n in range(6000):
            task.note(n)
        await task.progress("all of it")
        return len(task._assigned._kept)

    async with room.handoff.serve(handler):
        kept = await (await room.handoff.dispatch("t")).result(10)
    assert 1000 < kept < 5000


async def test_progress_of_a_task_that_is_no_longer_ours_says_so(join: Any) -> None:
    room = await join("worker")
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[Exception] = asyncio.Queue()

    def handler(task: HandedTask) -> None:
        asyncio.run_coroutine_threadsafe(room.handoff.cancel(task.id), loop).result(10)
        try:
            task.progress({})
        except (StaleLease, TaskFinished) as error:
            loop.call_soon_threadsafe(found.put_nowait, error)
            raise

    async with room.handoff.serve(handler):
        await room.handoff.dispatch("t")
        error = await asyncio.wait_for(found.get(), 10)
    assert not error.retryable  # type: ignore[attr-defined]


async def test_results_are_read_from_the_log_by_a_dispatcher_that_was_away(broker: LocalBroker, join: Any) -> None:
    worker, stranger = await join("worker"), await join("stranger")

    async def handler(task: HandedTask) -> Any:
        if task.payload == "bad":
            raise Permanent("no")
        return task.payload

    async with connect(broker.url, token=broker.token("desk"), actor="desk") as client:
        room = await client.join("demo")
        early = await room.handoff.dispatch("t", "early")
        since = (await room.link.acall("room.info")).seq
        late = [await room.handoff.dispatch("t", payload) for payload in ("late", "bad")]
    not_ours = await stranger.handoff.dispatch("t", "not the desk's")
    async with worker.handoff.serve(handler):
        await not_ours.result(10)
        back = await join("desk")
        seen = []
        async for result in back.handoff.results(since=since):
            seen.append((result.id, result.state, result.value))
            if len(seen) == 3:
                break
    assert sorted(seen) == sorted([(early.id, "completed", "early"), (late[0].id, "completed", "late"), (late[1].id, "failed", None)])


@pytest.mark.parametrize("begin", [{"since": 1_000}, {"since": 1, "epoch": "another"}], ids=str)
async def test_results_that_can_not_be_had_any_more_are_a_gap(join: Any, begin: dict[str, Any]) -> None:
    desk, worker = await join("desk"), await join("worker")
    results = desk.handoff.results(**begin)
    async with asyncio.timeout(10):
        gap = await anext(results)
        assert isinstance(gap, Gap)
        async with worker.handoff.serve(lambda task: "done"):
            task = await desk.handoff.dispatch("t")
            result = await anext(results)
    assert (result.id, result.value, result.seq > gap.to_seq) == (task.id, "done", True)


async def test_a_result_is_not_lost_on_who_is_cancelled_while_it_is_looked_up(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await join("desk")
    task = await desk.handoff.dispatch("t")
    results = desk.handoff.results(since=(await desk.link.acall("room.info")).seq)
    asked = asyncio.Event()

    async def never(op: str, **fields: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async def read() -> Any:
        return await anext(results)

    await desk.handoff.cancel(task.id)
    with monkeypatch.context() as patched:
        patched.setattr(desk.link, "acall", never)
        reading = asyncio.create_task(read())
        await asyncio.wait_for(asked.wait(), 10)
        reading.cancel()
        await asyncio.wait((reading,))
    assert (await asyncio.wait_for(read(), 10)).id == task.id


async def test_who_is_cancelled_while_it_begins_to_serve_serves_nothing(broker: LocalBroker, proxy: Any, join: Any, stack: Any) -> None:
    desk, client = await join("desk"), await enter(stack, proxy.url, broker.token("worker"), "worker")
    worker = await client.join("demo")
    serving = worker.handoff.serve(lambda task: "done")
    proxy.hold_answers()
    beginning = asyncio.create_task(serving.start())
    await eventually(lambda: serving._offer is not None)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    proxy._answers.set()
    await worker.observe.emit("settled")  # whatever was asked before has been heard
    task = await desk.handoff.dispatch("t")
    assert (await desk.handoff.get(task.id)).state == "waiting"


async def _waits(desk: Any, task: str) -> bool:
    return bool((await desk.handoff.get(task)).state == "waiting")


async def test_what_can_not_be_begun_any_more_is_handed_back(join: Any) -> None:
    desk, begun = await join("desk"), []

    async def never(task: HandedTask) -> None:
        begun.append(task)

    on_a_loop_that_ended = (await join("one")).handoff.serve(never)
    await asyncio.to_thread(asyncio.run, on_a_loop_that_ended.start())
    on_threads_that_ended = (await join("two")).handoff.serve(lambda task: begun.append(task))
    await on_threads_that_ended.start()
    on_threads_that_ended._pool.shutdown()  # type: ignore[union-attr]
    tasks = [await desk.handoff.dispatch("t") for _ in range(2)]
    await eventually(lambda: on_a_loop_that_ended._offer.closing)  # type: ignore[union-attr]
    await on_threads_that_ended.close(0.0)
    for task in tasks:
        await eventually(lambda id=task.id: _waits(desk, id))
    assert (on_a_loop_that_ended.running, on_threads_that_ended.running, begun) == (0, 0, [])


async def test_what_a_handler_writes_names_the_task_as_its_parent(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")

    async def handler(task: HandedTask) -> int:
        return int(await worker.observe.emit("note.made"))

    async with worker.handoff.serve(handler):
        task = await desk.handoff.dispatch("t")
        seq = await task.result(10)
    events = (await desk.link.acall("log.read"))["events"]
    dispatched = next(event["seq"] for event in events if event["type"] == "task.dispatched")
    assert next(event for event in events if event["seq"] == seq)["parent"] == dispatched


async def test_a_message_that_is_not_stored_names_the_task_as_its_parent_too(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker")
    messages = desk.subscribe("notes")
    await desk.observe.emit("settled")

    async def handler(task: HandedTask) -> None:
        await worker.publish("notes", 0, qos=0)
        await worker.publish("notes", 1)

    async with worker.handoff.serve(handler):
        await (await desk.handoff.dispatch("t")).result(10)
    said, stored = [await anext(messages) for _ in range(2)]
    dispatched = next(event["seq"] for event in (await desk.link.acall("log.read"))["events"] if event["type"] == "task.dispatched")
    assert said.parent == stored.parent == dispatched
    assert (said.seq, said.after, stored.after) == (0, stored.seq - 1, stored.seq - 1)
    assert (len(said.id), stored.id) == (32, None)
    messages.close()


async def test_leaving_serve_drains_and_what_does_not_end_is_handed_back(join: Any) -> None:
    room, other = await join("worker", max_concurrency=2), await join("other")
    began = asyncio.Semaphore(0)

    async def handler(task: HandedTask) -> str:
        began.release()
        await asyncio.sleep(task.payload)
        return "first"

    async def second(task: HandedTask) -> str:
        return f"second {task.attempt}"

    async with room.handoff.serve(handler, drain=0.3):
        short, long = await room.handoff.dispatch("t", 0.02), await room.handoff.dispatch("t", 60)
        await began.acquire()
        await began.acquire()
    assert await short.result(10) == "first"
    async with other.handoff.serve(second):
        assert await long.result(10) == "second 2"  # another hand-out, and not held against the task
    assert (await room.presence.list())[0].load == 0


async def test_grants_are_asked_for_when_serving_and_dispatching(join: Any) -> None:
    reader = await join("reader", grants=[{"room": "demo", "verbs": ["subscribe"]}])

    async def handler(task: HandedTask) -> None: ...

    with pytest.raises(NotAuthorized):
        await reader.handoff.dispatch("t")
    with pytest.raises(NotAuthorized):
        async with reader.handoff.serve(handler):
            pass


async def test_the_broker_calls_bad_arguments_by_name(join: Any) -> None:
    room = await join("desk")
    for bad in ({"delay": -1.0}, {"max_attempts": 0}, {"timeout": -5.0}):
        with pytest.raises(Exception, match=next(iter(bad))) as caught:
            await room.handoff.dispatch("t", **bad)
        assert caught.value.code == "bad_request"  # type: ignore[attr-defined]


async def test_a_worker_that_lost_its_task_writes_nothing_more_in_the_room(join: Any) -> None:
    """What it is told to stop for, its handler goes on with. Whoever has the task then writes as he likes."""
    desk, worker = await join("desk"), await join("worker", max_concurrency=2)
    store, refused = NoLagStore(worker), []
    tokens: list[int] = []
    other, schedule = await desk.handoff.dispatch("other"), await worker.handoff.schedule("0 0 1 1 *", "rare")
    question, mine = await desk.approve.request("pay"), await worker.approve.request("pay")
    lost, done = asyncio.Event(), asyncio.Event()

    async def handler(task: HandedTask) -> str:
        token = task.fencing_token
        tokens.append(token)
        if token == tokens[0]:
            worker.link.request("task.release", task=task.id, token=token)  # behind the back of what serves: it is handed out again
            while not lost.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await lost.wait()
        for write in (
            lambda: worker.blackboard.set("k", token),
            lambda: worker.blackboard.delete("absent"),
            lambda: worker.observe.emit("note", token),
            lambda: worker.publish("notes", token),
            lambda: worker.inbox.send("desk", token),
            lambda: worker.handoff.dispatch("more", token),
            lambda: worker.approve.request("pay", {"token": token}),
            lambda: store.aput(("notes",), "k", {"token": token}),
            lambda: worker.open_stream(topic="notes"),
            lambda: worker.handoff.schedule("0 0 1 1 *", "yearly"),
            lambda: schedule.pause(),
            lambda: schedule.resume(),
            lambda: schedule.delete(),
            lambda: worker.handoff.cancel(other.id),
            lambda: worker.handoff.retry(other.id),
            lambda: worker.handoff.purge_dead_letters(),
            lambda: worker.approve.delegate(question.id, "ana"),
            lambda: worker.approve.decide(question.id, "approve"),
            lambda: mine.withdraw(),
            lambda: worker.delete_cursor("c"),
            lambda: worker.delete_group("notes", "g"),
        ):
            try:
                await write()
            except StaleLease:
                refused.append(token)
            except NoLagError:
                pass  # there is nothing to retry, and the like
        (done if token == tokens[0] else lost).set()
        return "done"

    async with worker.handoff.serve(handler, types=["write"]):
        task = await desk.handoff.dispatch("write", None)
        assert await task.result(timeout=20) == "done"
        await asyncio.wait_for(done.wait(), 20)
    assert refused == [tokens[0]] * 21
    assert (await desk.blackboard.get("k")).value == tokens[1]


async def test_what_a_handler_still_has_to_say_when_its_task_has_ended_it_may(join: Any) -> None:
    desk, worker = await join("desk"), await join("worker", max_concurrency=2)
    later: list[asyncio.Task[Any]] = []
    go_on = asyncio.Event()

    async def afterwards() -> None:
        await go_on.wait()
        await worker.blackboard.set("returned", True)

    async def handler(task: HandedTask) -> None:
        if task.payload == "return":
            later.append(asyncio.create_task(afterwards()))
            return
        try:
            await worker.blackboard.set("began", True)  # who sees it may cancel before this returns
            await asyncio.sleep(60)
        finally:
            await worker.blackboard.set("cancelled", True)

    async with worker.handoff.serve(handler, types=["tidy"]):
        await (await desk.handoff.dispatch("tidy", "return")).result(timeout=10)
        go_on.set()
        await later[0]
        task = await desk.handoff.dispatch("tidy", "wait")
        async for _ in desk.blackboard.watch("began"):
            break
        await task.cancel()
        async for _ in desk.blackboard.watch("cancelled"):
            break
    assert (await desk.blackboard.get("returned")).value is True


@pytest.mark.parametrize("broker", ["memory"], indirect=True)
async def test_all_tasks_are_listed(join: Any) -> None:
    """More than one answer takes."""
    room = await join("ana")
    batch = await room.handoff.batch({"type": "t", "payload": n} for n in range(1200))
    assert {info.id for info in await room.handoff.list()} == {task.id for task in batch.tasks}
    assert len(await room.handoff.list(limit=1100)) == 1100
