"""When cron lines come: the calendar that rooms are told of.

The line and its time zones are a library's to understand (cronsim, which follows Debian's cron: at a fixed hour that a change of
the clock skips a line comes right after it, and at one that comes twice it comes once).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from math import floor
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from ..core.calendar import Calendar
from ..wire.codes import Refusal

FIELDS: Final = "minute, hour, day of the month, month, day of the week; seconds may come before them"


class CronCalendar(Calendar):
    """See `Calendar`. Where a clock is set back the library goes by what the clock shows, and may begin on the wrong side of a moment."""

    def after(self, cron: str, tz: str, moment: float) -> float:
        return _after(cron, tz, moment)

    def until(self, cron: str, tz: str, moment: float) -> float:
        return next((there for there in _walk(cron, tz, floor(moment) + 1, reverse=True) if there <= moment), 0.0)


CALENDAR: Final = CronCalendar()


@lru_cache(maxsize=1024)
def _after(cron: str, tz: str, moment: float) -> float:
    """Schedules that have a line in common have their moments in common."""
    following = next((there for there in _walk(cron, tz, floor(moment)) if there > moment), None)
    if following is None:
        raise Refusal("bad_request", f"cron: {cron!r} never comes", detail={"field": "cron"})
    return following


def _walk(cron: str, tz: str, start: int, *, reverse: bool = False) -> Iterator[float]:
    zone = _zone(tz)
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
