"""Who asks whether anything has changed, and nothing has, waits for nobody's commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Harness


async def test_what_still_stands_is_said_beside_a_commit(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = await broker.member(), await broker.member("bob")
    written = await client.call("record.write", puts=[["checkpoint/mine/1", b"1", False]])
    asked: dict[str, Any] = {"prefix": "checkpoint/mine/", "since": written["at"], "epoch": (await client.call("room.info"))["epoch"]}
    engine, held, go_on = broker.broker._engine, asyncio.Event(), asyncio.Event()
    commit = engine.commit

    async def slow(turns: Any) -> Any:
        held.set()
        await go_on.wait()
        return await commit(turns)

    monkeypatch.setattr(engine, "commit", slow)
    frame, stored = other.request("record.write", puts=[["checkpoint/other/1", b"1", False]])
    await other.send(frame)
    async with asyncio.timeout(15):
        await held.wait()
        frame, answer = client.request("record.scan", **asked)
        await client.send(frame)
        said = await answer
        assert said["ok"] == {"items": [], "end": True, "same": True, "last": written["at"]}
        assert said["seq"] == written["at"], "it speaks of nothing that is not stored"
        assert not stored.done()

        frame, mine = client.request("record.write", puts=[["checkpoint/mine/2", b"2", False]])
        await client.send(frame)
        frame, answer = client.request("record.scan", **asked)
        await client.send(frame)
        await client.call("ping", None)
        assert not mine.done()
        assert not answer.done(), "what was asked before has changed it"
        go_on.set()
        assert [key for key, _ in (await answer)["ok"]["items"]] == ["checkpoint/mine/1", "checkpoint/mine/2"]
        assert mine.done()
