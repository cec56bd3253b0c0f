"""A tool on the process that serves it: what others are told of it, and one run for a remote caller."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId
from langchain_core.tools import tool as as_tool
from pydantic.fields import FieldInfo

from ..client.body import decode, encode
from ..client.failure import text_of
from ..errors import BadRequest, NotDecodable, NotEncodable, NotSupported, Permanent
from ._compat import shown
from .handed import HandedTask
from .plain import asked
from .tool_calls import CALL_ID, PROGRESS
from .tool_function import as_function
from .tool_seam import Prepare, preparation, report, reporting

log = logging.getLogger("langgraph_nolag")

ABOUT_IT: Final = ("tags", "metadata", "extras")
"""Attributes that its caller's callbacks and models look at."""
AS_IT_IS: Final = (str, bytes, bool, float, type(None))
"""Travel as they are, however large, and are shown the same there."""


def tool_progress(value: Any) -> None:
    """Say how far a tool is, in a tool that a room's caller runs: `tool_progress({"page": 3})`. From sync and async code, never waiting.

    The caller gets it with `on_progress=`; in a graph it is on the streams `custom` and `tools`. Progress is not in the room's log. In a
    tool that nobody called through a room it does nothing.
    """
    report(PROGRESS, value)


def as_base_tool(given: BaseTool | Callable[..., Any]) -> BaseTool:
    """A LangChain tool as it is; a function as the tool that LangChain's `@tool` makes of it."""
    if isinstance(given, BaseTool):
        return given
    if not callable(given):
        raise BadRequest(f"not a tool: {given!r}; expected a LangChain tool or a function")
    made: BaseTool = as_tool(given)
    return made


class ServedTool:
    """One tool that this process serves.

    Args:
        max_attempts: how often one call may be handed out, where processes that run it are lost.

    Raises:
        BadRequest: not a tool.
        NotSupported: it needs what only its caller's process has: state, a store, arguments that no model gives.
    """

    def __init__(self, given: BaseTool | Callable[..., Any], max_attempts: int = 1) -> None:
        self.tool = as_base_tool(given)
        self.name = self.tool.name
        self._max_attempts = max_attempts
        self._kept: set[str] = set()  # what the log knows of
        self._prepare: Prepare = preparation(self.tool)
        ids = _injected(self.tool, InjectedToolCallId)
        hidden = {name: field for name, field in _injected(self.tool, InjectedToolArg).items() if name not in ids}
        if wanted := [name for name, field in hidden.items() if field.is_required()]:
            raise NotSupported(
                f"tool {self.name!r} has arguments that no model gives ({', '.join(wanted)}, InjectedToolArg), and so no call over a room: "
                "give them defaults, or serve a tool that calls this one with them"
            )
        self._hidden = frozenset(hidden)
        self._function = None if isinstance(given, BaseTool) else as_function(self.tool)
        # What a tool does with its own errors, and its artifact, are seen in a message only; the id of its call is in a call only.
        handles = self.tool.handle_tool_error or self.tool.handle_validation_error
        self._wants_call = bool(handles) or self.tool.response_format == "content_and_artifact" or bool(ids)

    def spec(self) -> bytes:
        """What others must know of it: name, description, JSON schema of its arguments, and what its caller's side does with it."""
        schema: Any = self.tool.tool_call_schema
        facts: dict[str, Any] = {
            "name": self.name,
            "description": self.tool.description,
            "args": schema if isinstance(schema, dict) else schema.model_json_schema(),
            "response_format": self.tool.response_format,
            "return_direct": self.tool.return_direct,
            "max_attempts": self._max_attempts,
            "call_id": self._function is None,  # a plain function does not see it
        }
        for what in ABOUT_IT:
            if (value := getattr(self.tool, what)) is not None:
                facts[what] = self._carried(what, value)
        return encode(facts)

    async def run(self, task: HandedTask) -> dict[str, Any]:
        """Run it for a remote caller: `{content, shown?, artifact?, status?}`.

        Raises:
            Permanent: what it raised, as the cause: a tool that failed is not tried again.
        """
        try:
            return await self._run(task)
        except Exception as error:
            raise Permanent(text_of(error)) from error

    async def _run(self, task: HandedTask) -> dict[str, Any]:
        if not isinstance(task.payload, dict):
            raise BadRequest(f"the arguments of {self.name} must be a map, not {type(task.payload).__name__}")
        reporting.set(functools.partial(_say, task))
        given = {name: value for name, value in task.payload.items() if name not in self._hidden}
        id = str(given.pop(CALL_ID, task.id))  # what it calls its call: the model's, where a model did
        args, config = self._prepare(given, id)
        result = await self._invoke(id, args, config)
        if isinstance(result, ToolMessage):
            return self._of_message(result)
        if isinstance(result, ToolOutputMixin) or (isinstance(result, list) and any(isinstance(each, ToolOutputMixin) for each in result)):
            raise BadRequest(
                f"{self.name} returned a {type(result).__name__}, which only a tool in its caller's process can: return plain values"
            )
        return _of_value(result)

    def _of_message(self, message: ToolMessage) -> dict[str, Any]:
        answer = _of_value(message.content)
        if message.status != "success":
            answer["status"] = message.status
        if message.artifact is not None:
            answer["artifact"] = self._carried("artifact", message.artifact)
        return answer

    def _carried(self, what: str, value: Any) -> Any:
        """What goes beside the content, its models and data classes as maps of their fields. None, with a word in the log, where that can't
        be: it is no reason for a call to fail."""
        with suppress(NotEncodable, NotDecodable):
            decode(encode(value))
            return value
        try:
            made = asked(value)
            encode(made)
        except Exception as error:  # how an object tells its fields is its own affair
            if what not in self._kept:
                self._kept.add(what)
                log.warning("%s of tool %r (%s) stays in this process: %s", what, self.name, type(value).__qualname__, error)
            return None
        return made

    async def _invoke(self, id: str, args: dict[str, Any], config: RunnableConfig | None) -> Any:
        if self._function is not None:
            return await self._function.run(args, config)
        call = {"type": "tool_call", "id": id, "name": self.name, "args": args}
        return await self.tool.ainvoke(call if self._wants_call else args, config)


def _injected(tool: BaseTool, mark: type[InjectedToolArg]) -> dict[str, FieldInfo]:
    """The arguments that are marked so in what the tool takes."""
    fields: dict[str, FieldInfo] = getattr(tool.get_input_schema(), "model_fields", {})
    return {
        name: field
        for name, field in fields.items()
        if any(isinstance(each, mark) or (isinstance(each, type) and issubclass(each, mark)) for each in field.metadata)
    }


def _say(task: HandedTask, kind: str, value: Any) -> None:
    task.note({kind: _of_value(value)["content"]})


def _of_value(value: Any) -> dict[str, Any]:
    """`content`: a plain value as it is, anything else as what LangChain would show a model. `shown`: that, where it can't be made of what
    arrives, as of a tuple or a time of another zone inside of what is no JSON."""
    if type(value) in AS_IT_IS:
        return {"content": value}
    text = shown(value)
    try:
        arrives = decode(encode(value))
    except (NotEncodable, NotDecodable):
        return {"content": text if isinstance(text, str) else str(value)}
    return {"content": value} if shown(arrives) == text else {"content": value, "shown": text}
