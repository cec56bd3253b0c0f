"""Moments as callers give them."""

from __future__ import annotations

from datetime import datetime

from ..errors import BadRequest


def moment(when: datetime | float, name: str) -> float:
    """Seconds since 1970. Raises `BadRequest`, which names the argument, for a datetime without a time zone."""
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise BadRequest(f"{name}: a datetime needs a time zone", detail={"field": name})
    return when.timestamp()
