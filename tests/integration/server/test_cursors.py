"""What a subscription is told about its cursor is stored, whatever is being stored while it is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from nolag_broker.engine.base import StorageFailed

if TYPE_CHECKING:
    from .conftest import Harness

WAIT: Final = 15.0


class Gate:
    """Commits wait here, one by one, until they are let through, or fail."""

    def __init__(self, broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = broker.broker._engine
        self._commit = engine.commit
        self._come: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        monkeypatch.setattr(engine, "commit", self._held)

    async def next(self) -> asyncio.Future[None]:
        """The next commit is here; a result lets it through."""
        return await asyncio.wait_for(self._come.get(), WAIT)

    async def _held(self, turns: Any) -> Any:
        go_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._come.put_nowait(go_on)
        await go_on
        return await self._commit(turns)


async def test_a_cursor_that_is_to_begin_beyond_the_log_begins_at_its_end(broker: Harness) -> None:
    """It only moves forward: from a place that never was it would not come back."""
    client = await broker.member()
    end = (await client.call("event.emit", type="a.b"))["seq"]
    assert (await client.call("log.subscribe", sub=1, cursor="mine", since=10**12))["since"] == end
    await client.call("log.unsubscribe", sub=1)
    seen, last = [(await client.call("event.emit", type="a.b"))["seq"] for _ in range(2)]
    assert await client.call("cursor.move", cursor="mine", seq=seen) == {"position": seen}
    assert (await client.call("log.subscribe", sub=2, cursor="mine"))["since"] == seen
    await client.until(lambda: [event["seq"] for event in client.events(2)] == [last])
    assert not [push for push in client.pushes if push["push"] == "gap"]


async def test_a_new_cursor_is_confirmed_when_its_row_is_stored(broker: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event tells of the row: that everything before it is stored does not say that it is."""
    client = await broker.member()
    gate = Gate(broker, monkeypatch)
    emit, emitted = client.request("event.emit", type="a.b")
    await client.send(emit)
    first = await gate.next()
    subscribe, subscribed = client.request("log.subscribe", sub=1, cursor="mine")
    await client.send(subscribe)
    await client.call("ping", None)  # by now it has been decided
    first.set_result(None)
    await asyncio.wait_for(emitted, WAIT)
    second = await gate.next()
    await client.call("ping", None)
    assert not subscribed.done()
    second.set_result(None)
    seq = emitted.result()["ok"]["seq"]
    assert (await asyncio.wait_for(subscribed, WAIT))["ok"]["since"] == seq
    image = await broker.broker._engine.load("r")
    assert image is not None
    assert "cursor/mine" in image.heads


async def test_a_subscription_that_was_ended_before_its_turn_is_answered_with_what_is_stored(
    broker: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await broker.member()
    gate = Gate(broker, monkeypatch)
    asked = [client.request("event.emit", type="a.b"), client.request("log.subscribe", sub=1), client.request("log.unsubscribe", sub=1)]
    await client.send([frame for frame, _ in asked])
    commit = await gate.next()
    await client.call("ping", None)
    emitted, subscribed, ended = (answer for _, answer in asked)
    assert (emitted.done(), subscribed.done(), ended.done()) == (False, False, True)
    commit.set_result(None)
    first, second = await asyncio.wait_for(asyncio.gather(emitted, subscribed), WAIT)
    assert second["ok"] == {"since": first["seq"], "epoch": first["epoch"]}
    assert (second["seq"], second["epoch"]) == (first["seq"], first["epoch"])


@pytest.mark.parametrize("asked", [{"op": "log.subscribe", "sub": 1, "cursor": "mine"}, {"op": "log.read"}])
async def test_who_waits_for_the_log_hears_that_storage_failed(
    asked: dict[str, Any], broker: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await broker.member()
    gate = Gate(broker, monkeypatch)
    emit, _ = client.request("event.emit", type="a.b")
    await client.send(emit)
    commit = await gate.next()
    frame, answer = client.request(**asked)
    await client.send(frame)
    await client.call("ping", None)
    commit.set_exception(StorageFailed("disk on fire"))
    assert (await asyncio.wait_for(answer, WAIT))["err"]["code"] == "storage_failed"
