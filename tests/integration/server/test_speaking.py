from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Start

READS: dict[str, dict[str, Any]] = {"record.read": {"keys": ["checkpoint/t/1"]}, "record.scan": {"prefix": "checkpoint/t/", "limit": 10}}


def holds(answer: dict[str, Any]) -> bytes:
    """The value of the one record that was asked for."""
    [value] = answer["bodies"] if "bodies" in answer else [value for _, value in answer["items"]]
    return bytes(value)


@pytest.mark.parametrize("read", READS)
async def test_what_is_read_behind_a_write_holds_it_although_another_reads_the_same(start: Start, read: str) -> None:
    broker = await start(engine="memory")
    writer, other = await broker.member(), await broker.member("bob")
    engine, reading, go_on = broker.broker._engine, asyncio.Event(), asyncio.Event()

    def slowly(method: Any) -> Any:
        async def read(*args: Any) -> Any:
            found = await method(*args)
            if not reading.is_set():
                reading.set()
                await go_on.wait()
            return found

        return read

    def not_at_once(room: str, wanted: Sequence[Any], *limit: int) -> None:
        return None

    engine.records, engine.scan = slowly(engine.records), slowly(engine.scan)
    engine.records_at_once = engine.scan_at_once = not_at_once
    await writer.call("record.write", puts=[["checkpoint/t/1", b"old", False]])
    before = asyncio.create_task(other.call(read, **READS[read]))
    await reading.wait()
    frames, answers = zip(
        writer.request("record.write", puts=[["checkpoint/t/1", b"new", False]]), writer.request(read, **READS[read]), strict=True
    )
    await writer.send(list(frames))
    while len(broker.broker._context.node._rooms["r"].unsaid) < 2:
        await asyncio.sleep(0.001)
    go_on.set()
    assert holds(await before) == b"old"
    assert holds((await answers[1])["ok"]) == b"new"
