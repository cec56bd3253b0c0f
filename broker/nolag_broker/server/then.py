"""Waiting, for modules that never wait: what `compile.py` compiles has no coroutines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def then(work: Awaitable[T], do: Callable[[T], object]) -> None:
    """Do something with what `work` brings."""
    do(await work)
