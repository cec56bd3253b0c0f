"""Tokens as they are needed: from a string or a provider, and minted for another actor where the caller is the admin."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .credentials import Token

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger("langgraph_nolag")

PROVIDER_TIMEOUT = 30.0  # seconds


def is_provider(token: Token) -> bool:
    return not isinstance(token, str)


async def fresh(token: Token) -> str:
    """A token to authenticate with now. A provider, sync or async, runs on a worker thread: it may block.

    Raises:
        TypeError: the provider did not give a string.
        Exception: whatever the provider raises.
    """
    if isinstance(token, str):
        return token
    provider = token

    def ask() -> object:
        given = provider()
        if inspect.isawaitable(given):

            async def wait() -> object:
                return await given

            return asyncio.run(wait())
        return given

    value = await asyncio.wait_for(asyncio.to_thread(ask), PROVIDER_TIMEOUT)
    if not isinstance(value, str):
        raise TypeError(f"the token provider gave {type(value).__name__}, not a string")
    return value


async def keep_fresh(connection: Connection, token: Token, expires: float) -> None:
    """Bring a new token before the old one expires, again and again, in place. On the I/O thread."""
    while True:
        await asyncio.sleep(max(0.05, 0.8 * (expires - time.time())))
        try:
            answer = await connection.acall("auth.refresh", token=await fresh(token))
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
            return str(connection.call("token.mint", **fields)["token"])
        finally:
            connection.close()

    return mint
