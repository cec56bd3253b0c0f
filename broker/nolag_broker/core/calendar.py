"""Cron lines, as far as the room knows of them: somebody else says when they come."""

from __future__ import annotations

from typing import Final

from ..wire.codes import Refusal


class Calendar:
    """When cron lines come, in seconds since 1970. This one knows none: to fold needs no calendar; who decides brings one.

    Raises:
        Refusal: `bad_request`. It is no cron line, it never comes, or the time zone is not known.
    """

    def after(self, cron: str, tz: str, moment: float) -> float:
        """The first moment of the line after this one."""
        raise Refusal("bad_request", "cron: nobody knows a calendar here", detail={"field": "cron"})

    def until(self, cron: str, tz: str, moment: float) -> float:
        """The last moment of the line until this one, itself included; 0: there is none."""
        raise Refusal("bad_request", "cron: nobody knows a calendar here", detail={"field": "cron"})


NO_CALENDAR: Final = Calendar()
