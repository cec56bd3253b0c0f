"""What a node costs on another process, beside the same graph in process with the same saver and `durability="sync"`.

A remote node waits for two commits: its dispatch, and with it the checkpoint before, is on disk before a worker has it, and its result
before the graph has it. One in process waits for its checkpoint. Around its nodes, a distributed run waits for three (to take its thread,
for the last checkpoint, to let go of the thread) and one in process for two (its input, and what is made of it). What one commit costs is
measured in the same minute: a request that is stored, beside one that is not.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .chain import NODES, build
from .contenders.base import process, wait_for_line
from .contenders.nolag import NoLag

REQUESTS: Final = 10  # of each kind, between two runs
PUTS: Final = [["bench/commit/1", b"x" * 512, False]]
COMMITS: Final = 1 + 1 / NODES  # that a distributed node waits for, beside those of a node in process


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds: a node's of every run, by where it ran; and those of single requests."""

    nodes: dict[str, list[float]]
    stored: list[float]
    not_stored: list[float]

    @property
    def overhead(self) -> float:
        """Of a node, at the median."""
        return statistics.median(self.nodes["distributed"]) - statistics.median(self.nodes["in process"])

    @property
    def commit(self) -> float:
        """What a commit costs, at the median."""
        return statistics.median(self.stored) - statistics.median(self.not_stored)


def measure(folder: Path, runs: int) -> Taken:
    """Runs in process and distributed, taken alternately, and requests between them."""
    folder.mkdir(parents=True)
    with broker(folder) as url, worker("benchmarks.chain:app", url, folder / "worker.log"):
        return _alternate(f"{url}/chain", runs)


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A broker on SQLite that this process and its children have the token of; its url."""
    with NoLag().server(folder) as server:
        found = json.loads(Path(server.address).read_text())
        os.environ["NOLAG_TOKEN"] = found["token"]
        yield found["url"]


@contextmanager
def worker(app: str, url: str, log: Path) -> Iterator[None]:
    """A worker process that serves."""
    with process([str(Path(sys.executable).with_name("langgraph-nolag")), "worker", app, "--url", url], log) as child:
        wait_for_line("worker ready", child, log)
        yield


def _alternate(room: str, runs: int) -> Taken:
    from langgraph_nolag import NoLagSaver, distribute

    saver = NoLagSaver(room)
    graphs: dict[str, Any] = {"in process": build().compile(checkpointer=saver)}
    graphs["distributed"] = distribute(graphs["in process"], room, checkpointer=saver)
    taken = Taken({name: [] for name in graphs}, [], [])
    for number in range(runs + 3):  # the first three warm up
        for name, graph in graphs.items():
            start = time.perf_counter()
            result = graph.invoke({"count": 0}, {"configurable": {"thread_id": uuid.uuid4().hex}}, durability="sync")
            if number >= 3:
                taken.nodes[name].append((time.perf_counter() - start) * 1000 / NODES)
            if result != {"count": NODES}:
                raise AssertionError(f"{name}: {result}")
        for _ in range(REQUESTS):
            taken.stored.append(_request(saver, "record.write", puts=PUTS, deletes=[], delete_prefixes=[]))
            taken.not_stored.append(_request(saver, "task.unfollow", tasks=[]))
    return taken


def _request(saver: Any, op: str, **fields: Any) -> float:
    start = time.perf_counter()
    saver.link.call(op, **fields)
    return (time.perf_counter() - start) * 1000
