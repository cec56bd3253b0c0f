"""Tokens as they are needed: from a string or a provider, and minted for another actor where the caller is the admin."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .credentials import Token

if TYPE_CHECKING:
    from .connection import Connection

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
