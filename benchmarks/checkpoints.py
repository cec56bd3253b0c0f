"""A checkpoint stored and read back, by LangGraph's checkpointers in turn: what a superstep of a thread costs in storage."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from .machine import fdatasync_ms
from .round_trip import Figure
from .savers import SAVERS


@dataclass(frozen=True, slots=True)
class Load:
    title: str
    size: int  # bytes of the one channel that is new in every checkpoint
    threads: int  # of LangGraph, each one checkpoint after the other
    apart: bool = False  # read back by a saver that stored nothing, as another process's is


LOADS = {
    "one": Load("5 KB, one thread", 5 << 10, 1),
    "many": Load("5 KB, 20 threads", 5 << 10, 20),
    "apart": Load("5 KB, 20 threads, read by another saver", 5 << 10, 20, apart=True),
    "large": Load("100 KB, 20 threads", 100 << 10, 20),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One run of one load: checkpoints stored and read back a second, and how long one took, in ms."""

    rate: float
    p50: float
    p99: float


Found = dict[tuple[str, str], list[Stored]]
"""By contender and load, one a round."""


def measure(keys: list[str], rounds: int, seconds: float, folder: Path, say: Callable[[str], None]) -> tuple[Found, Figure]:
    """Returns what was found, and the cost of one fdatasync in ms as it was before every contender's turn."""
    found: Found = {}
    syncs: list[float] = []
    for number in range(rounds):
        for key in keys:
            place = folder / f"{key}-{number}"
            place.mkdir(parents=True)
            syncs.append(fdatasync_ms(place))
            with SAVERS[key].server(place) as address:
                for load, stored in asyncio.run(_turn(key, address, seconds)):
                    found.setdefault((key, load), []).append(stored)
                    title = f"round {number + 1}: {SAVERS[key].name}, {LOADS[load].title}"
                    say(f"{title}: {stored.rate:,.0f}/s, p50 {stored.p50:.2f} ms")
            shutil.rmtree(place)
    return found, Figure.of(syncs)


async def _turn(key: str, address: str, seconds: float) -> list[tuple[str, Stored]]:
    async with SAVERS[key].saver(address) as saver, SAVERS[key].saver(address) as other:
        return [(name, await _load(saver, other if load.apart else saver, load, seconds)) for name, load in LOADS.items()]


async def _load(saver: BaseCheckpointSaver[Any], reader: BaseCheckpointSaver[Any], load: Load, seconds: float) -> Stored:
    await _threads(saver, reader, load, seconds / 5)  # warms up
    start = time.perf_counter()
    taken = sorted(await _threads(saver, reader, load, seconds))
    return Stored(len(taken) / (time.perf_counter() - start), statistics.median(taken) * 1000, taken[int(len(taken) * 0.99)] * 1000)


async def _threads(saver: BaseCheckpointSaver[Any], reader: BaseCheckpointSaver[Any], load: Load, seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    each = await asyncio.gather(*(_thread(saver, reader, load.size, until) for _ in range(load.threads)))
    return [taken for thread in each for taken in thread]


async def _thread(saver: BaseCheckpointSaver[Any], reader: BaseCheckpointSaver[Any], size: int, until: float) -> list[float]:
    """One checkpoint after the other of a thread; seconds of each."""
    named: Any = {"configurable": {"thread_id": uuid.uuid4().hex, "checkpoint_ns": ""}}
    text = base64.b64encode(os.urandom(size)).decode()[:size]  # nothing that could be compressed
    version, config, taken = None, named, []
    for step in range(1_000_000):
        if (start := time.perf_counter()) >= until:
            break
        value = f"{step:08}{text[8:]}"
        version = saver.get_next_version(version, None)
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"state": value}
        checkpoint["channel_versions"] = {"state": version}
        config = await saver.aput(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, {"state": version})
        read = await reader.aget_tuple(named)
        taken.append(time.perf_counter() - start)
        if read is None or read.checkpoint["channel_values"] != {"state": value}:
            raise AssertionError("what was read is not what was stored")
    return taken
