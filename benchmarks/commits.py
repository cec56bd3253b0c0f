"""How long a commit takes beside other work on the same database: a replay, a trim, records that are swept. The engine alone, in this
process: one commit after the other, with a breath between them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from nolag_broker.core.event import Event
from nolag_broker.core.turn import Turn
from nolag_broker.engine.sqlite import SqliteEngine

EVENTS, BODY = 32, 1024  # of a commit
HISTORY = 2_000  # commits
RECORDS = 40_000  # that are swept
HEADS = 40_000  # of a room that is loaded
HEADER = b"x" * 300  # a record
SWITCH = 0.0005  # seconds between two threads' turns at the interpreter, as in a broker's process
BREATH = 0.002  # seconds between two commits


def measure(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of every commit, by what went on beside."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        return asyncio.run(_measure(folder))
    finally:
        sys.setswitchinterval(interval)


async def _measure(folder: Path) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    async with _engine(folder) as engine:
        writer = _Writer(engine, "beside")
        await writer.begin()
        history = _Writer(engine, "history")
        await history.begin()
        for _ in range(HISTORY):
            await history.commit()
        for first in range(0, RECORDS, 1000):
            await history.commit({f"kept/1/task/{n:032x}": HEADER for n in range(first, first + 1000)})
        living = _Writer(engine, "living")
        await living.begin()
        await living.commit(heads={f"task/{n:032x}": HEADER for n in range(HEADS)})
        taken["nothing else"] = await writer.beside(asyncio.sleep(4.0))
        taken["a replay"] = await writer.beside(_replay(engine, history.seq))
        taken["the loading of a room with 40,000 tasks"] = await writer.beside(engine.load("living"))
        taken["a sweep of 40,000 records"] = await writer.beside(engine.sweep("history", "kept/1/"))
        taken["a trim"] = await writer.beside(engine.trim("history", history.seq, ()))
    return taken


@asynccontextmanager
async def _engine(folder: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(folder)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def _replay(engine: SqliteEngine, end: int) -> None:
    after = 0
    while after < end and (events := await engine.events("history", after, 1000)):
        after = events[-1].seq


class _Writer:
    """Commits to a room of its own."""

    def __init__(self, engine: SqliteEngine, room: str) -> None:
        self._engine, self._room = engine, room
        self.seq = 0

    async def begin(self) -> None:
        await self._engine.create(self._room, "epoch")

    async def commit(self, records: dict[str, bytes | None] | None = None, heads: dict[str, bytes | None] | None = None) -> None:
        events = [
            Event(self.seq + n, "task.dispatched", 0.0, "me", {"task": f"{n:032x}"}, "echo", b"x" * BODY, None, None, None)
            for n in range(1, EVENTS + 1)
        ]
        turn = Turn(self.seq, events, heads or {}, records or {}, caught_up=True)
        self.seq += EVENTS
        (conflict,) = await self._engine.commit([(self._room, turn)])
        if conflict is not None:
            raise conflict

    async def beside(self, work: Coroutine[None, None, object]) -> list[float]:
        """Commits until the work is done, and what each took in milliseconds."""
        taken: list[float] = []
        other = asyncio.ensure_future(work)
        while not other.done():
            start = time.perf_counter()
            await self.commit()
            taken.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(BREATH)
        await other
        return taken
