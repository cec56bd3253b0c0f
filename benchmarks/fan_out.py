"""How long a fan-out of `Send`s takes on two worker processes, beside what it would take if handing work out cost nothing."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .fan import PIECES, WORKERS, build
from .remote_node import broker, worker

MODES = ("`invoke`, `max_concurrency=200`", "`ainvoke`")


def measure(folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds of every run, by how the graph was called."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        url = stack.enter_context(broker(folder))
        for number in range(WORKERS):
            stack.enter_context(worker("benchmarks.fan:app", url, folder / f"worker-{number}.log"))
        return asyncio.run(_alternate(f"{url}/fan", runs))


async def _alternate(room: str, runs: int) -> dict[str, list[float]]:
    from langgraph_nolag import NoLagSaver, distribute

    saver = NoLagSaver(room)
    graph = distribute(build().compile(checkpointer=saver), room, checkpointer=saver)
    taken: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(runs + 1):  # the first warms up
        for mode in MODES:
            config: Any = {"configurable": {"thread_id": uuid.uuid4().hex}, "max_concurrency": PIECES}
            start = time.perf_counter()
            if mode == "`ainvoke`":
                result = await graph.ainvoke({"found": []}, config, durability="sync")
            else:
                result = await asyncio.to_thread(graph.invoke, {"found": []}, config, durability="sync")
            if number:
                taken[mode].append(time.perf_counter() - start)
            if result != {"found": list(range(PIECES))}:
                raise AssertionError(f"{mode}: {result}")
    return taken
