"""What a body streams reaches its orchestrator once each, in order: live, or with the outcome."""

from __future__ import annotations

import logging

import pytest

from langgraph_nolag.graph.remote.channel import CUSTOM, SEEN, Channel
from langgraph_nolag.graph.remote.outcome import Outcome
from langgraph_nolag.graph.remote.unseen import CONFIRMED, HEAD, KEPT, Seen, Unseen
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.trust import Trust


def shown(seen: Seen, frames: list[bytes], attempt: int = 1) -> list[bytes]:
    return [frame[HEAD:] for frame in frames if seen.is_new(attempt, frame)]


def test_what_came_live_does_not_come_again_with_the_outcome() -> None:
    sent: list[bytes] = []
    unseen, seen = Unseen(sent.append), Seen("node", lambda number: None)
    for value in (b"a", b"b", b"c"):
        unseen.say(CUSTOM, value)
    assert shown(seen, sent[:2]) == [b"a", b"b"]
    assert shown(seen, unseen.frames()) == [b"c"]
    assert shown(Seen("node", lambda number: None), unseen.frames()) == [b"a", b"b", b"c"], "who comes when all is over"


def test_what_is_streamed_while_something_is_sent_comes_behind_it() -> None:
    """The garbage collector may come then, and end a generator that streams."""
    sent: list[bytes] = []

    def send(frame: bytes) -> None:
        if not sent and frame[HEAD:] == b"a":
            unseen.say(CUSTOM, b"b")
        sent.append(frame)

    unseen = Unseen(send)
    unseen.say(CUSTOM, b"a")
    unseen.say(CUSTOM, b"c")
    assert shown(Seen("node", lambda number: None), sent) == [b"a", b"b", b"c"]
    assert shown(Seen("node", lambda number: None), unseen.frames()) == [b"a", b"b", b"c"]


def test_another_attempt_begins_anew() -> None:
    first, second = Unseen(lambda frame: None), Unseen(lambda frame: None)
    first.say(CUSTOM, b"a")
    second.say(CUSTOM, b"a")
    second.say(CUSTOM, b"b")
    seen = Seen("node", lambda number: None)
    assert shown(seen, first.frames(), attempt=1) == [b"a"]
    assert shown(seen, second.frames(), attempt=2) == [b"a", b"b"]


def test_what_is_confirmed_does_not_go_with_the_outcome() -> None:
    confirmed: list[int] = []
    unseen, seen = Unseen(lambda frame: None), Seen("node", confirmed.append)
    for _ in range(5):
        unseen.say(CUSTOM, bytes(CONFIRMED // 2))
    assert len(shown(seen, unseen.frames())) == 5
    assert confirmed == [2, 4]
    unseen.seen(4)
    assert len(unseen.frames()) == 1
    unseen.seen(2)
    assert len(unseen.frames()) == 1


def test_more_than_is_kept_is_lost_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    unseen, seen = Unseen(lambda frame: None), Seen("node", lambda number: None)
    for _ in range(5):
        unseen.say(CUSTOM, bytes(KEPT // 3))
    assert len(unseen.frames()) == 2
    with caplog.at_level(logging.WARNING, "langgraph_nolag"):
        assert len(shown(seen, unseen.frames())) == 2
    assert "3 chunks of node 'node' are lost" in caplog.text


def test_a_channel_keeps_until_it_is_told_and_an_outcome_carries_it() -> None:
    codec = Codec(Trust())
    sent: list[bytes] = []
    channel = Channel(codec, "nonce", 1, sent.append)
    channel.emit(CUSTOM, ["", 1])
    channel.emit(CUSTOM, ["", 2])
    channel.told(SEEN + codec.encode(1))
    assert channel.unseen() == sent[1:]
    outcome = Outcome.decode(codec, Outcome("value", 7, unseen=channel.unseen()).encode(codec, "node"))
    assert outcome.give() == 7
    assert [codec.decode(frame[HEAD:]) for frame in outcome.unseen] == [["", 2]]
