"""Waiting with a bound."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], T | Awaitable[T]], timeout: float = 10.0, every: float = 0.01) -> T:
    """Call `check` (sync or async) until it gives something true, and return that.

    Args:
        timeout: seconds; then `AssertionError`.
        every: seconds between two calls.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        result: T = await value if inspect.isawaitable(value) else value
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {inspect.getsource(check).strip()}")
        await asyncio.sleep(every)
