"""Invokes graphs that nobody serves, until Ctrl-C: then each must end by itself, with nothing left in the room but its thread."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any

import misused_graphs as graphs

from langgraph_nolag import NoLagSaver, distribute
from langgraph_nolag.client.rooms import open_room

link = open_room(f"{os.environ['NOLAG_URL']}/nobody")


def waiting() -> int:
    return sum(task["kind"] == "node" for task in link.call("task.list", states=["waiting"])["tasks"])


def say(wanted: int) -> None:
    while waiting() < wanted:
        time.sleep(0.01)
    time.sleep(0.3)  # of a signal that comes in the very moment in which it begins to wait, CPython's main thread hears when it has waited
    print("waiting", flush=True)


def interrupted(how: str, graph: Any, nodes: int) -> None:
    remote = distribute(graph, link, checkpointer=NoLagSaver(link))
    thread: Any = {"configurable": {"thread_id": how}}
    threading.Thread(target=say, args=(nodes,), daemon=True).start()
    try:
        if how == "async":
            asyncio.run(remote.ainvoke({"x": 1}, thread, durability="sync"))
        else:
            remote.invoke({"x": 1}, thread, durability="sync")
    except KeyboardInterrupt:
        deadline = time.monotonic() + 10
        while waiting():
            if time.monotonic() > deadline:
                sys.exit(f"{how}: its tasks are still there")
            time.sleep(0.01)
        if len(remote.get_state(thread).next) != nodes:
            sys.exit(f"{how}: the thread is lost")
    else:
        sys.exit(f"{how}: it was not interrupted")


signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background is born deaf to Ctrl-C
interrupted("one node", graphs.plus_graph, 1)
interrupted("two nodes", graphs.parallel(), 2)
interrupted("async", graphs.parallel(), 2)
