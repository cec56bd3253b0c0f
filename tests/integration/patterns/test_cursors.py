"""Durable cursors: a subscription goes on after what was acknowledged, over restarts of both sides, as that of a group does."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import BadRequest, LocalBroker, connect

from .conftest import Restarting, enter


async def bodies(stream: Any, n: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [(await anext(stream)).body for _ in range(n)]


async def test_after_the_last_acknowledged(join: Any) -> None:
    room, writer = await join("reader"), await join("writer")
    stream = room.subscribe("notes/*", cursor="mine")
    await room.observe.emit("settled")  # after the subscription, on its connection: it has begun
    for n in range(5):
        await writer.publish("notes/a", n)
    for n in range(3):
        async with asyncio.timeout(10):
            message = await anext(stream)
        assert message.body == n
        if n == 1:
            await message.ack()
    stream.close()
    await writer.publish("notes/a", 5)
    again = (await join("reader2")).subscribe("notes/*", cursor="mine")
    assert await bodies(again, 4) == [2, 3, 4, 5]
    other = room.subscribe("notes/*", cursor="other", since=0)
    assert await bodies(other, 6) == [0, 1, 2, 3, 4, 5], "another name begins where it says, the first time"


async def test_what_came_before_the_first_acknowledgement_is_not_lost(join: Any) -> None:
    room = await join("reader")
    stream = room.subscribe("notes/*", cursor="mine")
    await room.publish("notes/a", "seen, not acknowledged")
    await bodies(stream, 1)
    stream.close()
    assert await bodies(room.subscribe("notes/*", cursor="mine"), 1) == ["seen, not acknowledged"]


@pytest.mark.parametrize("kept", [{"cursor": "mine"}, {"group": "readers"}], ids=str)
async def test_over_restarts_of_both_sides(tmp_path: Path, kept: dict[str, str]) -> None:
    seen: list[Any] = []
    for round in range(3):
        with LocalBroker(path=tmp_path, disconnect_grace=0.2) as broker:
            async with connect(broker.url, token=broker.token("reader")) as client:
                room = await client.join("demo")
                stream = room.subscribe("notes/*", since=0, **kept)
                for n in range(2):
                    await room.publish("notes/a", 2 * round + n)
                async with asyncio.timeout(10):
                    message = await anext(stream)
                seen.append(message.body)
                await message.ack()
                stream.close()
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("kept", [{"cursor": "mine"}, {"group": "readers"}], ids=str)
async def test_a_message_of_a_lost_log_acknowledges_nothing_of_the_new_one(
    forgetful: Restarting, stack: AsyncExitStack, kept: dict[str, str]
) -> None:
    client = await enter(stack, forgetful.url, lambda: forgetful.token("reader"), "reader")
    room = await client.join("demo")
    stream = room.subscribe("notes", since=0, **kept)
    for n in range(5):
        await room.publish("notes", f"lost {n}")
    async with asyncio.timeout(10):
        lost = [await anext(stream) for _ in range(5)]
    await forgetful.restart()
    again = await connect(forgetful.url, token=forgetful.token("other"))
    stack.push_async_callback(again.close)
    other = await again.join("demo")
    if "group" in kept:
        beside = other.subscribe("notes", since=0, **kept)
        await other.observe.emit("settled")
        beside.close()
    for n in range(5):
        await other.publish("notes", f"new {n}")
    for message in lost:
        await message.ack()
    stream.close()
    assert sorted(await bodies(other.subscribe("notes", since=0, **kept), 5)) == [f"new {n}" for n in range(5)]


async def test_only_what_has_a_cursor_can_be_acknowledged(join: Any) -> None:
    room = await join("reader")
    stream = room.subscribe("notes/*")
    await room.publish("notes/a", 1)
    async with asyncio.timeout(10):
        message = await anext(stream)
    with pytest.raises(BadRequest, match="cursor"):
        await message.ack()


async def test_a_cursor_that_was_deleted_begins_again(join: Any) -> None:
    room = await join("reader")
    await room.publish("notes", "first")
    for _ in range(2):
        async with room.subscribe("notes", cursor="mine", since=0) as stream, asyncio.timeout(10):
            message = await anext(stream)
            assert message.body == "first"
            await message.ack()
        await room.delete_cursor("mine")
