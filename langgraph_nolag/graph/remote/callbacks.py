"""LangChain's callbacks, from a remote body to the handlers on the orchestrator.

The worker's only handler forwards every event; the orchestrator hands it to its own handlers, so that tracers, token
streams and `astream_events` see one run tree. Run ids of the orchestrator never reach the worker: there, events have a
placeholder as their parent, and an orchestrator that attaches after a crash puts its own id in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Token
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event

from .._compat import streaming_markers, tool_call_writer, tool_output_delta, wants_stream_events, wants_tool_events

PARENT: Final = UUID("6e6f6c61-6700-4000-8000-000000000001")

IGNORED_BY: Final[dict[str, str | None]] = {
    "on_llm_start": "ignore_llm",
    "on_chat_model_start": "ignore_chat_model",
    "on_llm_new_token": "ignore_llm",
    "on_llm_end": "ignore_llm",
    "on_llm_error": "ignore_llm",
    "on_stream_event": "ignore_llm",
    "on_chain_start": "ignore_chain",
    "on_chain_end": "ignore_chain",
    "on_chain_error": "ignore_chain",
    "on_tool_start": "ignore_agent",
    "on_tool_end": "ignore_agent",
    "on_tool_error": "ignore_agent",
    "on_agent_action": "ignore_agent",
    "on_agent_finish": "ignore_agent",
    "on_retriever_start": "ignore_retriever",
    "on_retriever_end": "ignore_retriever",
    "on_retriever_error": "ignore_retriever",
    "on_retry": "ignore_retry",
    "on_text": None,
    "on_custom_event": "ignore_custom_event",
}
"""Every event, and the attribute by which a handler says that it does not want it."""

OUTPUT_DELTA: Final = "output_delta"
"""Not a callback: a part of a tool's output, for LangGraph's `tools` stream."""

Emit = Callable[[Any], None]


class Forwarder(BaseCallbackHandler):
    """Sends every event away; in the order they happen, so it never runs in a pool."""

    run_inline = True

    def __init__(self, emit: Emit) -> None:
        self._emit = emit


def _forwarding(event: str) -> Callable[..., None]:
    def forward(self: Forwarder, *args: Any, **kwargs: Any) -> None:
        self._emit([event, list(args), kwargs])

    forward.__name__ = event
    return forward


for _event in IGNORED_BY:
    setattr(Forwarder, _event, _forwarding(_event))


class ToolForwarder(Forwarder):
    """Where somebody reads the `tools` stream: what a tool says of its output goes there too, as from a tool that runs beside them."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit)
        self._running: dict[UUID, Token[Any]] = {}

    def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        run = kwargs["run_id"]
        self._running[run] = tool_call_writer.set(lambda delta: self._emit([OUTPUT_DELTA, [run, delta], {}]))
        self._emit(["on_tool_start", list(args), kwargs])

    def on_tool_end(self, *args: Any, **kwargs: Any) -> None:
        self._over(kwargs["run_id"])
        self._emit(["on_tool_end", list(args), kwargs])

    def on_tool_error(self, *args: Any, **kwargs: Any) -> None:
        self._over(kwargs["run_id"])
        self._emit(["on_tool_error", list(args), kwargs])

    def _over(self, run: UUID) -> None:
        token = self._running.pop(run, None)
        if token is not None:
            with suppress(ValueError):  # it ends in another context than it began in
                tool_call_writer.reset(token)


_FORWARDERS: Final = {
    (kind, base): type(f"{base.__name__}{kind}", (base, *streaming_markers(kind)), {})
    for kind in range(3)
    for base in (Forwarder, ToolForwarder)
}


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """The handlers in a config's `callbacks`."""
    return list(callbacks.handlers) if isinstance(callbacks, BaseCallbackManager) else list(callbacks or [])


def describe(callbacks: Any) -> dict[str, Any] | None:
    """What the worker needs to know of the orchestrator's callbacks; None when nobody listens."""
    handlers = handlers_of(callbacks)
    if not handlers:
        return None
    facts: dict[str, Any] = {"streaming": wants_stream_events(handlers), "tools": wants_tool_events(handlers)}
    for name in ("tags", "inheritable_tags", "metadata", "inheritable_metadata"):
        value = getattr(callbacks, name, None)
        facts[name] = dict(value or {}) if name.endswith("metadata") else list(value or ())
    return facts


def forwarding_manager(facts: dict[str, Any] | None, emit: Emit) -> CallbackManager:
    """The callback manager of a remote body."""
    if facts is None:
        return CallbackManager([])
    handler: BaseCallbackHandler = _FORWARDERS[facts["streaming"], ToolForwarder if facts["tools"] else Forwarder](emit)
    return CallbackManager(
        [handler],
        [handler],
        parent_run_id=PARENT,
        tags=facts["tags"],
        inheritable_tags=facts["inheritable_tags"],
        metadata=facts["metadata"],
        inheritable_metadata=facts["inheritable_metadata"],
    )


def _adopted(kwargs: dict[str, Any], callbacks: Any) -> dict[str, Any]:
    parent = getattr(callbacks, "parent_run_id", None)
    return {name: parent if value == PARENT else value for name, value in kwargs.items()}


def replay(callbacks: Any, event: Sequence[Any]) -> None:
    """Hand one forwarded event to the orchestrator's handlers."""
    name, args, kwargs = event
    if name == OUTPUT_DELTA:
        tool_output_delta(handlers_of(callbacks), *args)
    elif name in IGNORED_BY:
        handle_event(handlers_of(callbacks), name, IGNORED_BY[name], *args, **_adopted(kwargs, callbacks))


async def areplay(callbacks: Any, event: Sequence[Any]) -> None:
    """The same, in an event loop."""
    name, args, kwargs = event
    if name == OUTPUT_DELTA:
        tool_output_delta(handlers_of(callbacks), *args)
    elif name in IGNORED_BY:
        await ahandle_event(handlers_of(callbacks), name, IGNORED_BY[name], *args, **_adopted(kwargs, callbacks))
