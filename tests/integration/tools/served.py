"""Tools that worker processes serve; imported by tests and workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolRuntime

from langgraph_nolag import Worker, tool_progress


@tool
def multiply(a: int, b: int = 2) -> int:
    """Multiply two numbers."""
    return a * b


@tool(response_format="content_and_artifact")
def fetch(url: str) -> tuple[str, dict[str, int]]:
    """Fetch a page."""
    return f"page of {url}", {"bytes": 5}


@tool
def copy(pages: int) -> str:
    """Copy pages, and say how far it is, in plain words."""
    for page in range(pages):
        tool_progress({"page": page + 1})
    return f"{pages} pages"


@tool
async def read_aloud(text: str, runtime: ToolRuntime) -> str:
    """Read a text aloud, as a tool written for LangGraph does."""
    get_stream_writer()({"voice": "soft"})
    for word in text.split():
        runtime.emit_output_delta(word)
    runtime.stream_writer({"voice": "off"})
    return "done"


@tool
def own_calls(runtime: ToolRuntime, call: Annotated[str, InjectedToolCallId]) -> list[str]:
    """Tell what the call is called."""
    return [call, str(runtime.tool_call_id)]


@tool
def write_down(text: str) -> str:
    """Stream from a sync tool."""
    get_stream_writer()({"wrote": text})
    return text


@tool
def refuse(why: str) -> str:
    """Refuse, and say so to the model by itself."""
    raise ToolException(why)


refuse.handle_tool_error = True


@tool
def hold(path: str) -> str:
    """Say who runs it, and hold on until the file `go` is there."""
    folder = Path(path)
    (folder / f"run-{os.getpid()}").touch()
    deadline = time.monotonic() + 30
    while not (folder / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return str(os.getpid())


again: Any = hold.model_copy(update={"name": "hold_again"})

app = Worker(room="desk", concurrency=4, drain_timeout=0.5)
for each in (multiply, fetch, copy, read_aloud, write_down, refuse, hold):
    app.tool(each)
app.tool(again, max_attempts=3)
