"""The calendar: the moments on both sides of one, clocks that change, and lines that are none."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.server.calendar import CALENDAR
from nolag_broker.wire.codes import Refusal

BERLIN = "Europe/Berlin"


def moments(cron: str, tz: str, at: float) -> tuple[float, float]:
    """The last one until, and the first one after."""
    return CALENDAR.until(cron, tz, at), CALENDAR.after(cron, tz, at)


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def test_both_sides_of_a_moment() -> None:
    noon = at("2027-01-15 12:00")
    day = 86400
    assert moments("0 12 * * *", BERLIN, noon) == (noon, noon + day)
    assert moments("0 12 * * *", BERLIN, noon - 0.001) == (noon - day, noon)
    assert moments("0 12 * * *", BERLIN, noon + 0.5) == (noon, noon + day)
    assert moments("*/10 * * * * *", BERLIN, noon + 9.9) == (noon, noon + 10)


def test_an_hour_that_does_not_come() -> None:
    """On 28 March 2027 it is 3:00 after 1:59:59."""
    before = at("2027-03-28 01:00")
    last, following = moments("30 2 * * *", BERLIN, before)
    assert (last, following) == (at("2027-03-27 02:30"), at("2027-03-28 03:00"))
    assert moments("30 2 * * *", BERLIN, following)[1] == at("2027-03-29 02:30")


def test_an_hour_that_comes_twice() -> None:
    """On 31 October 2027 it is 2:00 after 2:59:59. A fixed hour comes once, and every hour is every hour."""
    first, second = at("2027-10-31 02:30"), at("2027-10-31 02:30", fold=1)
    assert second - first == 3600
    assert moments("30 2 * * *", BERLIN, first - 1)[1] == first
    for moment in (first, first + 1800, second - 1, second, second + 1):
        assert moments("30 2 * * *", BERLIN, moment)[1] == at("2027-11-01 02:30")
    assert moments("30 * * * *", BERLIN, first)[1] == second


@given(
    cron=st.sampled_from(["*/7 * * * *", "30 2 * * *", "15 1-3 * * 0", "0 */3 L * *", "*/20 * * * * *", "5,55 2,3 * 3,10 7#5"]),
    zone=st.sampled_from([BERLIN, "UTC", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]),
    start=st.sampled_from([at("2027-03-27 22:00"), at("2027-10-30 22:00"), at("2027-04-03 12:00", "UTC"), 1_800_000_000.0]),
    minutes=st.integers(0, 600),
    seconds=st.floats(0, 60),
)
def test_moments_are_on_their_side_and_never_go_back(cron: str, zone: str, start: float, minutes: int, seconds: float) -> None:
    moment = start + 60 * minutes + seconds
    for _ in range(5):
        last, following = moments(cron, zone, moment)
        assert last <= moment < following
        assert moments(cron, zone, following - 0.5)[1] == following
        moment = following


@given(st.text(alphabet="0123456789*/,-#L WMONJAN?²", max_size=20))
def test_whatever_is_written_is_a_line_or_refused(cron: str) -> None:
    try:
        last, following = moments(cron, "UTC", 1_800_000_000.0)
    except Refusal as refusal:
        last, following = 0.0, 1e12 if refusal.detail == {"field": "cron"} else 0.0
    assert last <= 1_800_000_000.0 < following


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "Europe", "\0", ""])
def test_a_zone_that_is_none(zone: str) -> None:
    with pytest.raises(Refusal) as caught:
        moments("* * * * *", zone, 1_800_000_000.0)
    assert (caught.value.code, caught.value.detail) == ("bad_request", {"field": "tz"})
