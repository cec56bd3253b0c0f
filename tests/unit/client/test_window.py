"""Requests that are applied once go only so far ahead of the oldest one without an answer."""

from __future__ import annotations

from typing import Any

from langgraph_nolag.client.requests import Pending
from langgraph_nolag.client.window import Window


class Side:
    """The requests without an answer, and a window of three."""

    def __init__(self) -> None:
        self.open: dict[int, Pending] = {}
        self.next = 1
        self.advanced: list[str] = []
        self.window = Window(lambda: next(iter(self.open), self.next), self.advanced.append, 3)

    def ask(self, op: str = "event.emit", room: str | None = "demo") -> Pending:
        frame: dict[str, Any] = {"op": op} if room is None else {"op": op, "room": room}
        pending = self.open[self.next] = Pending(self.next, frame, lambda answer, error: None, 0.0, None, 0, False, ())
        self.next += 1
        return pending

    def sends(self, *args: Any) -> bool:
        return self.window.admits(self.ask(*args))

    def released(self) -> list[int]:
        return [pending.id for pending in self.window.released()]


def test_what_goes_too_far_waits_for_the_oldest_answer_and_keeps_its_order() -> None:
    side = Side()
    assert [side.sends() for _ in range(5)] == [True, True, True, False, False]
    assert side.window.waiting
    del side.open[2]  # it is not the oldest
    assert side.released() == []
    del side.open[1]
    assert side.released() == [4, 5]
    assert not side.window.waiting


def test_the_broker_is_to_be_told_what_it_may_forget_before_it_keeps_more() -> None:
    side = Side()
    for _ in range(4):
        side.sends()
    assert side.advanced == []
    del side.open[1]
    assert side.released() == [4]
    assert side.advanced == ["demo"]


def test_what_follows_in_the_room_waits_behind_it_whatever_it_is() -> None:
    side = Side()
    for _ in range(4):
        side.sends()
    assert not side.sends("blackboard.get")
    assert side.sends("event.emit", "another room")
    assert side.sends("ping", None)
    del side.open[1]
    assert side.released() == [4, 5]


def test_what_is_the_same_however_often_it_comes_needs_no_place() -> None:
    side = Side()
    assert all(side.sends("task.dispatch") for _ in range(20))


def test_over_sessions_what_had_a_place_keeps_it() -> None:
    side = Side()
    for _ in range(4):
        side.sends()
    side.window.begin()
    again = [side.window.admits(pending) for pending in side.open.values()]
    assert again == [True, True, True, False]
    del side.open[3]  # it is answered, and kept all the same: an older one is not
    assert side.released() == []


def test_pieces_of_the_value_that_the_oldest_waits_for_never_wait_for_it() -> None:
    side = Side()
    for _ in range(4):
        side.sends()
    assert side.window.waiting
    assert side.sends("blob.put")
    assert side.sends("blob.get")


def test_one_that_was_given_up_leaves_its_place() -> None:
    side = Side()
    for _ in range(3):
        side.sends()
    side.open.clear()
    assert side.sends()
