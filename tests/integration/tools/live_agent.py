"""An agent whose tools are the room's, and the worker that serves its nodes; imported by tests and workers."""

from __future__ import annotations

import os
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime
from models import ToldModel, calling

from langgraph_nolag import Worker, live_tools


@tool
def where() -> str:
    """Say which process runs the agent's own tools."""
    return str(os.getpid())


@tool
def spell(text: str, runtime: ToolRuntime) -> str:
    """Spell a text, letter by letter."""
    for letter in text:
        runtime.emit_output_delta(letter)
    return "spelt"


def reply(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
    """Asks for what the person wants and there is, then says what was offered."""
    if messages[-1].type == "tool":
        return AIMessage(f"offered: {', '.join(sorted(bound))}")
    names: dict[str, dict[str, Any]] = {
        "where": {},
        "spell": {"text": "tea"},
        "copy": {"pages": 2},
        "read_aloud": {"text": "one two"},
        "broken": {"why": "no reason"},
        "pay": {"amount": 5},
    }
    return calling(*((name, args) for name, args in names.items() if name in str(messages[-1].content).split()))


class Polite(AgentMiddleware[Any, Any]):
    """Middleware of one's own around the room's tools."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = handler(request)
        answer.additional_kwargs = {"please": True}
        return answer

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = await handler(request)
        answer.additional_kwargs = {"please": True}
        return answer


graph = create_agent(
    ToldModel(reply=reply), [where, spell], middleware=[Polite(), live_tools(), ModelCallLimitMiddleware(run_limit=5)], name="live_agent"
)
app = Worker(room="desk", concurrency=6)
app.graph(graph)
