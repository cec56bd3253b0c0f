"""LangChain's callbacks, from a remote body to the handlers on the orchestrator.

A handler on the worker forwards every event; the orchestrator hands it to its own handlers, so that tracers and `astream_events`
see one run tree. Run ids of the orchestrator never reach the worker: there, events have a
placeholder as their parent, and an orchestrator that attaches after a crash puts its own id in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent

from .._compat import streaming_markers, wants_stream_events
from .twins import deliver, mark, marks, twin

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

GRAPH_EVENTS: Final = ("on_interrupt", "on_resume")
"""LangGraph's own events, for its own kind of handler."""
STREAMED: Final = "streamed"
"""Not a callback: what a twin of one of LangGraph's own handlers says (`twins.py`)."""
TAPPED: Final = "tapped"
"""Not a callback either: a chunk that a run streams, for handlers that listen to that (`astream_events`)."""

OF_A_RUN: Final = ("tags", "inheritable_tags", "metadata", "inheritable_metadata")
"""What a callback manager knows of the run that it is of."""

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


class Tapper(Forwarder):
    """Sends away too what runs stream, chunk by chunk: for handlers that ask for it."""

    async def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for chunk in output:
            self._emit([TAPPED, [run_id, chunk], {}])
            yield chunk

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        for chunk in output:
            self._emit([TAPPED, [run_id, chunk], {}])
            yield chunk


_FORWARDERS: Final = (Forwarder, *(type(f"Tapper{kind}", (Tapper, *streaming_markers(kind)), {}) for kind in (1, 2)))


class Taps:
    """On the orchestrator: what runs on the worker stream, through the handlers that ask for it, as if they ran here."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, UUID], tuple[deque[Any], AsyncIterator[Any]]] = {}

    async def show(self, handlers: Sequence[BaseCallbackHandler], run_id: UUID, chunk: Any) -> None:
        for handler in handlers:
            if wants_stream_events([handler]):
                tap: Any = handler
                key = id(handler), run_id
                if key not in self._open:
                    chunks: deque[Any] = deque()
                    self._open[key] = chunks, aiter(tap.tap_output_aiter(run_id, _taken(chunks)))
                chunks, through = self._open[key]
                chunks.append(chunk)
                await anext(through)


async def _taken(chunks: deque[Any]) -> AsyncIterator[Any]:
    while True:
        yield chunks.popleft()


class GraphForwarder(GraphCallbackHandler):
    """Where somebody listens to graphs: pauses and resumptions of those that a body runs by itself."""

    run_inline = True

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        self._emit(["on_interrupt", [event], {}])

    def on_resume(self, event: GraphResumeEvent) -> None:
        self._emit(["on_resume", [event], {}])


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """The handlers in a config's `callbacks`."""
    return list(callbacks.handlers) if isinstance(callbacks, BaseCallbackManager) else list(callbacks or [])


def _others(callbacks: Any) -> list[BaseCallbackHandler]:
    """All but those that have twins."""
    return [handler for handler in handlers_of(callbacks) if mark(handler) is None]


def _of_graphs(callbacks: Any) -> list[BaseCallbackHandler]:
    return [handler for handler in handlers_of(callbacks) if isinstance(handler, GraphCallbackHandler)]


def describe(callbacks: Any) -> dict[str, Any] | None:
    """What the worker needs to know of the orchestrator's callbacks; None when nobody listens."""
    handlers = handlers_of(callbacks)
    if not handlers:
        return None
    others = _others(callbacks)
    facts: dict[str, Any] = {"twins": marks(handlers), "streaming": wants_stream_events(others) if others else None}
    facts["graph"] = bool(_of_graphs(callbacks))
    for name in OF_A_RUN:
        value = getattr(callbacks, name, None)
        facts[name] = dict(value or {}) if name.endswith("metadata") else list(value or ())
    return facts


def run_of(callbacks: Any) -> dict[str, Any] | None:
    """On the worker: the run of its own that these callbacks are of; None: they are the body's."""
    if not isinstance(callbacks, BaseCallbackManager) or callbacks.parent_run_id in (None, PARENT):
        return None
    return {name: getattr(callbacks, name) for name in ("parent_run_id", *OF_A_RUN)}


def inside(callbacks: Any, run: dict[str, Any] | None) -> Any:
    """On the orchestrator: the callbacks of a body, for what happens in a run that the worker has begun."""
    if run is None or not isinstance(callbacks, BaseCallbackManager):
        return callbacks
    made = callbacks.copy()
    for name, value in run.items():
        setattr(made, name, value)
    return made


def forwarding_manager(facts: dict[str, Any] | None, emit: Emit) -> CallbackManager:
    """The callback manager of a remote body."""
    if facts is None:
        return CallbackManager([])
    handlers = [twin(marked, lambda what, args: emit([STREAMED, [what, args], {}])) for marked in facts["twins"]]
    if facts["streaming"] is not None:
        handlers.append(_FORWARDERS[facts["streaming"]](emit))  # after the twins: they write into what the others are shown
    if facts["graph"]:
        handlers.append(GraphForwarder(emit))
    return CallbackManager(
        handlers,
        [*handlers],
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
    if name == STREAMED:
        deliver(handlers_of(callbacks), *args)
    elif name in GRAPH_EVENTS:
        handle_event(_of_graphs(callbacks), name, None, *args)
    elif name in IGNORED_BY:
        handle_event(_others(callbacks), name, IGNORED_BY[name], *args, **_adopted(kwargs, callbacks))


async def areplay(callbacks: Any, event: Sequence[Any], taps: Taps) -> None:
    """The same, in an event loop."""
    name, args, kwargs = event
    if name == STREAMED:
        deliver(handlers_of(callbacks), *args)
    elif name in GRAPH_EVENTS:
        await ahandle_event(_of_graphs(callbacks), name, None, *args)
    elif name == TAPPED:
        await taps.show(_others(callbacks), *args)
    elif name in IGNORED_BY:
        await ahandle_event(_others(callbacks), name, IGNORED_BY[name], *args, **_adopted(kwargs, callbacks))
