"""What a node costs on another process, beside the same graph in process with the same saver and `durability="sync"`."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .contenders.base import process, wait_for_line
from .contenders.nolag import NoLag


def measure(folder: Path, runs: int) -> dict[str, list[float]]:
    """Milliseconds a node of every run, by `in process` and `distributed`, taken alternately."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        server = stack.enter_context(NoLag().server(folder))
        found = json.loads(Path(server.address).read_text())
        os.environ["NOLAG_TOKEN"] = found["token"]
        log = folder / "worker.log"
        command = [str(Path(sys.executable).with_name("langgraph-nolag")), "worker", "benchmarks.chain:app", "--url", found["url"]]
        worker = stack.enter_context(process(command, log))
        wait_for_line("worker ready", worker, log)
        return _alternate(f"{found['url']}/chain", runs)


def _alternate(room: str, runs: int) -> dict[str, list[float]]:
    from langgraph_nolag import NoLagSaver, distribute

    from .chain import NODES, build

    saver = NoLagSaver(room)
    graphs: dict[str, Any] = {"in process": build().compile(checkpointer=saver)}
    graphs["distributed"] = distribute(graphs["in process"], room, checkpointer=saver)
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(runs + 3):  # the first three warm up
        for name, graph in graphs.items():
            start = time.perf_counter()
            result = graph.invoke({"count": 0}, {"configurable": {"thread_id": uuid.uuid4().hex}}, durability="sync")
            if number >= 3:
                taken[name].append((time.perf_counter() - start) * 1000 / NODES)
            if result != {"count": NODES}:
                raise AssertionError(f"{name}: {result}")
    return taken
