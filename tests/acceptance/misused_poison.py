"""Workers, one after the other, each in a process of its own; says when one is lost. Forked, since what they import takes a while."""

from __future__ import annotations

import os
import signal

import misused_graphs as graphs

from langgraph_nolag import Worker

while True:
    pid = os.fork()
    if pid == 0:
        app = Worker(room="demo", drain_timeout=0)
        app.graph(graphs.poison_graph)
        app.run()
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda number, frame: (os.kill(pid, signal.SIGKILL), os._exit(0)))  # noqa: B023 - the one that runs
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        print("lost", flush=True)
