"""Whoever runs the graph: edges, reducers and checkpoints are here; research, draft and review run on the workers.

It may be killed at any time and started again with the same arguments: it takes the thread up where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

from langchain_core.runnables import RunnableConfig

from langgraph_nolag import NoLagError, NoLagSaver, await_decisions, distribute

from .graph import build
from .room_desk import RoomDesk, room_address
from .settings import ROOM, Settings
from .team import PUBLISHED, REJECTED

POOLS = {"research": ["research"], "draft": ["writing"], "review": ["reviewing"]}
"""Which capabilities a worker needs for which node."""
LOCAL = ["plan", "ask", "publish"]


async def run(question: str, out: str, thread: str) -> int:
    """Run the graph to its end, from wherever the thread is.

    Returns:
        `PUBLISHED` or `REJECTED`.
    """
    address = room_address(ROOM)
    desk = RoomDesk(address)
    graph = build(Settings.from_environment().agents(), desk).compile(name="briefing")
    remote = distribute(graph, address, pools=POOLS, local=LOCAL, checkpointer=NoLagSaver(address))
    config: RunnableConfig = {"configurable": {"thread_id": thread}}

    state = await remote.aget_state(config)
    begun = bool(state.values or state.next)
    await desk.note("orchestrator.started", resumed=begun, pid=os.getpid())
    given: Any = None if begun else {"question": question, "out": out}
    while True:
        result = await remote.ainvoke(given, config, durability="sync")
        if "__interrupt__" not in result:
            return PUBLISHED if result.get("published") else REJECTED
        given = await await_decisions(remote, config)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nolag_briefing.orchestrator")
    parser.add_argument("--question", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--thread", required=True)
    options = parser.parse_args()
    try:
        status = asyncio.run(run(options.question, options.out, options.thread))
    except NoLagError as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
