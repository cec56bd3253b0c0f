"""LangChain's callbacks as events of a room."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from langgraph.callbacks import GraphCallbackHandler

from ..client.body import encode
from ..client.rooms import open_room
from ..errors import BufferFull, NoLagError, NotEncodable
from ..patterns.plain import plain

log = logging.getLogger("langgraph_nolag")

LARGEST: Final = 48 * 1024  # bytes of an event's body; of a larger one the beginning of each field is kept
SHOWN: Final = 2000  # characters of a field that is cut
FLUSH: Final = 30.0  # seconds

EVENTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "on_llm_start": ("langchain.llm.start", ("serialized", "prompts")),
    "on_chat_model_start": ("langchain.chat_model.start", ("serialized", "messages")),
    "on_llm_new_token": ("langchain.llm.new_token", ("token",)),
    "on_stream_event": ("langchain.llm.stream_event", ("event",)),
    "on_llm_end": ("langchain.llm.end", ("response",)),
    "on_llm_error": ("langchain.llm.error", ("error",)),
    "on_chain_start": ("langchain.chain.start", ("serialized", "inputs")),
    "on_chain_end": ("langchain.chain.end", ("outputs",)),
    "on_chain_error": ("langchain.chain.error", ("error",)),
    "on_tool_start": ("langchain.tool.start", ("serialized", "input_str")),
    "on_tool_end": ("langchain.tool.end", ("output",)),
    "on_tool_error": ("langchain.tool.error", ("error",)),
    "on_retriever_start": ("langchain.retriever.start", ("serialized", "query")),
    "on_retriever_end": ("langchain.retriever.end", ("documents",)),
    "on_retriever_error": ("langchain.retriever.error", ("error",)),
    "on_agent_action": ("langchain.agent.action", ("action",)),
    "on_agent_finish": ("langchain.agent.finish", ("finish",)),
    "on_text": ("langchain.text", ("text",)),
    "on_retry": ("langchain.retry", ("retry_state",)),
    "on_custom_event": ("langchain.custom_event", ("name", "data")),
    "on_interrupt": ("langgraph.interrupt", ("event",)),
    "on_resume": ("langgraph.resume", ("event",)),
}
"""Each callback: its event's type, and what its positional arguments are called in the body."""
LEFT_OUT: Final = ("serialized", "color", "chunk")  # the object itself, and what says the same again


class ObserveCallbackHandler(GraphCallbackHandler):
    """Puts every LangChain callback on the room's events: `graph.invoke(input, {"callbacks": [ObserveCallbackHandler(room)]})`.

    The events are `langchain.chain.start`, `langchain.tool.end`, `langchain.llm.new_token` and so on, and LangGraph's own
    `langgraph.interrupt` and `langgraph.resume`, in the order in which they happened. Their bodies are plain: `run_id`, `parent_run_id`,
    `name`, `tags`, `metadata`, and what the callback was given. What runs on workers is told by the process that invokes the graph.

    It never waits, and never stops what it watches. While the broker is away events wait in the connection's buffer; when that is full
    they are dropped, and the log and `dropped` say so. `flush()` waits until all are on disk.

    Args:
        room: a room handle, a joined room, or an address.
        token: for an address.
        tokens: False: no event for each token of a model; a token is a row of the room's log like any other event.

    Attributes:
        dropped: events that were not put on the log.
    """

    run_inline = True  # in the order in which they happen

    def __init__(self, room: Any, *, token: str | None = None, tokens: bool = True) -> None:
        self._link = open_room(room, token=token)
        self._tokens = tokens
        self._lock = threading.Lock()
        self._last: concurrent.futures.Future[Any] | None = None
        self.dropped = 0

    def _emit(self, callback: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._tokens and callback in ("on_llm_new_token", "on_stream_event"):
            return
        type, names = EVENTS[callback]
        fields = {**dict(zip(names, args, strict=False)), **kwargs}
        body = {name: plain(value) for name, value in fields.items() if value is not None and name not in LEFT_OUT}
        severity = "error" if type.endswith(".error") else "debug" if callback in ("on_llm_new_token", "on_stream_event") else "info"
        try:
            with self._lock:  # what is sent last is answered last
                self._last = sent = self._link.request("event.emit", type=type, severity=severity, body=_bounded(body))
        except BufferFull as error:
            self._drop(type, error)
        else:
            sent.add_done_callback(lambda answered: self._answered(type, answered))

    def _answered(self, type: str, answered: concurrent.futures.Future[Any]) -> None:
        if not answered.cancelled() and isinstance(error := answered.exception(), NoLagError):
            self._drop(type, error)

    def _drop(self, type: str, error: NoLagError) -> None:
        with self._lock:
            self.dropped += 1
            first = self.dropped == 1
        if first:
            log.warning("%s and perhaps more is not on the log of room %s: %s", type, self._link.room, error)

    def flush(self, timeout: float = FLUSH) -> None:
        """Wait until everything that happened so far is on disk, or was dropped. Raises `TimeoutError`."""
        self._link.connection.io.check_may_block()
        if (last := self._last) is not None:
            concurrent.futures.wait([last], timeout)
            if not last.done():
                raise TimeoutError(f"events are not on the log of room {self._link.room} within {timeout:g} s")

    async def aflush(self, timeout: float = FLUSH) -> None:
        """`flush` for async code."""
        if (last := self._last) is not None:
            done, _ = await asyncio.wait({asyncio.wrap_future(last)}, timeout=timeout)
            if not done:
                raise TimeoutError(f"events are not on the log of room {self._link.room} within {timeout:g} s")
            for each in done:
                each.exception()  # told already


def _telling(callback: str) -> Callable[..., None]:
    def tell(self: ObserveCallbackHandler, *args: Any, **kwargs: Any) -> None:
        self._emit(callback, args, kwargs)

    tell.__name__ = callback
    return tell


for _callback in EVENTS:
    setattr(ObserveCallbackHandler, _callback, _telling(_callback))


def _bounded(body: dict[str, Any]) -> bytes:
    try:
        packed = encode(body)
    except NotEncodable:
        packed = b""
    if packed and len(packed) <= LARGEST:
        return packed
    return encode(
        {name: value if isinstance(value, str) and len(value) < 100 else repr(value)[:SHOWN] for name, value in body.items()}
        | {"cut": True}
    )
