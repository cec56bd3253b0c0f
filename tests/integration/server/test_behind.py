"""Rows are written behind the log, but not far, whatever goes on; and what waits to be decided is bounded, however small it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from nolag_broker.server.hosted import HostedRoom

if TYPE_CHECKING:
    from .conftest import Client, Harness

WAIT: Final = 15.0


def hosted(broker: Harness) -> HostedRoom:
    (found,) = [hosted for hosted in broker.broker._context.node.rooms() if hosted.name == "r"]
    return found


def emits(client: Client, count: int, **fields: Any) -> tuple[list[dict[str, Any]], list[asyncio.Future[dict[str, Any]]]]:
    asked = [client.request("event.emit", type="a.b", **{**fields, "mid": f"m{n}"}) for n in range(count)]
    return [frame for frame, _ in asked], [answer for _, answer in asked]


@pytest.mark.sources
async def test_rows_are_written_although_records_are_always_being_read(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that were used are looked up in records; when one read is over, the next request for one is there already."""
    monkeypatch.setattr("nolag_broker.server.behind.EVENTS", 10)
    monkeypatch.setattr("nolag_broker.server.behind.EVERY", 3600.0)
    client = await broker.member()
    room, engine = hosted(broker), broker.broker._engine
    read, behind = engine.records, list[int]()
    answers: list[asyncio.Future[dict[str, Any]]] = []

    async def ask() -> None:
        frame, answer = client.request("event.emit", type="a.b", key=f"k{len(answers)}")
        answers.append(answer)
        await client.send(frame)

    async def slow(name: str, keys: Any) -> dict[str, bytes]:
        assert room.room is not None
        behind.append(room.room.behind)
        if len(answers) < 60:
            await ask()
            async with asyncio.timeout(WAIT):
                while len(room.inbox) < 2:  # the one this is read for, and the next
                    await asyncio.sleep(0)
        return await read(name, keys)

    monkeypatch.setattr(engine, "records", slow)
    await ask()
    async with asyncio.timeout(WAIT):
        while len(answers) < 60 or not all(answer.done() for answer in answers):
            await asyncio.sleep(0)
    assert all("ok" in answer.result() for answer in answers)
    assert len(behind) == 60
    assert max(behind) < 20


@pytest.mark.sources
async def test_many_small_requests_wait_outside_too(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request takes is more than its bytes."""
    monkeypatch.setattr("nolag_broker.server.pressure.MAX_WAITING", 64 << 10)
    client = await broker.member()
    node, engine = broker.broker._context.node, broker.broker._engine
    commit, go_on, held = engine.commit, asyncio.Event(), asyncio.Event()

    async def slow(turns: Any) -> Any:
        held.set()
        await go_on.wait()
        return await commit(turns)

    monkeypatch.setattr(engine, "commit", slow)
    frames, answers = emits(client, 1001)
    await client.send(frames[0])
    async with asyncio.timeout(WAIT):
        await held.wait()
        for frame in frames[1:]:
            await client.send(frame)
        while not node.overloaded:
            await asyncio.sleep(0)
        room = hosted(broker).room
        assert room is not None
        assert room.seq < 500  # the others are not read
        go_on.set()
        found = [answer["ok"]["seq"] for answer in await asyncio.gather(*answers)]
    assert found == list(range(found[0], found[0] + 1001))
