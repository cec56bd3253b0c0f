"""`events --since`: a sequence, a moment, or so long ago; and the SDK's streams from a time."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from langgraph_nolag import BadRequest

if TYPE_CHECKING:
    from .conftest import Cli


def seqs(cli: Cli, room: str, since: str) -> list[int]:
    answer = cli("events", "--room", room, "--since", since, "--json")
    assert answer.status == 0, answer.err
    return [json.loads(line)["seq"] for line in answer.out.splitlines()]


def test_a_moment_or_so_long_ago(cli: Cli) -> None:
    async def work(room: Any) -> float:
        stream = room.observe.stream("a.*")
        await room.observe.emit("a.first")
        async with asyncio.timeout(10):
            event = await anext(stream)
        while datetime.now(UTC).timestamp() <= event.time + 0.005:
            await asyncio.sleep(0)
        await room.observe.emit("a.second")
        async with asyncio.timeout(10):
            return float((await anext(stream)).time)

    second = cli.agent(work, "since")
    everything = seqs(cli, "since", "0")
    for span in ("500s", "10m", "2.5h", "7d"):
        assert seqs(cli, "since", span) == everything
    zoned = datetime.fromtimestamp(second - 0.002, UTC).isoformat()
    local = datetime.fromtimestamp(second - 0.002).isoformat()
    assert seqs(cli, "since", zoned) == seqs(cli, "since", local)
    assert seqs(cli, "since", zoned) == everything[3:], "opened, joined, first: not those"
    assert seqs(cli, "since", "2099-01-01") == []


@pytest.mark.parametrize("wrong", ["yesterday", "10", "10 m", "-5m", "-1", "2026-13-01"])
def test_what_is_no_place_in_the_log(cli: Cli, wrong: str) -> None:
    answer = cli("events", "--room", "since", "--since", wrong)
    assert answer.status == (0 if wrong == "10" else 2)


def test_streams_from_a_time(cli: Cli) -> None:
    async def work(room: Any) -> None:
        await room.observe.emit("a.first", 1)
        await room.publish("notes/today", 2)
        for when in (1.0, datetime(2001, 1, 1, tzinfo=UTC)):
            async with asyncio.timeout(10):
                assert (await anext(room.observe.stream("a.*", since_time=when))).body == 1
                assert (await anext(room.subscribe("notes/*", since_time=when))).body == 2
        with pytest.raises(BadRequest, match="time zone"):
            room.observe.stream(since_time=datetime(2001, 1, 1))

    cli.agent(work, "streams")
