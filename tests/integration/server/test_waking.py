"""What rooms do by themselves: whoever is there, and wherever the clock is set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from nolag_broker.server import node, waking

if TYPE_CHECKING:
    from .conftest import Harness, Start


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


async def test_what_came_due_while_the_broker_was_away_comes_before_what_is_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each room is opened by the first that is asked of it."""
    clock = Clock()
    monkeypatch.setattr(node, "time", clock)
    broker = await start(engine="sqlite")
    ana = await broker.member("ana", "running")
    await ana.call("approval.request", "votes", approval="a", action="pay", body=b"", allow=["approve", "reject"], expires=60)
    await ana.call("task.dispatch", "waiting", task="t", type="t", body=b"", timeout=60)
    begun = await ana.call("task.begin", "running", task="t", type="t", body=b"", concurrency_key="k", timeout=60)
    clock.ahead = 61.0
    await broker.restart()
    bob, again = await broker.client("bob"), await broker.client("ana", instance=ana.instance)
    err = await bob.refused("approval.decide", "votes", approval="a", type="approve")
    assert (err["code"], err["detail"]["decision"]["reason"], err["detail"]["decision"]["approved"]) == (
        "already_decided",
        "expired",
        False,
    )
    await bob.send([bob.request(op, "waiting", **more)[0] for op, more in (("room.join", {}), ("task.serve", {"offer": 1, "slots": 1}))])
    assert (await bob.call("task.get", "waiting", task="t"))["task"]["state"] == "timed_out"
    assert [push for push in bob.pushes if push["push"] == "task"] == []
    err = await again.refused("task.complete", "running", task="t", token=begun["token"], body=b"late")
    assert (err["code"], err["detail"]) == ("task_finished", {"state": "timed_out"})
