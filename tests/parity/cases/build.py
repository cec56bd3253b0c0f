"""What the graphs of the cases share. Ordinary LangGraph: nothing here or beside it knows of workers."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]
    anything: Any


def chain(*nodes: Any, schema: Any = State, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """One node after the other; a node is a function or a pair of a name and a node."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema, **options)
    before = START
    for node in nodes:
        name, function = node if isinstance(node, tuple) else (node.__name__, node)
        builder.add_node(name, function)
        builder.add_edge(before, name)
        before = name
    return builder


def beside(*nodes: Any, schema: Any = State, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """Nodes that run side by side."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema, **options)
    for node in nodes:
        builder.add_node(node)
        builder.add_edge(START, node.__name__)
    return builder


def single(node: Any, *, schema: Any = State, name: str | None = None, graph: dict[str, Any] | None = None, **options: Any) -> Any:
    """One node, added with options."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema, **(graph or {}))
    builder.add_node(name or node.__name__, node, **options)
    builder.add_edge(START, name or node.__name__)
    return builder
