"""A served tool's own function, called without what LangChain does around it, where nobody would notice the difference.

LangChain works out the types and the signature of a tool's function anew at every call, and tells callbacks of it: about 110 µs of CPU,
more than all the rest of a call on the process that serves it. Where nobody is told, what remains to be done is to check the arguments.
"""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.runnables import RunnableConfig, run_in_executor
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel

BY_NAME: Final = frozenset({Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY})


class Direct:
    """A tool that is a function with checked arguments and nothing else; see `direct`."""

    def __init__(self, tool: StructuredTool) -> None:
        self._tool = tool

    @property
    def is_watched(self) -> bool:
        """Whether anybody is told of the tool's runs: callbacks of its own, tracing, debugging."""
        tool = self._tool
        manager = AsyncCallbackManager.configure(None, tool.callbacks, tool.verbose, None, tool.tags, None, tool.metadata)
        return bool(manager.handlers)

    async def run(self, args: dict[str, Any], config: RunnableConfig | None) -> Any:
        """What the function returns. For a context that is this run's own: what the function calls finds the configuration there.

        Raises:
            ValidationError: the arguments are not what it takes.
            Exception: what the function raised.
        """
        tool, config = self._tool, ensure_config(config)
        positional, named = tool._to_args_and_kwargs(args, None)
        var_child_runnable_config.set(config)
        if tool.coroutine is not None:
            return await tool.coroutine(*positional, **named)
        assert tool.func is not None
        return await run_in_executor(config, tool.func, *positional, **named)


def direct(tool: BaseTool) -> Direct | None:
    """None where LangChain does more for the tool than to check its arguments: it makes of its answer or its errors what they are not,
    or gives it what its caller does not (a configuration, callbacks, the id of the call, a state)."""
    if type(tool) is not StructuredTool or (function := tool.coroutine or tool.func) is None:
        return None
    if tool.handle_tool_error or tool.handle_validation_error or tool.response_format != "content":
        return None
    schema, visible = tool.args_schema, tool.tool_call_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel) and isinstance(visible, type) and issubclass(visible, BaseModel)):
        return None
    parameters = signature(function).parameters
    takes_what_is_asked = parameters.keys() == schema.model_fields.keys() == visible.model_fields.keys()
    by_name = all(parameter.kind in BY_NAME for parameter in parameters.values())
    return Direct(tool) if takes_what_is_asked and by_name else None
