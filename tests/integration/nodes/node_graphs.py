"""A graph of pattern nodes, and the worker that serves it: imported by the tests and by their worker processes."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph import START, StateGraph, add_messages

from langgraph_nolag import Worker
from langgraph_nolag.nodes import approval_node, blackboard_node, handoff_node, inbox_node, observe_node, tools_node


class State(TypedDict, total=False):
    brief: dict[str, Any]
    draft: str
    plan: str
    decision: dict[str, Any]
    messages: Annotated[list[AnyMessage], add_messages]


builder = StateGraph(State)
builder.add_sequence(
    [
        ("started", observe_node(None, "newsroom.started", body="brief")),
        ("draft", handoff_node(None, "draft", payload="brief", result="draft")),
        ("share", blackboard_node(None, write={"draft": "draft"}, read={"plan": "plan"})),
        ("tools", tools_node(None)),
        ("tell", inbox_node(None, "editor", message="draft")),
        ("release", approval_node(None, "publish", args=lambda state: {"text": state["draft"]}, result="decision")),
    ]
)
builder.add_edge(START, "started")
graph = builder.compile(name="desk")

app = Worker(room="desk", concurrency=2, drain_timeout=2.0)
app.graph(graph)
