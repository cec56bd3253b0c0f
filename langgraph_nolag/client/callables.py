"""Functions as callers give them."""

from __future__ import annotations

from inspect import iscoroutinefunction

from ..errors import BadRequest


def check_callable(given: object, name: str) -> None:
    """Raises `BadRequest`, which names the argument, for what can't be called: nobody would be told before its first call."""
    if not callable(given):
        raise BadRequest(f"{name} is a function, not {given!r}", detail={"field": name})


def check_callback(given: object, name: str) -> None:
    """The same for a function that is called and not awaited: an async one would never run."""
    check_callable(given, name)
    if iscoroutinefunction(given):
        raise BadRequest(f"{name} is called, and not awaited: give a function that is not async", detail={"field": name})
