"""A served function is called as a function. A LangChain tool that is served is invoked as LangChain does it.

LangChain makes the tool of a function that others see, and checks its arguments. But for each call of it it works out the function's types
and signature anew, and tells callbacks: 125 µs of CPU, more than all the rest of a call on the process that serves it.
"""

from __future__ import annotations

import asyncio
from inspect import Parameter, signature
from typing import Any, Final
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langchain_core.tools import BaseTool, StructuredTool

BY_NAME: Final = frozenset({Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY})


class ServedFunction:
    """A function, with the tool that LangChain made of it; see `as_function`."""

    def __init__(self, tool: StructuredTool) -> None:
        self._tool = tool

    async def run(self, args: dict[str, Any], config: RunnableConfig | None) -> Any:
        """What the function returns. A sync one runs on a thread, and so does what checks its arguments.

        Args:
            args: checked, and filled up with defaults.
            config: found by what the function calls of LangChain and LangGraph.

        Raises:
            ValidationError: the arguments are not what it takes.
            Exception: what the function raised.
        """
        config, coroutine = ensure_config(config), self._tool.coroutine
        kind = CallbackManager if coroutine is None else AsyncCallbackManager
        config["callbacks"] = kind([], parent_run_id=uuid4())  # they look for the run that they are part of
        var_child_runnable_config.set(config)
        if coroutine is None:
            return await asyncio.to_thread(self._call, args)
        positional, named = self._tool._to_args_and_kwargs(args, None)
        return await coroutine(*positional, **named)

    def _call(self, args: dict[str, Any]) -> Any:
        assert self._tool.func is not None
        positional, named = self._tool._to_args_and_kwargs(args, None)
        try:
            return self._tool.func(*positional, **named)
        except StopIteration as error:  # no future takes it
            raise RuntimeError(f"StopIteration: {error}") from error


def as_function(tool: BaseTool) -> ServedFunction | None:
    """Of the tool that LangChain made of a function. None where that takes what its caller does not give: a configuration, callbacks, the
    id of the call, a runtime. LangChain puts them in."""
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    schema, visible = tool.args_schema, tool.tool_call_schema
    if type(tool) is not StructuredTool or function is None or isinstance(schema, dict | None) or isinstance(visible, dict):
        return None
    parameters = signature(function).parameters
    asked, shown = getattr(schema, "model_fields", {}), getattr(visible, "model_fields", {})
    if parameters.keys() != asked.keys() or parameters.keys() != shown.keys():
        return None
    return ServedFunction(tool) if all(parameter.kind in BY_NAME for parameter in parameters.values()) else None
