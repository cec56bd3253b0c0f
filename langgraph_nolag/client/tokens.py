"""Tokens as they are needed: from a string or a provider, and minted for another actor where the caller is the admin."""

from __future__ import annotations

import asyncio
import inspect

from .credentials import Token

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
