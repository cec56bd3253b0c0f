from __future__ import annotations

import asyncio
import threading

import pytest

from langgraph_nolag.client.feed import Feed
from langgraph_nolag.client.io import io_thread
from langgraph_nolag.errors import Disconnected


def feed_of(limit: int = 100) -> tuple[Feed[int], list[str]]:
    said: list[str] = []
    return Feed(limit, lambda: said.append("full"), lambda: said.append("room")), said


async def test_items_come_in_order_across_threads() -> None:
    feed, _ = feed_of(10**9)

    def fill() -> None:
        for n in range(1000):
            feed.put(n, 1)
        feed.end()

    io_thread().post(fill)
    seen = []
    with pytest.raises(StopAsyncIteration):
        while True:
            seen.append(await feed.get())
    assert seen == list(range(1000))


async def test_it_says_when_it_is_full_and_when_half_is_read() -> None:
    feed, said = feed_of(100)
    for n in range(3):
        feed.put(n, 40)
    assert said == ["full"]
    await feed.get()
    assert said == ["full"]
    await feed.get()
    assert said == ["full", "room"]
    assert await feed.get() == 2


async def test_an_error_comes_after_what_is_queued_and_stays() -> None:
    feed, _ = feed_of()
    feed.put(1, 1)
    feed.end(Disconnected("gone"))
    feed.end()
    assert await feed.get() == 1
    for _ in range(2):
        with pytest.raises(Disconnected):
            await feed.get()


async def test_a_second_consumer_is_told_so() -> None:
    feed, _ = feed_of()
    first = asyncio.create_task(feed.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one consumer"):
        await feed.get()
    io_thread().post(feed.put, 5, 1)
    assert await first == 5


async def test_a_cancelled_consumer_loses_nothing() -> None:
    feed, _ = feed_of()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(feed.get(), 0.001)
    feed.put(1, 1)
    assert await feed.get() == 1


def test_a_consumer_that_always_catches_up_never_waits_on_a_paused_feed() -> None:
    """The flag and the reading race: whoever loses, the feed is taken up again."""
    paused = threading.Event()
    feed: Feed[int] = Feed(10, paused.set, paused.clear)
    total = 20_000

    def fill() -> None:
        for n in range(total):
            feed.put(n, 6)
        feed.end()

    async def read() -> int:
        count = 0
        try:
            while True:
                await feed.get()
                count += 1
        except StopAsyncIteration:
            return count

    producer = threading.Thread(target=fill)
    producer.start()
    assert asyncio.run(read()) == total
    producer.join()
    assert not paused.is_set()
