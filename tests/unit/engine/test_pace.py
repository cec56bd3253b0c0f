"""When a disk is waited for on the event loop."""

from __future__ import annotations

import pytest

from nolag_broker.engine.pace import IN_ALL, LONGEST, OF, PAUSE, RECOVERED, SOME, Pace

STALLED, SLOW, FAST = 2 * IN_ALL, 0.005, 0.0002


def test_a_quick_disk_is_waited_for_always() -> None:
    pace = Pace()
    assert pace.allows(0.0)
    for moment in range(10):
        pace.took(FAST, float(moment))
        assert pace.allows(float(moment))


def test_one_that_stalls_is_tried_again_after_longer_and_longer_pauses() -> None:
    pace, now, pauses = Pace(), 100.0, []
    for _ in range(10):
        pace.took(STALLED, now)
        after = now
        while not pace.allows(now):
            now += PAUSE / 2
        pauses.append(now - after)
    assert pauses[:4] == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]
    assert pauses[-1] == LONGEST


def test_one_that_is_slow_now_and_then_is_waited_for() -> None:
    """The commit may have waited for a processor."""
    pace = Pace()
    for moment in range(100):
        pace.took(SLOW if moment % OF < SOME else FAST, float(moment))
        assert pace.allows(float(moment))


@pytest.mark.parametrize("before", [0, 100])
def test_one_that_is_slow_as_a_rule_is_not(before: int) -> None:
    pace = Pace()
    for _ in range(before):
        pace.took(FAST, 0.0)
    for _ in range(SOME):
        pace.took(SLOW, 1.0)
        assert pace.allows(1.0)
    pace.took(SLOW, 1.0)
    assert not pace.allows(1.0 + PAUSE / 2)
    assert pace.allows(1.0 + PAUSE)


def test_one_that_stalls_now_and_then_is_forgiven_when_it_was_quick_for_long() -> None:
    pace = Pace()
    for _ in range(3):
        pace.took(STALLED, 0.0)
    for _ in range(RECOVERED - 1):
        pace.took(FAST, 100.0)
    pace.took(STALLED, 100.0)
    assert not pace.allows(100.0 + 7 * PAUSE)
    for _ in range(RECOVERED):
        pace.took(FAST, 200.0)
    pace.took(STALLED, 200.0)
    assert pace.allows(200.0 + PAUSE)


def test_what_commits_take_in_all_is_bounded() -> None:
    """However few of them it is that take long."""
    pace, blocked, now = Pace(), 0.0, 0.0
    while now < 60.0:
        for seconds in (0.045, FAST, FAST, FAST):
            if pace.allows(now):
                pace.took(seconds, now)
                blocked += seconds
            now += 0.05
    assert blocked < 1.0
