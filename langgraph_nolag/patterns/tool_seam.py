"""Where tools meet LangGraph, on both sides of a call.

Tools need no LangGraph: this layer knows LangChain's tools only. But a served tool may be written for LangGraph (it streams with
`get_stream_writer()`), and a proxy may be called in a graph (which streams what the tool says). What is then around them is the graph
layer's to know (`graph/tools_around.py`); it is asked only in processes that have loaded LangGraph already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from .tool_calls import OnProgress

Report = Callable[[str, Any], None]
"""Says something to the caller while the tool runs: what kind of progress, and the value."""
Prepare = Callable[[dict[str, Any], str], tuple[dict[str, Any], RunnableConfig | None]]
"""Makes ready for one run, in the context that it runs in: arguments and the call's id, to arguments and configuration."""

reporting: ContextVar[Report | None] = ContextVar("nolag_tool_report", default=None)
"""How the tool that runs in this context speaks to its caller."""


def report(kind: str, value: Any) -> None:
    """Say something to the caller of the tool that runs here; nobody hears it outside of one."""
    say = reporting.get()
    if say is not None:
        say(kind, value)


def preparation(tool: BaseTool) -> Prepare:
    """What must be done before each run of a served tool.

    Raises:
        NotSupported: it needs what only its caller's process has.
    """
    around = _around()
    return _nothing if around is None else around.preparation(tool)


def listening(config: RunnableConfig) -> OnProgress | None:
    """Who hears what a tool says that is called with this configuration."""
    around = _around()
    return None if around is None else around.listening(config)


def _nothing(args: dict[str, Any], call_id: str) -> tuple[dict[str, Any], None]:
    return args, None


def _around() -> Any:
    return importlib.import_module("langgraph_nolag.graph.tools_around") if "langgraph" in sys.modules else None
