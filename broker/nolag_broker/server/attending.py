"""What of a session takes time: to be there until its connection ends, and answers that come later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..engine.base import StorageFailed
from ..wire.codes import Refusal
from .errors import storage_failed
from .logs import get_logger, trace

if TYPE_CHECKING:
    from .session import Session

log = get_logger("session")


async def attend(session: Session) -> None:
    """Take messages until the connection ends."""
    connection = session.connection
    session.begin()
    try:
        await connection.wait_closed()
        while not connection.inlet.empty:  # what it still said before that
            await relieved(session)
    finally:
        session.end()
        if session.closing is not None:
            await asyncio.shield(session.closing)


async def relieved(session: Session) -> None:
    """Wait until more can be taken. What is not read meanwhile is no silence of the peer."""
    over = False
    while not over:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(session.renew_every):
                await session.context.node.relief()
                over = True
        session.renew()
    session.connection.inlet.go_on()


async def answer(session: Session, request: int | None, work: Coroutine[Any, Any, dict[str, Any] | None]) -> None:
    """Answer when `work` is done, with what it returns (None: it has answered itself) or with how it was refused."""
    try:
        ok = await work
    except StorageFailed:  # said here: who does not hear of it asks the next broker the same
        session.refuse(request, storage_failed())
        raise
    except Refusal as refusal:
        session.refuse(request, refusal)
    except Exception as error:
        log.error("an operation broke", actor=session.actor, trace=trace(error))
        session.refuse(request, Refusal("internal", f"a defect in the broker: {type(error).__name__}", maybe_applied=True))
    else:
        if ok is not None:
            session.reply(request, ok)
