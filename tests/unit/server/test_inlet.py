from __future__ import annotations

import asyncio

import pytest

from nolag_broker.server.inlet import KEPT, Inlet


class Reading:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.inlet = Inlet(lambda: self.steps.append("pause"), lambda: self.steps.append("resume"))


async def test_the_first_message_is_waited_for_and_the_others_are_kept_until_somebody_takes_them() -> None:
    reading, taken = Reading(), list[bytes]()
    first = asyncio.ensure_future(reading.inlet.first())
    await asyncio.sleep(0)
    for message in (b"1", b"2", b"3"):
        reading.inlet.put(message)
    assert await first == b"1"
    reading.inlet.open(taken.append)
    reading.inlet.put(b"4")
    assert taken == [b"2", b"3", b"4"]


@pytest.mark.parametrize("opened", [True, False])
async def test_only_where_much_is_kept_the_connection_is_not_read(opened: bool) -> None:
    """A heartbeat, or the end of the connection, is heard all the same."""
    reading, taken = Reading(), list[bytes]()
    if opened:
        reading.inlet.open(taken.append)
        reading.inlet.hold()
        reading.steps.clear()
    for _ in range(KEPT):
        reading.inlet.put(b"x")
    assert not reading.steps
    reading.inlet.put(b"one more")
    assert reading.steps == ["pause"]
    reading.inlet.open(taken.append)
    assert len(taken) == KEPT + 1
    assert reading.steps == ["pause", "resume"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_connection_that_ends_without_a_message(waits: bool) -> None:
    reading = Reading()
    first = asyncio.ensure_future(reading.inlet.first())
    if waits:
        await asyncio.sleep(0)
    reading.inlet.end()
    assert await asyncio.wait_for(first, 5) is None


async def test_who_is_told_can_put_it_on_hold_and_messages_keep_their_order() -> None:
    reading, taken = Reading(), list[bytes]()

    def take(message: bytes) -> None:
        taken.append(message)
        if message in (b"1", b"3"):
            reading.inlet.hold()

    reading.inlet.open(take)
    for message in (b"1", b"2", b"3", b"4"):
        reading.inlet.put(message)
    assert taken == [b"1"]
    reading.steps.clear()
    reading.inlet.go_on()
    assert (taken, reading.inlet.empty) == ([b"1", b"2", b"3"], False)
    assert "resume" not in reading.steps
    reading.inlet.go_on()
    reading.inlet.put(b"5")
    assert (taken, reading.inlet.empty) == ([b"1", b"2", b"3", b"4", b"5"], True)
    assert reading.steps[-1] == "resume"
