"""When a disk is waited for on the event loop."""

from __future__ import annotations

from nolag_broker.engine.pace import LONGEST, PAUSE, RECOVERED, Pace

SLOW, FAST = 0.05, 0.0002


def test_a_quick_disk_is_waited_for_always() -> None:
    pace = Pace()
    assert pace.allows(0.0)
    for moment in range(10):
        pace.took(FAST, float(moment))
        assert pace.allows(float(moment))


def test_a_slow_one_is_tried_again_after_longer_and_longer_pauses() -> None:
    pace, now, pauses = Pace(), 100.0, []
    for _ in range(10):
        pace.took(SLOW, now)
        after = now
        while not pace.allows(now):
            now += PAUSE / 2
        pauses.append(now - after)
    assert pauses[:4] == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]
    assert pauses[-1] == LONGEST


def test_one_that_is_slow_now_and_then_is_forgiven_when_it_was_quick_for_long() -> None:
    pace = Pace()
    for _ in range(3):
        pace.took(SLOW, 0.0)
    for _ in range(RECOVERED - 1):
        pace.took(FAST, 100.0)
    pace.took(SLOW, 100.0)
    assert not pace.allows(100.0 + 7 * PAUSE)
    for _ in range(RECOVERED):
        pace.took(FAST, 200.0)
    pace.took(SLOW, 200.0)
    assert pace.allows(200.0 + PAUSE)
