"""Tools: any process registers LangChain tools at run time; any agent lists, binds and calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool

from ..client.callables import check_callback
from ..client.link import RoomLink
from ..errors import BadRequest, NotDecodable
from .handed import HandedTask
from .serving import Serving
from .tool_calls import CALL_TIMEOUT, call
from .tool_proxy import RemoteTool
from .tool_serving import ServedTool

log = logging.getLogger("langgraph_nolag")

BaseTools = list[BaseTool]  # in the class, `list` is the method


class Tools:
    """`room.tools`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    def serve(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        capabilities: Sequence[str] = (),
        concurrency: int = 8,
        max_attempts: int = 1,
        drain: float = 10.0,
    ) -> Serving:
        """Offer tools to the room: `async with room.tools.serve([search, lookup]): …`.

        In a tool, `tool_progress(value)` says how far it is; so do LangGraph's `get_stream_writer()` and `ToolRuntime`. A caller's state
        and store are not there: only its arguments travel.

        Args:
            tools: LangChain tools, or functions with a docstring and annotations. A function is called as one, with its arguments checked:
                no callback of LangChain's hears of it on this side, and a call takes a quarter of the CPU there.
            capabilities: what these tools' callers may ask for.
            concurrency: calls at a time. Sync tools run on threads.
            max_attempts: how often one call may be handed out when the process that runs it is lost. 1: the caller is told, and knows that
                the tool may have done its work. More, for tools that may run again: another process that serves it takes over. A tool that
                raised is never tried again.
            drain: seconds that running calls have when serving ends.

        Raises:
            BadRequest: two tools have the same name, or one is no tool.
            NotSupported: a tool asks for its caller's state or store, or has an `InjectedToolArg` without a default.
        """
        named: dict[str, ServedTool] = {}
        for given in tools:
            served = ServedTool(given, max_attempts)
            if served.name in named:
                raise BadRequest(f"two tools are called {served.name!r}")
            named[served.name] = served

        async def run(task: HandedTask) -> Any:
            return await named[task.type].run(task)

        return Serving(
            self._link,
            run,
            kind="tool",
            types=list(named),
            capabilities=capabilities,
            concurrency=concurrency,
            specs={name: served.spec() for name, served in named.items()},
            drain=drain,
        )

    async def list(self, *, timeout: float = CALL_TIMEOUT, handle_tool_error: Any = True) -> list[BaseTool]:
        """The room's tools, as LangChain tools for `create_agent`, `ToolNode` and `bind_tools`.

        Args:
            timeout: seconds that each call of them may take.
            handle_tool_error: what becomes of failures of a tool call; see `RemoteTool`.
        """
        return self._proxies(await self._link.acall("tool.list"), timeout, handle_tool_error)

    def list_blocking(self, *, timeout: float = CALL_TIMEOUT, handle_tool_error: Any = True) -> BaseTools:
        """`list` for sync code. Raises `WrongThread` on the SDK's own thread."""
        return self._proxies(self._link.call("tool.list"), timeout, handle_tool_error)

    def _proxies(self, answer: Mapping[str, Any], timeout: float, handle_tool_error: Any) -> BaseTools:
        found: BaseTools = []
        for entry in answer["tools"]:
            try:
                found.append(RemoteTool.of(self._link, entry["name"], entry.get("spec"), timeout, handle_tool_error))
            except NotDecodable as error:  # one server's mistake hides no other tool
                log.warning("a tool of room %s is left out: %s", self._link.room, error)
        return found

    async def invoke(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
        max_attempts: int = 1,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Any:
        """Call a tool.

        Args:
            name: the tool.
            args: its arguments.
            timeout: seconds until the call is over, waiting for a free server included.
            max_attempts: how often the call may be handed out when the process that runs it is lost.
            on_progress: called on this loop with each progress value; not async.

        Raises:
            ToolNotFound: nobody serves it now.
            ToolFailed: it raised; `error_type` and `error_message` are the remote ones. Or the process that ran it is gone: then it is
                `retryable`, and `maybe_applied`.
            TaskTimeout: it took too long.
            RequestTimeout: the broker is away.
            NotEncodable: the arguments are not plain.
        """
        if on_progress is not None:
            check_callback(on_progress, "on_progress")
        told = None if on_progress is None else lambda kind, value: on_progress(value)
        outcome = await call(self._link, name, args or {}, timeout=timeout, max_attempts=max_attempts, on_progress=told)
        return outcome["content"]
