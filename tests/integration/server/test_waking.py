"""What rooms do by themselves: whoever is there, and wherever the clock is set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from nolag_broker.server import node, waking

if TYPE_CHECKING:
    from .conftest import Harness


class Clock:
    """The wall clock, so much ahead."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


@pytest.mark.parametrize("what", ["a schedule", "a delay"])
async def test_a_clock_that_jumps_forward_wakes_what_is_due(broker: Harness, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """As after a sleep of the machine: nothing else happens in the room."""
    clock = Clock()
    monkeypatch.setattr(node, "time", clock)
    monkeypatch.setattr(waking, "LOOK_EVERY", 0.02)
    await broker.restart()
    client = await broker.client("ana")
    worker = await broker.client("bob")
    await worker.call("room.join")
    await worker.call("task.serve", offer=1, slots=1)
    if what == "a schedule":
        await client.call("schedule.set", schedule="s", cron="0 0 1 1 *", type="t", body=b"")
    else:
        await client.call("task.dispatch", task="t1", type="t", body=b"", delay=86400)
    clock.ahead = 366 * 86400.0
    assert (await worker.push("task"))["type"] == "t"
