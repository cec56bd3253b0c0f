"""What the code that runs now was caused by: the event whose handler it is. Messages sent from it name that event as their parent, and
what it writes in the room names the lease: of a worker that has lost its task, the room takes nothing more."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .link import RoomLink
    from .offer import Assigned

cause: ContextVar[tuple[str, int] | None] = ContextVar("nolag_cause", default=None)
"""Room and sequence; set around handlers. Sequences mean something in their own room only."""

CAUSAL_OPS: Final = frozenset(
    ("event.emit", "topic.publish", "task.dispatch", "inbox.send", "blackboard.set", "blackboard.delete", "approval.request", "stream.open")
)
"""Operations that have a `parent`."""


_task: ContextVar[Assigned | None] = ContextVar("nolag_task", default=None)
"""The task that is handled here."""

LEASED_OPS: Final = CAUSAL_OPS | {
    *("store.write", "task.cancel", "task.retry", "task.purge", "cursor.delete", "group.delete"),
    *("schedule.set", "schedule.pause", "schedule.resume", "schedule.delete"),
    *("approval.decide", "approval.delegate", "approval.withdraw"),
}
"""Operations that are refused to who has lost the task they are done for, where they name its `lease`. Acknowledgements are not among
them: what was dealt with was dealt with, whoever says it."""


def begin_task(task: Assigned) -> None:
    """What runs in this context from here on is the task's handler."""
    cause.set((task.room, task.seq))
    _task.set(task)


def add_parent(frame: dict[str, object], room: str) -> None:
    """Fill in `parent`, where the operation has one, the caller named none, and the cause is of this room."""
    if frame["op"] in CAUSAL_OPS and "parent" not in frame:
        origin = cause.get()
        if origin is not None and origin[0] == room:
            frame["parent"] = origin[1]


def add_lease(frame: dict[str, object], link: RoomLink) -> None:
    """Fill in `lease`, where the task is of this connection and room. One that has ended nobody else will do: what its handler still has
    to say, it may."""
    if frame["op"] in LEASED_OPS and "lease" not in frame:
        task = _task.get()
        if task is not None and task.offer.link is link and not task.over:
            # With `lease` a stream would be the task's, and end with it.
            frame["under" if frame["op"] == "stream.open" else "lease"] = [task.task, task.token]
