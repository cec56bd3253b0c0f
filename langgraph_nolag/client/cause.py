"""What the code that runs now was caused by: the event whose handler it is. Messages sent from it name that event as their parent."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

cause: ContextVar[tuple[str, int] | None] = ContextVar("nolag_cause", default=None)
"""Room and sequence; set around handlers. Sequences mean something in their own room only."""

CAUSAL_OPS: Final = frozenset(
    ("event.emit", "topic.publish", "task.dispatch", "inbox.send", "blackboard.set", "blackboard.delete", "approval.request", "stream.open")
)
"""Operations that have a `parent`."""


def add_parent(frame: dict[str, object], room: str) -> None:
    """Fill in `parent`, where the operation has one, the caller named none, and the cause is of this room."""
    if frame["op"] in CAUSAL_OPS and "parent" not in frame:
        origin = cause.get()
        if origin is not None and origin[0] == room:
            frame["parent"] = origin[1]
