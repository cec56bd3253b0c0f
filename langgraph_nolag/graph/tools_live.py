"""Tools that come and go while an agent runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

try:
    from langchain.agents.middleware import AgentMiddleware
    from langchain.agents.middleware.types import ModelRequest, ModelResponse
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("live_tools is middleware for LangChain's agents: pip install 'langgraph-nolag[agents]'") from error
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from ..client.rooms import open_room
from ..errors import ToolNotFound
from ..patterns.tool_calls import CALL_TIMEOUT
from ..patterns.tool_proxy import facts_of
from ..patterns.tools import Tools
from .rooms import room_here


def live_tools(room: Any = None, *, token: str | None = None, timeout: float = CALL_TIMEOUT, handle_tool_error: Any = True) -> LiveTools:
    """Middleware for `create_agent`: the model is offered the tools that the room has at that moment, each time it is asked.

    A tool that joins during a run is there for the model's next turn, one that left is not; a call of one that left meanwhile is answered
    with a `ToolMessage(status="error")`. An agent's own tool comes before one of the room with the same name.

    Args:
        room: a room handle, a joined room, an address, or None: the room of the distributed graph.
        token: for an address.
        timeout: seconds that a call may take.
        handle_tool_error: what becomes of failures of a call: a message for the model; see `RemoteTool`.
    """
    return LiveTools(room, token, timeout, handle_tool_error)


class LiveTools(AgentMiddleware[Any, Any]):
    """See `live_tools`. The room is asked before each turn of the model, and for each call of a tool that is not the agent's own."""

    def __init__(self, room: Any, token: str | None, timeout: float, handle_tool_error: Any) -> None:
        super().__init__()
        self.tools = []
        self._room = room if token is None else open_room(room, token=token)
        self._terms = {"timeout": timeout, "handle_tool_error": handle_tool_error}

    def _found(self) -> list[BaseTool]:
        return Tools(room_here(self._room)).list_blocking(**self._terms)

    async def _afound(self) -> list[BaseTool]:
        return await Tools(room_here(self._room)).list(**self._terms)

    # --- the model is asked ---------------------------------------------------------------------------------

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any]:
        return handler(_offering(request, self._found()))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        return await handler(_offering(request, await self._afound()))

    # --- a tool is called -----------------------------------------------------------------------------------

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        if request.tool is not None:
            return handler(request)
        answer = _called(request, self._found(), handler)
        return _gone(request) if answer is None else answer

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        if request.tool is not None:
            return await handler(request)
        answering = _called(request, await self._afound(), handler)
        return _gone(request) if answering is None else await answering


def _offering(request: ModelRequest[Any], found: list[BaseTool]) -> ModelRequest[Any]:
    own = {tool.name for tool in request.tools if isinstance(tool, BaseTool)}
    return request.override(tools=[*request.tools, *(tool for tool in found if tool.name not in own)])


def _called(request: ToolCallRequest, found: list[BaseTool], handler: Callable[[ToolCallRequest], Any]) -> Any:
    """What the room's tool of that name answers, or None: it has none."""
    named = {tool.name: tool for tool in found}
    tool = named.get(request.tool_call["name"])
    return None if tool is None else handler(request.override(tool=tool))


def _gone(request: ToolCallRequest) -> ToolMessage:
    name = request.tool_call["name"]
    error = ToolNotFound(f"nobody serves the tool {name!r} now")
    return ToolMessage(str(error), artifact=facts_of(error), tool_call_id=request.tool_call["id"], name=name, status="error")
