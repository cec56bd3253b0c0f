from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from langgraph_nolag.client.io import AT_ONCE, Courier, IoThread, hand_back, io_thread
from langgraph_nolag.client.latch import Latch
from langgraph_nolag.errors import Disconnected, WrongThread


def on_io_thread(call: Callable[[], Any]) -> Any:
    async def run() -> Any:
        return call()

    return io_thread().run(run())


def test_there_is_one_thread_and_it_is_a_daemon() -> None:
    assert io_thread() is io_thread()
    assert on_io_thread(lambda: threading.current_thread().daemon)
    assert on_io_thread(lambda: io_thread().is_current)
    assert not io_thread().is_current


def test_blocking_on_the_io_thread_raises_instead_of_waiting_for_itself() -> None:
    async def nothing() -> None: ...

    with pytest.raises(WrongThread, match="async form"):
        on_io_thread(lambda: io_thread().run(nothing()))


def test_calls_posted_from_many_threads_arrive_in_each_threads_order() -> None:
    thread, seen = io_thread(), []
    done = threading.Event()

    def produce(name: int) -> None:
        for n in range(500):
            thread.post(seen.append, (name, n))

    producers = [threading.Thread(target=produce, args=(name,)) for name in range(4)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    thread.post(done.set)
    assert done.wait(10)
    assert len(seen) == 2000
    for name in range(4):
        assert [n for who, n in seen if who == name] == list(range(500))


async def test_a_courier_wakes_its_loop_once_for_many_calls() -> None:
    loop = asyncio.get_running_loop()
    wakes = 0
    original = loop.call_soon_threadsafe

    def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return original(*args, **kwargs)

    loop.call_soon_threadsafe = counting  # type: ignore[method-assign]
    courier, seen = Courier(loop), []
    for n in range(100):
        courier.post(seen.append, n)
    for done in range(AT_ONCE, 100, AT_ONCE):  # the loop looks around in between
        await asyncio.sleep(0)
        assert seen == list(range(done))
    await asyncio.sleep(0)
    assert seen == list(range(100))
    assert wakes == 1
    courier.post(seen.append, 100)
    await asyncio.sleep(0)
    assert (seen[-1], wakes) == (100, 2)


async def test_whoever_is_interrupted_while_posting_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    loop, seen = asyncio.get_running_loop(), list[int]()
    courier = Courier(loop)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            courier.post(seen.append, 1)
    courier.post(seen.append, 2)
    await asyncio.sleep(0)
    assert seen == [1, 2]


async def test_a_call_that_fails_does_not_stop_those_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    courier, seen = Courier(asyncio.get_running_loop()), []
    courier.post(lambda: 1 / 0)
    courier.post(seen.append, "after")
    await asyncio.sleep(0)
    assert seen == ["after"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_a_thread_of_its_own() -> None:
    parents = io_thread()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fresh = on_io_thread(lambda: "fresh" if io_thread() is not parents else "the parent's")
            try:
                parents.post(print)
            except Disconnected as error:
                fresh += " " + error.code
            os.write(writer, fresh.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"fresh disconnected"
    os.close(reader)


def test_a_stopped_thread_ends() -> None:
    thread = IoThread()
    thread.stop()
    assert not thread._thread.is_alive()
    thread.loop.close()


@pytest.mark.parametrize(("installed", "loop"), [(True, "uvloop"), (False, "asyncio")])
def test_the_thread_runs_on_uvloop_where_that_is_installed(monkeypatch: pytest.MonkeyPatch, installed: bool, loop: str) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    thread = IoThread()
    assert type(thread.loop).__module__.partition(".")[0] == loop
    thread.stop()
    thread.loop.close()


async def test_a_latch_is_awaited_by_many_and_blocked_on_by_others() -> None:
    latch: Latch[int] = Latch()
    blocked: list[int] = []
    thread = threading.Thread(target=lambda: blocked.append(latch.wait_blocking(10)))
    thread.start()
    with pytest.raises(TimeoutError):
        await latch.wait(0.001)
    waiters = [asyncio.create_task(latch.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    io_thread().post(latch.set, 7)
    io_thread().post(latch.set, 8)
    assert await asyncio.gather(*waiters) == [7, 7, 7]
    await asyncio.to_thread(thread.join)
    assert blocked == [7]
    assert await latch.wait() == latch.wait_blocking() == 7


def test_a_latch_that_is_not_set_times_out_on_a_thread_too() -> None:
    with pytest.raises(TimeoutError):
        Latch[int]().wait_blocking(0.001)


def test_what_was_posted_is_done_before_the_thread_ends() -> None:
    thread = IoThread()
    seen: list[int] = []
    for n in range(10 * AT_ONCE):
        thread.post(seen.append, n)
    thread.stop()
    assert seen == list(range(10 * AT_ONCE))
    with pytest.raises(Disconnected):
        thread.post(seen.append, 0)
    thread.loop.close()


def test_a_courier_to_a_closed_loop_says_so_every_time() -> None:
    loop = asyncio.new_event_loop()
    courier = Courier(loop)
    courier.post(print)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            courier.post(print)


def test_loops_that_are_closed_are_not_kept() -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def reached() -> None:
        loop = asyncio.get_running_loop()
        loops.append(weakref.ref(loop))
        done = loop.create_future()
        assert hand_back(loop, done.set_result, None)
        await done
        hand_back(loop, loop.create_future().set_result, None)  # comes too late

    for _ in range(5):
        asyncio.run(reached())
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1
