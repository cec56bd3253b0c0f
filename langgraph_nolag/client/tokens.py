"""Tokens as they are needed: from a string or a provider, and minted for another actor where the caller is the admin."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import AccessDenied, BadRequest
from .credentials import Token
from .io import settle_blocking, settled

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger("langgraph_nolag")

PROVIDER_TIMEOUT = 30.0  # seconds
MINT_TIMEOUT = 10.0  # seconds to connect, and to have a token: less than a provider has


class Tokens:
    """What a connection authenticates with: a token, or a provider of them. On the I/O thread.

    A provider, sync or async, runs on a thread of its own: it may block. One call is under way at a time; who needs a token meanwhile waits
    for the same one, so that a provider that hangs costs one thread, however often the connection is tried.
    """

    def __init__(self, token: Token) -> None:
        if not isinstance(token, str) and not callable(token):
            raise BadRequest(f"a token is a string, or a callable that gives one, not {type(token).__name__}", detail={"field": "token"})
        self._token = token
        self._asked: concurrent.futures.Future[object] | None = None

    @property
    def has_provider(self) -> bool:
        return not isinstance(self._token, str)

    async def fresh(self) -> str:
        """A token to authenticate with now.

        Raises:
            TimeoutError: the provider has given none for 30 seconds.
            AccessDenied: it did not give a string.
            Exception: whatever the provider raises.
        """
        if isinstance(self._token, str):
            return self._token
        if self._asked is None or self._asked.done():
            self._asked = concurrent.futures.Future()
            threading.Thread(target=_ask, args=(self._token, self._asked), name="nolag-token", daemon=True).start()
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT):
                value = await settled(self._asked)
        except TimeoutError as error:
            if str(error):  # the provider's own
                raise
            raise TimeoutError(f"the token provider has given nothing for {PROVIDER_TIMEOUT:g} s") from None
        if not isinstance(value, str):
            raise AccessDenied(f"the token provider gave {type(value).__name__}, not a string")
        return value


def _ask(provider: Callable[[], object], asked: concurrent.futures.Future[object]) -> None:
    try:
        given = provider()
        settle_blocking(asked, asyncio.run(_within_time(given)) if inspect.isawaitable(given) else given, None)
    except Exception as error:
        settle_blocking(asked, None, error)
    except BaseException as error:  # SystemExit, for example: it ends a thread, and is not to end the one of the SDK's I/O
        settle_blocking(asked, None, RuntimeError(f"the token provider ended with {type(error).__name__}: {error}"))


async def _within_time(given: Awaitable[object]) -> object:
    async with asyncio.timeout(PROVIDER_TIMEOUT):
        return await given


async def keep_fresh(connection: Connection, tokens: Tokens, expires: float) -> None:
    """Bring a new token before the old one expires, again and again, in place. On the I/O thread."""
    while True:
        await asyncio.sleep(max(0.05, 0.8 * (expires - time.time())))
        try:
            answer = await connection.acall("auth.refresh", token=await tokens.fresh())
            expires = float(answer["expires"])
        except Exception as error:  # the provider is the user's; the broker closes an expired session, and we come back
            log.warning("the token could not be refreshed: %s: %s", type(error).__name__, error)
            await asyncio.sleep(1.0)


def minting(
    connect: Callable[[], Connection],
    actor: str,
    *,
    grants: Sequence[dict[str, Any]] | None = None,
    roles: Sequence[str] = (),
    ttl: float = 3600.0,
) -> Callable[[], str]:
    """A provider of tokens for `actor`, minted over a short connection of an admin's.

    Args:
        connect: makes that connection.
        actor: whom the tokens are for.
        grants: what they allow; None: everything but `admin`.
        roles: for approvals.
        ttl: seconds a token lives; the SDK brings a fresh one in time.
    """

    def mint() -> str:
        connection = connect()
        try:
            fields: dict[str, Any] = {"actor": actor, "roles": list(roles), "ttl": ttl}
            if grants is not None:
                fields["grants"] = list(grants)
            connection.open()
            return str(connection.call("token.mint", within=MINT_TIMEOUT, **fields)["token"])
        finally:
            connection.close()

    return mint
