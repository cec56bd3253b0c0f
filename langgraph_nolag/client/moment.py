"""Moments, and spans of time, as callers give them."""

from __future__ import annotations

from datetime import datetime
from math import isnan
from numbers import Real

from ..errors import BadRequest


def moment(when: datetime | float, name: str) -> float:
    """Seconds since 1970. Raises `BadRequest`, which names the argument, for a datetime without a time zone."""
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise BadRequest(f"{name}: a datetime needs a time zone", detail={"field": name})
    return when.timestamp()


def check_seconds(given: object, name: str) -> None:
    """Raises `BadRequest`, which names the argument, for what is no span of time: `nan` seconds would never be over."""
    if not isinstance(given, Real) or isnan(given):
        raise BadRequest(f"{name} is a number of seconds, not {given!r}", detail={"field": name})
