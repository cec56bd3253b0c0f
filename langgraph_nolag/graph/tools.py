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
from ..patterns.tools import CALL_TIMEOUT, Tools, calls_keyed
from .execution import execution_key
from .rooms import room_here

Outcome = ToolMessage | Command[Any]


def remote_tools(room: Any, *, token: str | None = None, timeout: float = CALL_TIMEOUT) -> list[BaseTool]:
    """The tools that the room has now, as LangChain tools for `create_agent`, `ToolNode` and `bind_tools`.

    Each call goes to one of the processes that serve the tool then. It raises `ToolNotFound` at once when nobody does, `ToolFailed`
    when the tool raised, and `TaskTimeout`; `ToolNode(…, handle_tool_errors=True)` makes messages for the model of them.

    Args:
        room: a room handle, a joined room, or an address.
        token: for an address.
        timeout: seconds that a call may take.
    """
    return Tools(open_room(room, token=token)).list_blocking(timeout=timeout)


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
        return node(Tools(room_here(room)).list_blocking(timeout=timeout), config).invoke(state, config)

    async def arun(state: Any, config: RunnableConfig) -> Any:
        return await node(await Tools(room_here(room)).list(timeout=timeout), config).ainvoke(state, config)

    return RunnableLambda(run, arun, name=name)
