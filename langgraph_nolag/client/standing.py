"""What stands in a room: it is asked for in every session, until it is closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import NoLagError
from .requests import Answer

if TYPE_CHECKING:
    from .link import RoomLink

log = logging.getLogger("langgraph_nolag")

ASK_AGAIN = 0.2  # seconds, until a busy broker is asked again
REFUSALS = 25  # in a row, of a broker that is busy, until that is said: one that is full does not get better by itself


class Part(Protocol):
    """Something that must be asked for again in every new session. Lives on the I/O thread."""

    phase: int  # parts of a lower phase are restored first

    def restore(self) -> None:
        """A session has begun."""

    def on_ended(self, error: NoLagError) -> None:
        """The connection is over for good, or the room is closed to us."""


def establish(
    link: RoomLink,
    op: str,
    fields: Mapping[str, Any],
    on_answer: Callable[[Answer], None],
    on_refused: Callable[[NoLagError], None],
    *,
    wanted: Callable[[], bool],
) -> None:
    """Ask for something that a session must begin with, in this session. On the I/O thread.

    Args:
        link, op, fields: the request.
        on_answer: told the answer, while it is wanted.
        on_refused: told a refusal that is final, while it is wanted. A busy broker is asked again.
        wanted: whether it still is: nothing that was closed meanwhile may come back. Who stops to want it gives it up by himself: the
            broker hears that after what was asked here.
    """
    connection = link.connection
    session = connection.session
    refusals = 0

    def ask() -> None:
        if connection.session is session and wanted():  # a new session has asked for everything anew
            connection.establish({"op": op, "room": link.room, **fields}, answered)

    def answered(answer: Answer | None, error: NoLagError | None) -> None:
        nonlocal refusals
        if not wanted():
            return
        if answer is not None:
            on_answer(answer)
        elif error is not None and error.retryable and connection.ended is None:
            refusals += 1
            if refusals == REFUSALS:
                log.warning("%s in room %s waits: %s", op, link.room, error)
            connection.io.loop.call_later(ASK_AGAIN, ask)
        elif error is not None:
            on_refused(error)

    ask()
