"""The worker of the parity cases: serves every graph of every case."""

from __future__ import annotations

from langgraph_nolag import Worker

from .catalogue import MODULES, ROOM, graph_names, module_of

app = Worker(room=ROOM, concurrency=8)
for _module in map(module_of, MODULES):
    _names = graph_names(_module)
    for _graph in {id(case.graph): case.graph for case in _module.CASES}.values():
        app.graph(_graph, name=_names[id(_graph)])
