"""A consumer group on real processes: members and the broker are killed, and every message is dealt with."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .processes import Broker, Worker, joined, until
from .worker import IN_HAND, share

MEMBERS, MESSAGES = 3, 150


@pytest.mark.slow
async def test_a_member_and_the_broker_are_killed(tmp_path: Path) -> None:
    seen: Counter[Any] = Counter()
    acknowledged: Counter[Any] = Counter()
    repeated: list[Any] = []

    async def listen(member: Worker) -> None:
        try:
            while True:
                what, body = await member.says(timeout=60)
                if what == "seen":
                    seen[body] += 1
                    repeated.extend([body] if body in acknowledged else [])
                else:
                    acknowledged[body] += 1
        except (EOFError, OSError):  # it was killed
            return

    with Broker(tmp_path) as broker:
        async with joined(broker) as room:
            members = [Worker(broker, share) for _ in range(MEMBERS)]
            assert [await member.says() for member in members] == ["subscribed"] * MEMBERS
            listening = [asyncio.create_task(listen(member)) for member in members]

            async def publish() -> None:
                for n in range(MESSAGES):
                    await room.publish("work", n, key=f"message {n}")

            publishing = asyncio.create_task(publish())
            await until(lambda: acknowledged.total() > MESSAGES / 3, "messages are dealt with")
            members[0].kill()
            broker.kill()
            await asyncio.to_thread(broker.start)
            await publishing
            await until(lambda: len(seen) == MESSAGES, "every message is seen")
            for member in members[1:]:
                member.kill()
            await asyncio.gather(*listening)
    assert repeated == [], "what was acknowledged never comes again"
    assert sum(seen.values()) - MESSAGES <= IN_HAND, "what the member that was killed had in hand comes again, and nothing else"
