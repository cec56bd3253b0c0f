"""Tools of the room, in graphs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from ..client.rooms import open_room
from ..patterns.tool_calls import CALL_TIMEOUT, calls_keyed
from ..patterns.tools import Tools
from .execution import execution_key
from .rooms import room_here

Outcome = ToolMessage | Command[Any]


def remote_tools(room: Any, *, token: str | None = None, timeout: float = CALL_TIMEOUT, handle_tool_error: Any = True) -> list[BaseTool]:
    """The tools that the room has now, as LangChain tools for `create_agent`, `ToolNode` and `bind_tools`.

    Each call goes to one of the processes that serve the tool then. In an agent or a `ToolNode` a call that fails is answered with a
    `ToolMessage(status="error")`, whose artifact holds the error's code and type; called with plain arguments it raises `ToolNotFound` at
    once when nobody serves it, `ToolFailed` when the tool raised or its process died, and `TaskTimeout`. What the tool says while it runs
    is on the graph's streams `custom` and `tools`.

    Args:
        room: a room handle, a joined room, or an address.
        token: for an address.
        timeout: seconds that a call may take, waiting for a free server included.
        handle_tool_error: as of LangChain's tools: False: failures are raised always; a text or a function: what the model is told.
    """
    return Tools(open_room(room, token=token)).list_blocking(timeout=timeout, handle_tool_error=handle_tool_error)


def tools_node(
    room: Any = None,
    *,
    name: str = "tools",
    messages_key: str = "messages",
    handle_tool_errors: Any = True,
    timeout: float = CALL_TIMEOUT,
) -> Runnable[Any, Any]:
    """A node like `ToolNode`, for the tools that the room has when the node runs.

    A second run of the same node execution attaches to the calls of the first, running or done; those that had failed are made again.

    Args:
        room: a room handle, a joined room, an address, or None: the room of the distributed graph.
        name, messages_key: as of `ToolNode`.
        handle_tool_errors: as of `ToolNode`; by default every error becomes a message for the model.
        timeout: seconds that a call may take.
    """

    def node(tools: list[BaseTool], config: RunnableConfig) -> ToolNode:
        def keyed(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Outcome]) -> Outcome:
            with calls_keyed(execution_key(config, str(request.tool_call["id"]))):
                return execute(request)

        async def akeyed(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Awaitable[Outcome]]) -> Outcome:
            with calls_keyed(execution_key(config, str(request.tool_call["id"]))):
                return await execute(request)

        return ToolNode(
            tools, name=name, messages_key=messages_key, handle_tool_errors=handle_tool_errors, wrap_tool_call=keyed, awrap_tool_call=akeyed
        )

    def run(state: Any, config: RunnableConfig) -> Any:
        return node(Tools(room_here(room)).list_blocking(timeout=timeout, handle_tool_error=False), config).invoke(state, config)

    async def arun(state: Any, config: RunnableConfig) -> Any:
        return await node(await Tools(room_here(room)).list(timeout=timeout, handle_tool_error=False), config).ainvoke(state, config)

    return RunnableLambda(run, arun, name=name)
