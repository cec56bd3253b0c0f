"""Processes of the tests of runs, with NOLAG_URL and NOLAG_TOKEN.

runs_process.py worker [resume] [hasty]            serves the nodes of all graphs, and runs them with `resume`; `hasty`: stops at once
runs_process.py orchestrator GRAPH THREAD INPUT    invokes one; INPUT is JSON, {"resume": …} a command; prints what came of it
runs_process.py dying GRAPH THREAD INPUT           the same with a large value more; is killed when it comes to its first checkpoint
"""

from __future__ import annotations

import json
import os
import signal
import sys

from langgraph.types import Command
from runs_graphs import GRAPHS

from langgraph_nolag import NoLagSaver, Worker, distribute

ROOM = "runs"


def worker(*words: str) -> None:
    app = Worker(room=ROOM, concurrency=4, drain_timeout=0.2 if "hasty" in words else 10.0)
    for name, graph in GRAPHS.items():
        app.graph(graph, name=name, resume="resume" in words)
    app.run(on_ready=lambda line: print(line, flush=True))


def orchestrator(name: str, thread: str, value: str) -> None:
    room = f"{os.environ['NOLAG_URL']}/{ROOM}"
    graph = distribute(GRAPHS[name], room, name=name, checkpointer=NoLagSaver(room))
    input = json.loads(value)
    if isinstance(input, dict) and "resume" in input:
        input = Command(resume=input["resume"])
    print("invoking", flush=True)
    try:
        result = graph.invoke(input, {"configurable": {"thread_id": thread}}, durability="sync")
        print(json.dumps(result.get("log", [])), flush=True)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)


def dying(name: str, thread: str, value: str) -> None:
    NoLagSaver.put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    orchestrator(name, thread, json.dumps({**json.loads(value), "log": ["x" * 200_000]}))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
