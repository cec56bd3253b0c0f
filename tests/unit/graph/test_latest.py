"""What is known of a thread's latest checkpoint, when answers are handled in another order than they were given."""

from __future__ import annotations

from typing import Any

import pytest

from langgraph_nolag.client.requests import Answer
from langgraph_nolag.graph.saver import latest
from langgraph_nolag.graph.saver.latest import Latest, State
from langgraph_nolag.graph.saver.record import Stored

STORED = Stored(None, {}, ("msgpack", b"c"), ("msgpack", b"m"))


def state(id: str, size: int = 1) -> State:
    return State(id, STORED, {"k": bytes(size)}, (), frozenset())


def read(seq: int, last: int, epoch: str = "e") -> Answer:
    return Answer({"last": last}, seq, epoch)


def wrote(at: int, before: int, epoch: str = "e") -> Answer:
    return Answer({"at": at, "before": before}, at + 5, epoch)


def held(known: Latest, thread: str = "t") -> Any:
    found = known.state(thread, "")
    return None if found is None else (found[0].id, found[1])


@pytest.fixture
def known() -> Latest:
    known = Latest()
    known.read("t", "", read(10, 9), state("5"))
    return known


def test_a_write_of_ones_own_moves_it_on(known: Latest) -> None:
    known.put("t", "", wrote(12, 9), "6", STORED, {})
    assert held(known) == ("6", 12)
    known.put_writes("t", wrote(14, 12), [("", "6")])
    assert held(known) is None
    known.put("t", "", wrote(15, 14), "7", STORED, {})
    assert held(known) == ("7", 15)
    known.put("t", "", wrote(16, 15), "3", STORED, {})
    assert held(known) == ("7", 16), "an older one is not the latest"
    known.put("t", "", wrote(17, 16), "7", STORED, {})
    assert held(known) is None, "it may have pending writes"


@pytest.mark.parametrize("answer", [wrote(12, 11), wrote(12, 9, epoch="another"), Answer({"written": 1}, 12, "e")])
def test_a_write_of_somebody_else_ends_it(known: Latest, answer: Answer) -> None:
    known.put("t", "", answer, "6", STORED, {})
    assert held(known) is None
    assert known.guess("t", "") == ("6", {})


def test_what_a_read_held_is_not_told_again(known: Latest) -> None:
    known.read("t", "", read(14, 13), state("7"))
    known.put("t", "", wrote(12, 9), "6", STORED, {})
    known.put_writes("t", wrote(13, 12), [("", "7")])
    assert held(known) == ("7", 14)


def test_a_read_that_comes_late_is_not_believed(known: Latest) -> None:
    known.put("t", "", wrote(12, 9), "6", STORED, {})
    known.read("t", "", read(11, 9), state("5"))
    assert held(known) == ("6", 12)
    known.same("t", 11, read(13, 9))
    assert held(known) == ("6", 13)
    known.same("t", 14, read(15, 9))
    known.same("t", 13, read(16, 9, epoch="another"))
    assert held(known) == ("6", 13)


def test_a_value_that_is_not_at_hand_has_to_be_read(known: Latest) -> None:
    known.put("t", "", wrote(12, 9), "6", Stored("5", {"a": "1"}, ("msgpack", b"c"), ("msgpack", b"m")), {})
    assert held(known) is None


def test_what_is_kept_is_bounded(known: Latest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest, "THREADS", 3)
    monkeypatch.setattr(latest, "LARGEST", 1000)
    monkeypatch.setattr(latest, "BYTES", 1500)
    known.read("large", "", read(10, 9), state("5", 1001))
    assert held(known, "large") is None
    for thread in "abc":
        known.read(thread, "", read(10, 9), state("5", 600))
    assert [held(known, thread) is not None for thread in "tabc"] == [False, False, True, True]
    for thread in "xyz":
        known.read(thread, "", read(10, 9), state("5"))
    assert [known.guess(thread, "") is not None for thread in "abcxyz"] == [False] * 3 + [True] * 3
    assert known._bytes == sum(state("5").size for _ in "xyz")
