"""Keys, revisions, compare-and-set."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits


def put(agent: Any, body: bytes = b"1", key: str = "plan", **fields: Any) -> tuple[int, int]:
    answer = agent.ask("blackboard.set", key=key, body=body, **fields)
    return answer["revision"], answer["seq"]


def test_a_value_and_who_wrote_it_when(driver: Any, planner: Any) -> None:
    assert planner.ask("blackboard.get", key="plan") == {"entry": None}
    assert put(planner, b"tea", ct="text") == (1, 2)
    assert planner.ask("blackboard.get", key="plan")["entry"] == {
        "key": "plan",
        "revision": 1,
        "seq": 2,
        "time": driver.wall,
        "writer": "planner",
        "body": b"tea",
        "ct": "text",
    }


def test_compare_and_set(planner: Any, refused: Any) -> None:
    put(planner, expected=0)
    for expected, now in ((0, 1), (2, 1)):
        with refused("revision_conflict") as caught:
            put(planner, b"2", expected=expected)
        assert caught.value.detail == {"revision": now}
    assert put(planner, b"2", expected=1)[0] == 2
    assert planner.ask("blackboard.get", key="plan")["entry"]["body"] == b"2"


def test_revisions_never_start_again(driver: Any, planner: Any, refused: Any) -> None:
    put(planner)
    with refused("revision_conflict"):
        planner.ask("blackboard.delete", key="plan", expected=7)
    assert planner.ask("blackboard.delete", key="plan", expected=1)["revision"] == 2
    assert planner.ask("blackboard.get", key="plan") == {"entry": None}
    with refused("revision_conflict") as caught:
        put(planner, expected=2)
    assert caught.value.detail == {"revision": 0}, "absent"
    driver.restart()
    assert put(planner, expected=0)[0] == 3


def test_deleting_what_is_not_there_changes_nothing(driver: Any, planner: Any) -> None:
    put(planner, key="other")
    before = len(driver.log)
    assert planner.ask("blackboard.delete", key="plan")["revision"] == 0
    deleted = planner.ask("blackboard.delete", key="other")
    assert planner.ask("blackboard.delete", key="other") == deleted
    assert (deleted["revision"], deleted["seq"]) == (2, before + 1)
    assert len(driver.log) == before + 1


def test_list_shows_what_stands_matches_and_may_be_seen(driver: Any, planner: Any) -> None:
    for key in ("plan/b", "plan/a", "plan/gone", "notes"):
        put(planner, key.encode(), key=key)
    planner.ask("blackboard.delete", key="plan/gone")
    entries = planner.ask("blackboard.list", pattern="plan/*")["entries"]
    assert [(entry["key"], entry["body"]) for entry in entries] == [("plan/a", b"plan/a"), ("plan/b", b"plan/b")]
    assert "body" not in planner.ask("blackboard.list", bodies=False)["entries"][0]
    reader = driver.agent("reader", [{"room": "room", "topics": ["notes"], "verbs": ["state"]}])
    assert [entry["key"] for entry in reader.ask("blackboard.list")["entries"]] == ["notes"]


@pytest.mark.parametrize("restarted", [False, True])
def test_history_is_newest_first_and_bounded(make_driver: Any, restarted: bool) -> None:
    driver = make_driver(Limits(history=3))
    planner = driver.agent("planner")
    for body in (b"1", b"2", b"3"):
        put(planner, body)
    planner.ask("blackboard.delete", key="plan")
    if restarted:
        driver.restart()
    entries = planner.ask("blackboard.history", key="plan")["entries"]
    assert [(entry["revision"], entry.get("body"), entry.get("deleted")) for entry in entries] == [
        (4, None, True),
        (3, b"3", None),
        (2, b"2", None),
    ]
    assert len(planner.ask("blackboard.history", key="plan", limit=1)["entries"]) == 1
    assert planner.ask("blackboard.history", key="unknown") == {"entries": []}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_write_with_a_known_mid_changes_nothing(driver: Any, planner: Any, restarted: bool) -> None:
    first = put(planner, b"1", mid="m1")
    put(driver.agent("other"), b"2")
    planner.ask("blackboard.delete", key="plan", mid="m2")
    if restarted:
        driver.restart()
    again = driver.agent("planner", instance="planner-2")
    assert put(again, b"1", mid="m1", expected=0) == first
    assert again.ask("blackboard.delete", key="plan", mid="m2")["revision"] == 3
    assert len(driver.log) == 4


def test_the_number_of_keys_is_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(keys=1)).agent("planner")
    put(planner, key="a")
    with refused("overloaded"):
        put(planner, key="b")
    put(planner, key="a")


def test_grants(driver: Any, refused: Any) -> None:
    reader = driver.agent("reader", [{"room": "room", "topics": ["notes"], "verbs": ["state"]}])
    for op, fields in (("get", {}), ("set", {"body": b""}), ("delete", {}), ("history", {})):
        with refused("not_authorized"):
            reader.ask(f"blackboard.{op}", key="plan", **fields)
