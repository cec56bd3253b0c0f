"""Row 12: readers that come back after the log was trimmed, or with another epoch."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langgraph_nolag.client.stream import Stream
from langgraph_nolag.client.subscription import Gap

from .processes import Broker, joined
from .trial import Row, Trial

PROGRAM = (sys.executable, str(Path(__file__).with_name("configured_broker.py")))
KEPT = 200  # events
KILL_EVERY = 100  # resumes


async def resumes(trial: Trial) -> None:
    with Broker(trial.folder, program=PROGRAM, environment={"CHAOS_SETTINGS": json.dumps({"trim_every": 0.05})}) as broker:
        async with joined(broker) as room:
            last = 0
            await room.link.acall("room.configure", retention={"count": KEPT})
            while trial.done["resumes"] < trial.aim["resumes"]:
                if trial.done["resumes"] % KILL_EVERY == KILL_EVERY - 1:
                    broker.kill()
                    trial.recovered(await asyncio.to_thread(broker.start), 2.0, "a start after a kill")
                    trial.done["kills"] += 1
                last = max(await asyncio.gather(*(room.observe.emit("load.event", number) for number in range(20))))
                same = trial.chance.random() < 0.8
                since = trial.chance.randrange(1, last)
                async with asyncio.timeout(30):
                    wrong = await _resumed(trial, room.observe.stream(since=since, epoch=None if same else "another"), since, same, last)
                trial.violations += wrong
                trial.done["resumes"] += 1


async def _resumed(trial: Trial, stream: Stream[Any], since: int, same: bool, last: int) -> list[str]:
    """What is wrong with what comes after a sequence: every one of them is an event, or within a gap that is said."""
    at = since if same else 0
    async with stream:
        async for item in stream:
            first, end = (item.from_seq, item.to_seq) if isinstance(item, Gap) else (item.seq, item.seq)
            trial.done["gaps"] += isinstance(item, Gap)
            if not same and at == 0 and not isinstance(item, Gap):
                return [f"resumed after {since} of another epoch: {first} came, and no gap was said"]
            if first > at + 1:
                return [f"resumed after {since}: {first} follows {at}, and no gap was said"]
            if not isinstance(item, Gap) and first <= at:
                return [f"resumed after {since}: {first} came again after {at}"]
            at = max(at, end)
            if at >= last:
                break
    return []


ROWS = [
    Row(
        12,
        "resume from before the trimmed log's beginning, or under another epoch",
        "what is gone is a `gap`, the rest comes without hole or repeat",
        resumes,
        full={"resumes": 1_000},
        short=None,
        least={"resumes": 1, "gaps": 1},
    )
]
