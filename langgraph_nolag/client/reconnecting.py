"""When to connect, and when to connect again: for ever, with capped and jittered pauses, until the broker says not to come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from nolag_broker.wire.codes import CLOSES

from ..errors import AccessDenied, ActorMismatch, BrokerUnreachable, Disconnected, NoLagError
from .chance import CHANCE
from .credentials import HOW_TO_START

FIRST_RETRY: Final = 0.05  # seconds; doubled with every failure in a row, full jitter
STEADY: Final = 5.0  # seconds; a session that lasted so long ends a row of failures
BRIEF: Final = 3  # failures in a row that a shorter one counts as, at most: somebody is there, and perhaps keeps restarting
SAID_AFTER: Final = 3  # failures in a row

S = TypeVar("S")
log = logging.getLogger("langgraph_nolag")


async def stay_connected(
    url: str,
    connect: Callable[[], Awaitable[S]],
    serve: Callable[[S], Awaitable[int]],
    connect_timeout: float | None,
    longest_retry: Callable[[], float],
) -> NoLagError:
    """Sessions, one after the other.

    Args:
        connect: begins one. `AccessDenied` and `ActorMismatch` are final, whatever else it raises is tried again.
        serve: runs one to its end, and says the close code. What it raises is a defect of ours; the next session begins afresh.
        connect_timeout: seconds to try before the first one; None: for ever.
        longest_retry: seconds of a pause at most, as the broker has it.

    Returns:
        Why there is none any more: `BrokerUnreachable` where there never was one.
    """
    loop = asyncio.get_running_loop()
    give_up = None if connect_timeout is None else loop.time() + connect_timeout
    failures, why, told = 0, "", False
    while True:
        try:
            async with asyncio.timeout_at(give_up):
                session = await connect()
        except (AccessDenied, ActorMismatch) as error:
            return error
        except Exception as error:
            if not (why and isinstance(error, TimeoutError)):  # that time is up says less than what went wrong before
                why = f"{type(error).__name__}: {error}".rstrip(": ")
            if give_up is not None and loop.time() >= give_up:
                waited = f" within {connect_timeout:g} s" if connect_timeout else ""
                return BrokerUnreachable(f"no broker at {url}{waited} ({why}); {HOW_TO_START}")
            tell = failures >= SAID_AFTER and not told
            log.log(logging.WARNING if tell else logging.DEBUG, "no connection to %s yet: %s", url, why)
            told |= tell
        else:
            if told:  # who read that there is none, reads this too
                log.warning("connected to %s", url)
            give_up, began, why, told = None, loop.time(), "", False
            try:
                code = await serve(session)
            except Exception:
                log.exception("the session failed; reconnecting")
                code = 1006
            close = CLOSES.get(code)
            if close is not None and not close.reconnect:
                return Disconnected(f"the broker closed the connection for good: {close.reason} ({code})")
            log.info("the connection to %s ended (%s); reconnecting", url, code)
            failures = 0 if loop.time() - began > STEADY else min(failures, BRIEF)
        await asyncio.sleep(CHANCE.uniform(0, min(longest_retry(), FIRST_RETRY * 2 ** min(failures, 16))))
        failures += 1
