"""Tools that come and go while an agent runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import takewhile
from typing import Any, Final

try:
    from langchain.agents.middleware import AgentMiddleware
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, hook_config
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

DIRECT: Final = "return_direct"  # in an answer's `response_metadata`, which no model is shown


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
    """See `live_tools`. The room is asked before each turn of the model, and for each call of a tool that is not the agent's own.

    That a tool's answer is the agent's (`return_direct`) LangChain knows of the agent's own tools only: answers of the room's are marked,
    and the agent ends before the model's next turn.
    """

    def __init__(self, room: Any, token: str | None, timeout: float, handle_tool_error: Any) -> None:
        super().__init__()
        self.tools = []
        self._room = room if token is None else open_room(room, token=token)
        self._terms = {"timeout": timeout, "handle_tool_error": handle_tool_error}

    def _found(self) -> list[BaseTool]:
        return Tools(room_here(self._room)).list_blocking(**self._terms)

    async def _afound(self) -> list[BaseTool]:
        return await Tools(room_here(self._room)).list(**self._terms)

    # --- the model's turn comes -----------------------------------------------------------------------------

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        answers = list(takewhile(lambda message: isinstance(message, ToolMessage), reversed(state["messages"])))
        return {"jump_to": "end"} if answers and all(answer.response_metadata.get(DIRECT) for answer in answers) else None

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        return self.before_model(state, runtime)

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
        tool = _named(request, self._found())
        return _gone(request) if tool is None else _marked(tool, handler(request.override(tool=tool)))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        if request.tool is not None:
            return await handler(request)
        tool = _named(request, await self._afound())
        return _gone(request) if tool is None else _marked(tool, await handler(request.override(tool=tool)))


def _offering(request: ModelRequest[Any], found: list[BaseTool]) -> ModelRequest[Any]:
    own = {tool.name for tool in request.tools if isinstance(tool, BaseTool)}
    return request.override(tools=[*request.tools, *(tool for tool in found if tool.name not in own)])


def _named(request: ToolCallRequest, found: list[BaseTool]) -> BaseTool | None:
    return next((tool for tool in found if tool.name == request.tool_call["name"]), None)


def _marked(tool: BaseTool, answer: ToolMessage | Command[Any]) -> ToolMessage | Command[Any]:
    if not tool.return_direct or not isinstance(answer, ToolMessage):
        return answer
    return answer.model_copy(update={"response_metadata": {**answer.response_metadata, DIRECT: True}})


def _gone(request: ToolCallRequest) -> ToolMessage:
    name = request.tool_call["name"]
    error = ToolNotFound(f"nobody serves the tool {name!r} now")
    return ToolMessage(str(error), artifact=facts_of(error), tool_call_id=request.tool_call["id"], name=name, status="error")
