"""What finished tasks leave behind: the broker's memory, its files, and how long it takes to start again.

The tasks go the whole way through real sockets: dispatched with a key (so that they are kept, acknowledged or not), claimed,
completed, the result stored. To have many of them in a bearable time their frames are written by hand, many to a message.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from .contenders.nolag import NoLag
from .peer import Peer

PAYLOAD = b"x" * 32
IN_FLIGHT = 4_000
TOGETHER = 250  # frames of a message
ROOM = "finished"


@dataclass(frozen=True, slots=True)
class Left:
    """Sizes in MiB, times in seconds. `ready`: a broker started on the files listens; `answered`: it has loaded the room and said
    how far its log goes."""

    tasks: int
    seconds: float
    memory: float
    database: float
    write_ahead: float
    ready: float
    answered: float
    memory_after: float


def measure(folder: Path, tasks: int) -> Left:
    folder.mkdir(parents=True)
    data = folder / "data"
    with ExitStack() as stack:
        server = stack.enter_context(NoLag().server(folder))
        found = json.loads(Path(server.address).read_text())
        start = time.perf_counter()
        asyncio.run(_finish(found["url"], found["token"], tasks))
        seconds = time.perf_counter() - start
        memory, write_ahead = _memory(server.pid), _size(data / "rooms.db-wal")
        psutil.Process(server.pid).kill()  # as after a crash: what is written behind is to be read again
    start = time.perf_counter()
    with NoLag().server(folder) as server:
        ready = time.perf_counter() - start
        found = json.loads(Path(server.address).read_text())
        asyncio.run(_look(found["url"], found["token"]))
        answered = time.perf_counter() - start
        return Left(tasks, seconds, memory, _size(data / "rooms.db"), write_ahead, ready, answered, _memory(server.pid))


def _memory(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def _size(file: Path) -> float:
    return file.stat().st_size / 2**20 if file.exists() else 0.0


async def _finish(url: str, token: str, tasks: int) -> None:
    """Dispatch and complete so many tasks."""
    async with Peer(url, token, "dispatcher", ROOM) as dispatcher, Peer(url, token, "worker", ROOM) as worker:
        await worker.ask("room.join")
        await worker.ask("task.serve", offer=1, types=["echo"], slots=IN_FLIGHT)
        free = asyncio.Semaphore(IN_FLIGHT)

        async def dispatch() -> None:
            for first in range(0, tasks, TOGETHER):
                numbers = range(first, min(first + TOGETHER, tasks))
                for _ in numbers:
                    await free.acquire()
                await dispatcher.send(
                    [
                        dispatcher.request("task.dispatch", task=f"t{n}", key=f"k{n}", type="echo", body=PAYLOAD, follow=False)
                        for n in numbers
                    ]
                )

        async def hear() -> None:
            answered = 0
            while answered < tasks:
                answered += len(list(await dispatcher.receive()))

        async def complete() -> None:
            completed = 0
            while completed < tasks:
                done = []
                for frame in await worker.receive():
                    if "push" in frame:
                        done.append(worker.request("task.complete", task=frame["task"], token=frame["token"], body=frame["body"]))
                    else:
                        completed += 1
                        free.release()
                for first in range(0, len(done), TOGETHER):
                    await worker.send(done[first : first + TOGETHER])

        async with asyncio.TaskGroup() as group:
            for work in (dispatch(), hear(), complete()):
                group.create_task(work)


async def _look(url: str, token: str) -> None:
    async with Peer(url, token, "again", ROOM) as peer:
        info = await peer.ask("room.info")
        if info["seq"] == 0:
            raise AssertionError("the room is empty")
