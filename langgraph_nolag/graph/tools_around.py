"""What LangGraph puts around a tool: on the process that serves it, and in the graph that calls it.

So a tool written for LangGraph streams to its caller's graph from wherever it runs. What it says with `get_stream_writer()` is a chunk of
the caller's `custom` stream, what it says with `ToolRuntime.emit_output_delta` is one of its `tools` stream, and `tool_progress` is both.
"""

from __future__ import annotations

from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import Runtime

from ..patterns.tool_calls import CUSTOM, DELTA, OnProgress
from ..patterns.tool_seam import Prepare, report
from ._compat import CONFIG_KEY_RUNTIME, CONFIG_KEY_SCRATCHPAD, injected_args, tool_call_writer
from .errors import NotSupported


def preparation(tool: BaseTool) -> Prepare:
    """What must be done before each run of a served tool.

    Raises:
        NotSupported: it wants the state or the store of its caller, which do not travel.
    """
    injected = injected_args(tool)
    if wanted := [*injected.state, *([injected.store] if injected.store else [])]:
        raise NotSupported(
            f"tool {tool.name!r} wants its caller's state or store ({', '.join(wanted)}), which do not travel to who serves it: "
            "let it take what it needs as arguments, or distribute the graph whose tool it is"
        )

    def prepare(args: dict[str, Any], call_id: str) -> tuple[dict[str, Any], RunnableConfig | None]:
        tool_call_writer.set(_delta)  # the context is this run's own
        if injected.all_injected_keys:
            args = {name: value for name, value in args.items() if name not in injected.all_injected_keys}
        if injected.runtime:
            args[injected.runtime] = ToolRuntime(
                state={}, context=None, config=_SURROUNDINGS, stream_writer=_custom, tool_call_id=call_id, store=None, tools=[]
            )
        return args, _SURROUNDINGS

    return prepare


class _NobodyToAsk:
    """Where `interrupt()` looks for its answer."""

    def __getattr__(self, name: str) -> Any:
        raise NotSupported("interrupt() and gate() do not work in a tool that is served to a room: ask in the graph that calls it")


def _custom(chunk: Any) -> None:
    report(CUSTOM, chunk)


def _delta(delta: Any) -> None:
    report(DELTA, delta)


_SURROUNDINGS: Final[RunnableConfig] = {
    "configurable": {CONFIG_KEY_RUNTIME: Runtime(stream_writer=_custom), CONFIG_KEY_SCRATCHPAD: _NobodyToAsk()}
}


def listening(config: RunnableConfig) -> OnProgress | None:
    """Who hears what a tool says that is called with this configuration; None outside of graphs."""
    runtime = (config.get("configurable") or {}).get(CONFIG_KEY_RUNTIME)
    custom, delta = getattr(runtime, "stream_writer", None), tool_call_writer.get()
    if custom is None and delta is None:
        return None

    def heard(kind: str, value: Any) -> None:
        if custom is not None and kind != DELTA:
            custom(value)
        if delta is not None and kind != CUSTOM:
            delta(value)

    return heard
