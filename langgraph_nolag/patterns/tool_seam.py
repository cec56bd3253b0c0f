"""Where tools meet LangGraph, on both sides of a call.

Tools need no LangGraph: this layer knows LangChain's tools only. But a served tool may be written for LangGraph (it streams with
`get_stream_writer()`), and a proxy may be called in a graph (which streams what the tool says). What is then around them is the graph
layer's to know (`graph/tools_around.py`); it is asked only in processes that have loaded LangGraph already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from .tool_calls import OnProgress

Report = Callable[[str, Any], None]
"""Says something to the caller while the tool runs: what kind of progress, and the value."""
Prepare = Callable[[dict[str, Any], str, Report], tuple[dict[str, Any], RunnableConfig]]
"""Makes ready for one run, in the context that it runs in: arguments, the call's id and how to report, to arguments and configuration."""


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


def _nothing(args: dict[str, Any], call_id: str, report: Report) -> tuple[dict[str, Any], RunnableConfig]:
    return args, {}


def _around() -> Any:
    return importlib.import_module("langgraph_nolag.graph.tools_around") if "langgraph" in sys.modules else None
