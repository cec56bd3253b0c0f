"""A worker of a version of `misused_graphs` that lacks a class."""

from __future__ import annotations

import misused_graphs as graphs

from langgraph_nolag import Worker

del graphs.OnlyHere

app = Worker(room="demo")
for graph in (graphs.plus_graph, graphs.give_graph, graphs.agive_graph, graphs.ask_graph, graphs.question_graph):
    app.graph(graph)


@app.tool
def odd(q: str) -> object:
    """Give what can't be encoded."""
    return object()
