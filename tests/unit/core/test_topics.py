"""Events of clients, and topics: stored, retained, or said once and gone."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits
from nolag_broker.wire.topics import matcher


def publish(agent: Any, topic: str = "notes", body: bytes = b"x", **fields: Any) -> int:
    seq: int = agent.ask("topic.publish", topic=topic, body=body, **fields)["seq"]
    return seq


def test_an_event_is_a_fact_of_the_log(driver: Any, planner: Any) -> None:
    answer = planner.ask("event.emit", type="draft.started", body=b"{}", ct="json", severity="warning", parent=1, mid="m")
    event = driver.log[answer["seq"] - 1]
    assert (event.type, event.sender, event.body, event.ct, event.data, event.parent, event.id) == (
        "draft.started",
        "planner",
        b"{}",
        "json",
        {"severity": "warning"},
        1,
        "m",
    )


@pytest.mark.parametrize("type", ["task.completed", "task", "room/opened", "presence.x", "record.written", "topic.published"])
def test_the_rooms_own_types_are_reserved(planner: Any, refused: Any, type: str) -> None:
    with refused("bad_request"):
        planner.ask("event.emit", type=type)
    planner.ask("event.emit", type="my." + type)


def test_qos_0_is_never_stored(driver: Any, planner: Any, refused: Any) -> None:
    assert publish(planner, qos=0, ct="text") == 0
    assert driver.log == []
    (message,) = driver.ephemeral
    assert message.topic == "notes"
    said = {"topic": "notes", "sender": "planner", "time": driver.wall, "body": b"x", "ct": "text"}
    assert message.frame == {**said, "id": "id", "after": 0}
    for fields in ({"retain": True}, {"key": "k"}):
        with refused("bad_request"):
            publish(planner, qos=0, **fields)


def test_qos_0_says_what_caused_it_and_what_it_came_after(driver: Any, planner: Any) -> None:
    last = publish(planner)
    publish(planner, qos=0, parent=last, mid="m1")
    (message,) = driver.ephemeral
    assert (message.frame["id"], message.frame["parent"], message.frame["after"]) == ("m1", last, last)


def test_messages_are_stored(driver: Any, planner: Any) -> None:
    seq = publish(planner, qos=2, key="k", retain=True)
    assert (driver.log[-1].seq, driver.log[-1].data) == (seq, {"qos": 2, "retain": True, "key": "k"})


def test_the_last_retained_message_of_each_topic(driver: Any, planner: Any) -> None:
    publish(planner, "a/x", retain=True)
    last = publish(planner, "a/x", retain=True)
    other = publish(planner, "b", retain=True)
    publish(planner, "b")
    assert driver.room.topics.retained(matcher("**")) == [last, other]
    assert driver.room.topics.retained(matcher("a/*")) == [last]
    publish(planner, "b", b"", retain=True)
    driver.restart()
    assert driver.room.topics.retained(matcher("**")) == [last], "an empty one clears it"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_key_happens_once(driver: Any, planner: Any, refused: Any, restarted: bool) -> None:
    published = publish(planner, key="k")
    emitted = planner.ask("event.emit", type="draft.started", body=b"1", key="k")["seq"]
    if restarted:
        driver.restart()
    other = driver.agent("other")
    assert publish(other, key="k") == published
    assert other.ask("event.emit", type="draft.started", body=b"1", key="k")["seq"] == emitted
    assert len(driver.log) == emitted
    for topic, body in (("notes", b"y"), ("other", b"x")):
        with refused("key_conflict"):
            publish(other, topic, body, key="k")
    for type, fields in (("draft.started", {}), ("draft.ended", {"body": b"1"})):
        with refused("key_conflict"):
            other.ask("event.emit", type=type, key="k", **fields)


def test_keys_are_forgotten_in_time(driver: Any, planner: Any) -> None:
    first = publish(planner, key="k")
    driver.advance(driver.limits.keep)
    assert publish(planner, key="k") == first
    driver.advance(driver.limits.keep)
    publish(planner, "other")
    assert publish(planner, key="k") > first


def test_the_number_of_retained_topics_is_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(retained=1)).agent("planner")
    publish(planner, "a", retain=True)
    with refused("overloaded"):
        publish(planner, "b", retain=True)
    publish(planner, "a", retain=True)
    publish(planner, "b")


def test_grants(driver: Any, refused: Any) -> None:
    agent = driver.agent("agent", [{"room": "room", "topics": ["notes/**"], "verbs": ["publish"]}])
    for qos in (0, 1):
        with refused("not_authorized"):
            publish(agent, "other", qos=qos)
    with refused("not_authorized"):
        agent.ask("event.emit", type="draft.started")
    publish(agent, "notes/tea")
