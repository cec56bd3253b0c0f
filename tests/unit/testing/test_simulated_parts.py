"""What a simulation stands on: a clock that skips, a disk that forgets, connections that break."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from langgraph_nolag.testing.simulation.clock import Stuck, run
from langgraph_nolag.testing.simulation.disk import Disk
from langgraph_nolag.testing.simulation.network import Link, Network
from nolag_broker.core.event import Event
from nolag_broker.core.turn import Turn


def test_waiting_is_skipped() -> None:
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def main() -> float:
        async with asyncio.timeout(4 * 86400), asyncio.TaskGroup() as group:
            group.create_task(wait("three days", 3 * 86400))
            group.create_task(wait("a day", 86400))
        return asyncio.get_running_loop().time()

    begin = time.monotonic()
    assert run(main()) == pytest.approx(3 * 86400)
    assert order == ["a day", "three days"]
    assert time.monotonic() - begin < 3600


def test_a_timeout_comes_at_its_moment() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.get_running_loop().create_future()
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(60)


def test_waiting_for_nothing_is_said() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run(main())


def test_what_is_left_at_the_end_is_cancelled() -> None:
    ended: list[str] = []

    async def rest() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("rest")

    async def main() -> None:
        asyncio.get_running_loop().create_task(rest())
        await asyncio.sleep(1)

    run(main())
    assert ended == ["rest"]


def turn(after: int, body: bytes) -> tuple[str, Turn]:
    return "room", Turn(after, [Event(after + 1, "note", 0.0, "a", {}, None, body)], {"head": body})


async def test_a_disk_loses_what_was_not_synced() -> None:
    stored: list[int] = []
    disk = Disk(lambda room, turn: stored.extend(event.seq for event in turn.events))
    for store in (disk.written, disk.synced):
        await store.create("room", "epoch")
    assert disk.write([turn(0, b"one")]) == [None]
    disk.sync()
    disk.write([turn(1, b"two")])
    assert await disk.written.rooms() == {"room": 2}
    assert disk.crash() == 1
    image = await disk.written.load("room")
    assert image is not None
    assert (image.sequence, image.heads, stored) == (1, {"head": b"one"}, [1])
    assert disk.write([turn(5, b"six")]) != [None], "a turn that does not follow is refused"


class Client:
    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.broken = 0

    def received(self, link: Link, message: bytes) -> None:
        self.got.append(message)

    def broke(self, link: Link) -> None:
        self.broken += 1


def test_a_connection_keeps_its_order_and_loses_what_is_under_way_when_it_breaks() -> None:
    async def main() -> tuple[list[bytes], list[bytes], Client]:
        client = Client()
        link = Link(Network(Random(1)), client)
        sent = [bytes([number]) for number in range(50)]
        for message in sent:
            link.to_client(message)
        await asyncio.sleep(10)
        before = list(client.got)
        link.to_client(b"lost")
        link.reset()
        await asyncio.sleep(10)
        return sent, before, client

    sent, before, client = run(main())
    assert before == sent
    assert client.got == sent
    assert client.broken == 1
