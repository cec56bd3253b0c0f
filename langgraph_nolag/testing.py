"""For the tests of those who build on us: real brokers that start in milliseconds, and waiting with a bound.

In a `conftest.py`: `from langgraph_nolag.testing import local_broker` (or `pytest_plugins = ["langgraph_nolag.testing"]`).
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from .local import LocalBroker

T = TypeVar("T")


@pytest.fixture
def local_broker() -> Iterator[LocalBroker]:
    """A broker of the test's own, in memory."""
    with LocalBroker() as broker:
        yield broker


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
