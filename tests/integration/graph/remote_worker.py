"""A worker process of the tests: `remote_worker.py` with NOLAG_URL and NOLAG_TOKEN."""

from __future__ import annotations

import sys

from remote_graphs import GRAPHS

from langgraph_nolag.graph.worker import Worker

app = Worker(room="graphs", capabilities=sys.argv[1:], concurrency=4, drain_timeout=5.0)
for _name, _graph in GRAPHS.items():
    app.graph(_graph, name=_name)

if __name__ == "__main__":
    app.run(on_ready=lambda line: print(line, flush=True))
