"""LangGraph's handlers behind the stream modes `messages` and `tools`, as a remote body sees them.

They are more than callbacks: a graph that a body runs by itself looks at the class of the handlers that it inherits, and at what they
take; `push_message` and `emit_output_delta` speak to them directly; and they give a message its id before the model returns it. So each
has a twin on the worker, of its own class, which works there. What it would stream goes to the handlers that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackHandler

from .._compat import StreamMessagesHandler, StreamMessagesHandlerV2, StreamToolCallHandler

Tell = Callable[[str, list[Any]], None]

MESSAGE: Final = "message"  # [(namespace, metadata), message, dedupe]
SEEN: Final = "seen"  # [message id]: it came from elsewhere, and is not to be streamed
CHUNK: Final = "chunk"  # [chunk of the stream]


class _Seen(set[Any]):
    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def add(self, item: Any) -> None:
        if item not in self:
            super().add(item)
            self._tell(SEEN, [item])


class _Messages:
    """Over a handler of messages: who has seen a message is for the handlers on the orchestrator to know."""

    seen: set[Any]

    def __init__(self, tell: Tell, subgraphs: bool, parent_ns: tuple[str, ...] | None) -> None:
        super().__init__(lambda chunk: tell(CHUNK, [chunk]), subgraphs, parent_ns=parent_ns)  # type: ignore[call-arg]
        self._tell = tell
        self.seen = _Seen(tell)

    def _emit(self, meta: Any, message: Any, *, dedupe: bool = False) -> None:
        if dedupe and message.id in self.seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        set.add(self.seen, message.id)
        self._tell(MESSAGE, [meta, message, dedupe])


class _MessagesTwin(_Messages, StreamMessagesHandler):
    pass


class _BlocksTwin(_Messages, StreamMessagesHandlerV2):
    pass


class _ToolsTwin(StreamToolCallHandler):
    def __init__(self, tell: Tell, subgraphs: bool, parent_ns: tuple[str, ...] | None) -> None:
        super().__init__(lambda chunk: tell(CHUNK, [chunk]), subgraphs, parent_ns=parent_ns)


_TWINS: Final[dict[str, tuple[type[Any], type[Any]]]] = {  # the narrower class first
    "blocks": (StreamMessagesHandlerV2, _BlocksTwin),
    "messages": (StreamMessagesHandler, _MessagesTwin),
    "tools": (StreamToolCallHandler, _ToolsTwin),
}

Mark = tuple[str, bool, tuple[str, ...] | None]


def mark(handler: BaseCallbackHandler) -> Mark | None:
    """What tells one of these handlers from others, the same in every process: its kind and what it takes. None for any other handler."""
    for kind, (cls, _) in _TWINS.items():
        if isinstance(handler, cls):
            return kind, handler.subgraphs, handler.parent_ns
    return None


def marks(handlers: Iterable[BaseCallbackHandler]) -> list[Mark]:
    """Each that occurs, once."""
    return [*dict.fromkeys(found for handler in handlers if (found := mark(handler)) is not None)]


def twin(marked: Mark, emit: Callable[[str, list[Any]], None]) -> BaseCallbackHandler:
    """On the worker: stands for all handlers with this mark. `emit` is given what `deliver` needs."""
    kind, subgraphs, parent_ns = marked
    made: BaseCallbackHandler = _TWINS[kind][1](lambda what, args: emit(what, [marked, *args]), subgraphs, parent_ns)
    return made


def deliver(handlers: Iterable[BaseCallbackHandler], what: str, args: Sequence[Any]) -> None:
    """On the orchestrator: do what a twin says to the handlers it stands for."""
    marked, *rest = args
    for handler in handlers:
        if mark(handler) != marked:
            continue
        target: Any = handler
        if what == MESSAGE:
            target._emit(rest[0], rest[1], dedupe=rest[2])
        elif what == SEEN:
            target.seen.add(rest[0])
        elif what == CHUNK:
            target.stream(rest[0])
