"""When cron lines come: the calendar that rooms are told of.

The line and its time zones are a library's to understand (cronsim, which follows Debian's cron: at a fixed hour that a change of
the clock skips a line comes right after it, and at one that comes twice it comes once).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from math import floor
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from ..wire.codes import Refusal

FIELDS: Final = "minute, hour, day of the month, month, day of the week; seconds may come before them"


def moments(cron: str, tz: str, at: float) -> tuple[float, float]:
    """The last moment of the line until `at` and the first one after it, in seconds since 1970; 0 for one that there is not.

    Raises:
        Refusal: `bad_request`. It is no cron line, it never comes, or the zone is not known.
    """
    zone = _zone(tz)
    now = floor(at)
    # Where a clock is set back the library goes by what the clock shows, and may name a moment on the wrong side of `at` first.
    last = next((moment for moment in _walk(cron, zone, now + 1, reverse=True) if moment <= at), 0.0)
    following = next((moment for moment in _walk(cron, zone, now) if moment > at), 0.0)
    if not following:
        raise Refusal("bad_request", f"cron: {cron!r} never comes", detail={"field": "cron"})
    return last, following


def _walk(cron: str, zone: tzinfo, start: int, *, reverse: bool = False) -> Iterator[float]:
    try:
        for moment in CronSim(cron, datetime.fromtimestamp(start, zone), reverse):
            yield moment.timestamp()
    except CronSimError as error:
        why = str(error)
        message = f"cron: {cron!r} is no cron line: {why[:1].lower()}{why[1:]} (its fields: {FIELDS})"
        raise Refusal("bad_request", message, detail={"field": "cron"}) from None


def _zone(tz: str) -> tzinfo:
    if tz == "UTC":
        return UTC  # it needs no database
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = "Europe/Berlin is one; where the system has none, the package tzdata brings them"
        message = f"tz: no time zone {tz[:64]!r} is known here ({known})"
        raise Refusal("bad_request", message, detail={"field": "tz"}) from None
