"""One run of the story, from its start to its end, with the people who answer it, and somebody who starts again what dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph_nolag.testing.history import History

from . import graph_processes as processes
from .graph_moments import Moment
from .history import Stored, new_history, stored, whole_log
from .processes import Broker, Worker, joined, until
from .trial import Trial

READY = 10.0  # seconds; row 1 measures it
INVOKED = 40.0  # seconds that one invocation may take
SILENT = 600.0  # seconds that a process may say nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to die, and when.

    Attributes:
        command: of a caller: which of the commands it is started with (0: the input); None: any.
    """

    victim: str
    moment: Moment
    command: int | None = None


class Process:
    """A process, what it has told, and when it ended.

    Attributes:
        moments: when and what, in order.
        chunks: of its stream: mode and chunk, and its number in the stream of a run.
        said: everything else.
        ended: a task that is done when it has ended.
    """

    def __init__(self, worker: Worker, command: int = 0) -> None:
        self.command = command
        self.moments: list[tuple[str, str]] = []
        self.chunks: list[tuple[Any, ...]] = []
        self.said: dict[str, Any] = {}
        self._worker = worker
        self.ended = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                what, value = await self._worker.says(SILENT)
                if what == "moment":
                    self.moments.append(value)
                elif what == "chunk":
                    self.chunks.append(value)
                else:
                    self.said[what] = value

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._worker.pid, signal.SIGKILL)
        await self.ended
        self._worker.kill()


@dataclass
class Played:
    """What came of a run.

    Attributes:
        values, supersteps: where the thread stands, and how it came there.
        callers: who invoked the thread, or started a run of it.
        streams: what was read of the streams of one run each: mode and chunk.
        ran: executions of bodies, by name.
        again: bodies that were invoked again while they waited for an answer, which begins them anew.
        killed: by victim.
        answered: the questions whose answer was taken.
        wrong: what must not be, as far as it was seen on the way.
    """

    values: dict[str, Any] = field(default_factory=dict)
    supersteps: list[Any] = field(default_factory=list)
    callers: list[Process] = field(default_factory=list)
    streams: list[list[tuple[Any, ...]]] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    ran: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    log: Sequence[Stored] = ()
    history: History = field(default_factory=new_history)
    wrong: list[str] = field(default_factory=list)


class Play:
    """One thread, in a room of its own.

    Attributes:
        resumes: whether workers run the graph as a whole, too.

    Args:
        plans: the kills, one after the other: the next one is planned when the one before it has happened. A worker can be the first only.
        plant: a defect for all processes but the broker.
    """

    resumes = False

    def __init__(self, trial: Trial, broker: Broker, room: str, plans: Iterable[Plan] = (), plant: str | None = None) -> None:
        self.played = Played()
        self._trial = trial
        self._broker = broker
        self._room = room
        self._plant = plant
        self._plans = deque(plans)
        self._folder = trial.folder / room
        self._folder.mkdir()

    async def run(self) -> Played:
        played = self.played
        self._arm_broker()
        try:
            async with self._kept_alive(), joined(self._broker, room=self._room) as room:
                seen = 0

                def see(events: list[dict[str, Any]], through: int) -> None:
                    nonlocal seen
                    for event in events:
                        played.history.saw("reader", stored(event))
                    seen = through

                reading = room.link.subscribe(since=0, on_events=see)
                await self._act()
                end = (await whole_log(room))[-1].seq
                await until(lambda: seen >= end, "the reader comes to the end")
                reading.close()
                played.log = await whole_log(room)
        finally:
            self._moment_file.unlink(missing_ok=True)
            for process in (*played.callers, *played.workers):
                await process.end()
        ran = self._folder / "ran"
        lines = ran.read_text().splitlines() if ran.exists() else []
        played.ran = Counter(line.split()[0] for line in lines)
        return played

    async def _act(self) -> None:
        """Bring the thread to its end, and answer what it asks."""
        raise NotImplementedError

    async def _ended(self, process: Process) -> None:
        """Wait for it."""
        self.played.callers.append(process)
        limit = INVOKED * self._trial.patience
        try:
            await asyncio.wait_for(asyncio.shield(process.ended), limit)
        except TimeoutError:
            process.said["raised"] = f"nothing: it did not end within {limit:g} s"

    def _moment_of(self, victim: str, command: int) -> Moment | None:
        """What is planned for a process that starts now."""
        plan = self._plans[0] if self._plans and self._plans[0].victim == victim else None
        return plan.moment if plan is not None and plan.command in (None, command) else None

    # --- who starts again what dies ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _kept_alive(self) -> AsyncIterator[None]:
        """Whoever dies is started again: the first worker, by its plan, and the broker."""
        keepers = [asyncio.create_task(self._keep_broker())]
        try:
            plan = self._plans[0].moment if self._plans and self._plans[0].victim == "worker" else None
            keepers.append(asyncio.create_task(self._keep_worker(await self._worker(plan))))
            if plan is None:
                await self._worker(None)
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()
            for outcome in await asyncio.gather(*keepers, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def _worker(self, plan: Moment | None) -> Process:
        process = Process(Worker(self._broker, processes.work, self._room, plan, self._plant, self.resumes))
        self.played.workers.append(process)
        await until(lambda: "serving" in process.said or process.ended.done(), "a worker serves")
        return process

    async def _keep_worker(self, process: Process) -> None:
        await asyncio.shield(process.ended)
        self._died("worker")
        await self._worker(None)

    async def _keep_broker(self) -> None:
        while True:
            process = self._broker.process
            assert process is not None
            await until(lambda: process.poll() is not None, "", timeout=SILENT)  # noqa: B023
            self._broker.wait()
            self._died("broker")
            starting = asyncio.create_task(asyncio.to_thread(self._broker.start))
            try:
                seconds = await asyncio.shield(starting)
            except asyncio.CancelledError:
                await starting
                raise
            self._trial.recovered(seconds, READY, "a start of the broker")

    def _died(self, victim: str) -> None:
        self.played.killed[victim] += 1
        if self._plans:
            self._plans.popleft()
            self._arm_broker()

    @property
    def _moment_file(self) -> Any:
        return self._trial.folder / "moment"

    def _arm_broker(self) -> None:
        if self._plans and self._plans[0].victim == "broker":
            self._moment_file.write_text(json.dumps([self._room, *self._plans[0].moment]))
