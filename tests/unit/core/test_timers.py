"""Timers, against a sorted list."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.core.timers import Timers

moments = st.integers(0, 50)


@given(st.lists(st.tuples(st.just("at"), moments) | st.tuples(st.just("cancel"), moments) | st.tuples(st.just("run"), moments)))
def test_against_a_list(steps: list[tuple[str, int]]) -> None:
    timers, fired, now = Timers(), [], 0
    known: list[Any] = []
    standing: dict[int, int] = {}
    for what, number in steps:
        if what == "at":
            standing[len(known)] = number
            known.append(timers.at(number, fired.append, len(known)))
        elif what == "cancel" and known:
            timers.cancel(known[number % len(known)])
            standing.pop(number % len(known), None)
        elif what == "run":
            now = max(now, number)
            timers.run(now)
            due = sorted((when, index) for index, when in standing.items() if when <= now)
            assert fired == [index for _, index in due]
            for index in fired:
                del standing[index]
            fired.clear()
        assert timers.next() == min(standing.values(), default=None)
        assert len(timers) == len(standing)


def test_what_an_action_puts_in_for_now_happens_now() -> None:
    timers, fired = Timers(), []

    def first(target: str) -> None:
        fired.append(target)
        timers.at(1, fired.append, "second")
        timers.at(3, fired.append, "later")

    timers.at(1, first, "first")
    timers.run(2)
    assert fired == ["first", "second"]
    assert timers.next() == 3


def test_cancelling_leaves_nothing_behind_for_long() -> None:
    timers = Timers()
    stays = timers.at(5, print, None)
    for _ in range(1000):
        timers.cancel(timers.at(7, print, None))
    timers.cancel(None)
    assert len(timers._heap) < 150
    assert timers.next() == stays.when
