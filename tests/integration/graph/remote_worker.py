"""A worker process of the tests: `remote_worker.py [CAPABILITY | DRAIN SECONDS]...` with NOLAG_URL and NOLAG_TOKEN."""

from __future__ import annotations

import sys

from remote_graphs import GRAPHS

from langgraph_nolag.graph.worker import Worker

_drain = [float(word) for word in sys.argv[1:] if word[0].isdigit()]
_capabilities = [word for word in sys.argv[1:] if not word[0].isdigit()]
app = Worker(room="graphs", capabilities=_capabilities, concurrency=4, drain_timeout=_drain[0] if _drain else 20.0)
for _name, _graph in GRAPHS.items():
    app.graph(_graph, name=_name)

if __name__ == "__main__":
    app.run(on_ready=lambda line: print(line, flush=True))
