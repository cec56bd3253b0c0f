"""A tool of the room as a LangChain tool: run by whoever serves it.

Annotations are not put off here: LangChain evaluates those of a tool's methods at each call.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final, Self

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, create_model

from ..client.body import decode
from ..client.link import RoomLink
from ..errors import NoLagError, NotDecodable, TaskFailed
from .tool_calls import CALL_ID, CALL_TIMEOUT, Outcome, call, call_blocking, key_here
from .tool_seam import listening

NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
TYPES: Final[dict[str, Any]] = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


class RemoteTool(BaseTool):
    """A tool that another process serves. Sync and async; arguments are checked where it runs.

    Called with a tool call, as graphs and agents do, it answers failures with `ToolMessage(status="error")`, whose artifact says what
    kind it was: `{code, retryable, maybe_applied}`, and `{error_type, error_message}` where the tool itself raised. Called with plain
    arguments it raises them. `handle_tool_error` is LangChain's: False raises always, a text or a function says what the model is told.

    Attributes:
        timeout: seconds that a call may take, waiting for a free server included.
        max_attempts: as its server said.
    """

    timeout: float = CALL_TIMEOUT
    max_attempts: int = 1
    _link: RoomLink = PrivateAttr()
    _takes_call_id: bool = PrivateAttr(False)

    @classmethod
    def of(cls, link: RoomLink, name: str, spec: bytes | None, timeout: float, handle_tool_error: Any) -> Self:
        """The tool that a server described.

        Raises:
            NotDecodable: it did so in a way that is not understood here.
        """
        facts = decode(spec) or {}
        args = facts.get("args") if isinstance(facts, dict) else None
        if not isinstance(facts, dict) or not isinstance(args, dict | None) or not isinstance((args or {}).get("properties", {}), dict):
            raise NotDecodable(f"tool {name!r} is described in a way that is not understood here")
        try:
            made = cls(
                name=name,
                description=str(facts.get("description") or ""),
                args_schema={**NO_ARGUMENTS, **(args or {})},
                response_format="content_and_artifact" if facts.get("response_format") == "content_and_artifact" else "content",
                return_direct=bool(facts.get("return_direct")),
                tags=facts.get("tags"),
                metadata=facts.get("metadata"),
                extras=facts.get("extras"),
                handle_tool_error=handle_tool_error,
                timeout=timeout,
                max_attempts=int(facts.get("max_attempts") or 1),
            )
        except (TypeError, ValueError) as error:  # pydantic's too
            raise NotDecodable(f"tool {name!r} is described in a way that is not understood here: {error}") from error
        made._link, made._takes_call_id = link, bool(facts.get("call_id"))
        return made

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """A model of the arguments, made of their JSON schema: its top level only."""
        return self._model

    @functools.cached_property
    def _model(self) -> type[BaseModel]:
        assert isinstance(self.args_schema, dict)
        return _model_of(self.name, self.args_schema)

    def _to_args_and_kwargs(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional, so that the tool may have arguments of any name."""
        if not isinstance(tool_input, dict):
            properties = list(self.args)
            if len(properties) != 1:
                raise ValueError(f"tool {self.name!r} takes its arguments as a map, not as text")
            tool_input = {properties[0]: tool_input}
        return (dict(tool_input), tool_call_id), {}

    def _run(self, args: dict[str, Any], tool_call_id: str | None, /, *, config: RunnableConfig) -> Any:
        try:
            return self._give(
                call_blocking(self._link, self.name, self._sent(args, tool_call_id), **self._terms(args, tool_call_id, config)),
                tool_call_id,
            )
        except NoLagError as error:
            return self._refused(error, tool_call_id)

    async def _arun(self, args: dict[str, Any], tool_call_id: str | None, /, *, config: RunnableConfig) -> Any:
        try:
            return self._give(
                await call(self._link, self.name, self._sent(args, tool_call_id), **self._terms(args, tool_call_id, config)), tool_call_id
            )
        except NoLagError as error:
            return self._refused(error, tool_call_id)

    def _sent(self, args: dict[str, Any], tool_call_id: str | None) -> dict[str, Any]:
        return args if tool_call_id is None or not self._takes_call_id else {**args, CALL_ID: tool_call_id}

    def _terms(self, args: dict[str, Any], tool_call_id: str | None, config: RunnableConfig) -> dict[str, Any]:
        key = None if tool_call_id is None else key_here(tool_call_id, self.name, args)
        return {"timeout": self.timeout, "max_attempts": self.max_attempts, "key": key, "on_progress": listening(config)}

    def _give(self, answer: Outcome, tool_call_id: str | None) -> Any:
        content, artifact = answer["content"], answer.get("artifact")
        if tool_call_id is not None:
            content = answer.get("shown", content)
        if tool_call_id is not None and answer.get("status") == "error":
            content = ToolMessage(content, artifact=artifact, tool_call_id=tool_call_id, name=self.name, status="error")
        return self._shaped(content, artifact)

    def _refused(self, error: NoLagError, tool_call_id: str | None) -> Any:
        if tool_call_id is None or self.handle_tool_error is False or self.handle_tool_error is None:
            raise error
        handle = self.handle_tool_error
        content: Any = handle if isinstance(handle, str) else str(error)
        if callable(handle):
            shown = ToolException(str(error))
            shown.__cause__ = error
            content = handle(shown)
        facts = facts_of(error)
        message = ToolMessage(content, artifact=facts, tool_call_id=tool_call_id, name=self.name, status="error")
        return self._shaped(message, facts)

    def _shaped(self, content: Any, artifact: Any) -> Any:
        return (content, artifact) if self.response_format == "content_and_artifact" else content


def facts_of(error: NoLagError) -> dict[str, Any]:
    """What programs must know of a call that failed."""
    facts: dict[str, Any] = {"code": error.code, "retryable": error.retryable, "maybe_applied": error.maybe_applied}
    if isinstance(error, TaskFailed):
        facts |= {"error_type": error.error_type, "error_message": error.error_message}
    return facts


def _model_of(name: str, schema: Mapping[str, Any]) -> type[BaseModel]:
    """Required fields and simple types of a JSON schema; what is deeper is the server's to check."""
    required = set(schema.get("required") or ())
    fields: dict[str, Any] = {}
    for number, (argument, facts) in enumerate((schema.get("properties") or {}).items()):
        known = facts if isinstance(facts, dict) else {}
        kind = TYPES.get(str(known.get("type")), Any)
        default = ... if argument in required else known.get("default")
        if default is None and kind is not Any:
            kind = kind | None
        # Names that pydantic keeps for itself are arguments like any other.
        fields[f"argument_{number}"] = (kind, Field(default, alias=argument))
    base = type("Arguments", (BaseModel,), {"model_config": ConfigDict(extra="allow", populate_by_name=False), "__module__": __name__})
    return create_model(name, __base__=base, **fields)
