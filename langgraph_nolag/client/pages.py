"""Listings that come in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from ..errors import BadRequest

TASKS: Final = 1000  # of a page: the most that the broker gives
APPROVALS: Final = 100  # the same; each with what is shown, and an answer has a bound


async def listed(ask: Callable[..., Awaitable[dict[str, Any]]], what: str, page: int, limit: int | None) -> list[dict[str, Any]]:
    """All of a listing, in the order of their sequences; of what comes and goes meanwhile some may be missing, and nothing is there twice.

    Args:
        ask: asks for one page, given `after` and `limit`.
        what: the field of the answer that has it.
        page: how many are asked for at once.
        limit: at most so many; None: all.
    """
    _check(limit)
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        answer = await ask(after=after, limit=page if limit is None else min(page, limit - len(found)))
        found += answer[what]
        if answer.get("end", True) or len(found) == limit:
            return found
        after = found[-1]["seq"]


async def approvals_listed(
    ask: Callable[..., Awaitable[dict[str, Any]]], states: Sequence[str], limit: int | None = None
) -> list[dict[str, Any]]:
    """Those that wait, oldest first, then those that were decided last, newest first; of these the room lists no more than one page has."""
    _check(limit)
    found = await listed(partial(ask, states=["pending"]), "approvals", APPROVALS, limit) if "pending" in states else []
    others = [state for state in states if state != "pending"]
    if (others or not states) and len(found) != limit:
        found += (await ask(states=others, limit=TASKS if limit is None else min(TASKS, limit - len(found))))["approvals"]
    return found


def _check(limit: object) -> None:
    """Raises `BadRequest` for what would bound nothing: `nan` is neither less nor more than any number."""
    if limit is not None and not isinstance(limit, int):
        raise BadRequest(f"limit is a whole number, not {limit!r}", detail={"field": "limit"})
