"""Lists of names as callers give them."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import BadRequest


def names(given: Iterable[str], name: str) -> list[str]:
    """The list. Raises `BadRequest`, which names the argument, for what is none, and for a text: its letters would be taken for names that
    nobody has."""
    if isinstance(given, (str, bytes)):
        raise BadRequest(f"{name} is a list of names, not {given!r}: give [{given!r}]", detail={"field": name})
    if not isinstance(given, Iterable):
        raise BadRequest(f"{name} is a list of names, not {given!r}", detail={"field": name})
    return list(given)
