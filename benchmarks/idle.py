"""What a broker costs that has nothing to do: agents that are connected, each in a room of its own, and only heartbeat.

`python -m benchmarks.idle URL TOKEN FROM TO` is one process of agents.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from .contenders.base import process, wait_for_line
from .contenders.nolag import NoLag

PROCESSES = 4  # that the agents live in
SETTLE = 35.0  # seconds until what joining brought about has passed: a lease


@dataclass(frozen=True, slots=True)
class Idle:
    """The broker's memory in MiB, and its share of a core and that of all the agents' processes together, in percent."""

    agents: int
    seconds: float
    memory: float
    cpu: float
    clients_cpu: float


def measure(folder: Path, agents: int, seconds: float) -> Idle:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        server = stack.enter_context(NoLag().server(folder))
        found = json.loads(Path(server.address).read_text())
        clients = []
        for number in range(PROCESSES):
            log = folder / f"agents-{number}.log"
            first, end = agents * number // PROCESSES, agents * (number + 1) // PROCESSES
            command = [sys.executable, "-m", "benchmarks.idle", found["url"], found["token"], str(first), str(end)]
            child = stack.enter_context(process(command, log))
            wait_for_line("joined", child, log, 60.0)
            clients.append(psutil.Process(child.pid))
        time.sleep(SETTLE)
        broker = psutil.Process(server.pid)
        began, before, clients_before = time.perf_counter(), _cpu(broker), sum(map(_cpu, clients))
        time.sleep(seconds)
        elapsed = time.perf_counter() - began
        cpu, clients_cpu = _cpu(broker) - before, sum(map(_cpu, clients)) - clients_before
        return Idle(agents, elapsed, broker.memory_info().rss / 2**20, cpu / elapsed * 100, clients_cpu / elapsed * 100)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _be_idle(url: str, token: str, numbers: range) -> None:
    from langgraph_nolag import connect

    async with AsyncExitStack() as stack:
        for number in numbers:
            client = await stack.enter_async_context(connect(url, token=token))
            await client.join(f"idle-{number}")
        print("joined", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_be_idle(sys.argv[1], sys.argv[2], range(int(sys.argv[3]), int(sys.argv[4]))))
