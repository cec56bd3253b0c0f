"""Work that its dispatcher does itself, one at a time of each concurrency key; and what is done only by who still has the lease."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits

RUN = {"kind": "run", "type": "g", "concurrency_key": "thread-1", "body": b"input"}


@pytest.fixture
def first(driver: Any) -> Any:
    agent = driver.agent("first")
    agent.ask("room.join")
    return agent


@pytest.fixture
def second(driver: Any) -> Any:
    agent = driver.agent("second")
    agent.ask("room.join")
    return agent


def begin(agent: Any, task: str, **fields: Any) -> Any:
    return agent.ask("task.begin", task=task, **{**RUN, **fields})


def state(agent: Any, task: str) -> str:
    info: dict[str, Any] = agent.ask("task.get", task=task)["task"]
    return str(info["state"])


def test_whoever_begins_holds_the_task_at_once(driver: Any, first: Any) -> None:
    worker = driver.worker("worker", "g", kind="run")
    held = begin(first, "r1")
    assert held == {"task": "r1", "type": "g", "token": driver.log[-1].seq, "attempt": 1, "attached": False}
    assert worker.pushes() == []
    assert first.ask("task.complete", task="r1", token=held["token"], body=b"") == {"state": "completed"}


def test_who_begins_the_same_ends_the_former_one(driver: Any, first: Any, second: Any, refused: Any) -> None:
    held = begin(first, "r1")
    begin(second, "r2")
    assert first.push("cancel") == {"push": "cancel", "room": "room", "task": "r1", "token": held["token"], "reason": "superseded"}
    assert (state(first, "r1"), state(first, "r2")) == ("cancelled", "running")
    lease = ["r1", held["token"]]
    for op, fields in (
        ("task.begin", {**RUN, "task": "r3"}),
        ("record.write", {"puts": [["checkpoint/t/c", b"1", False]]}),
        ("task.dispatch", {"task": "n1", "type": "g/node", "kind": "node", "body": b""}),
        ("task.cancel", {"task": "r2"}),
        ("task.forget", {"group": "g"}),
    ):
        with refused("stale_lease") as caught:
            first.ask(op, **fields, lease=lease)
        assert caught.value.detail == {"task": "r1"}
    assert not driver.records.keys() & {"checkpoint/t/c"}


def test_its_holder_may_do_what_names_the_lease(driver: Any, first: Any) -> None:
    lease = ["r1", begin(first, "r1")["token"]]
    assert first.ask("record.write", puts=[["checkpoint/t/c", b"1", False]], lease=lease)["written"] == 1
    assert first.ask("task.dispatch", task="n1", type="g/node", kind="node", body=b"", lease=lease)["state"] == "waiting"
    assert first.ask("task.cancel", task="n1", lease=lease) == {"state": "cancelled"}
    assert begin(first, "r2", concurrency_key="thread-2", lease=lease)["task"] == "r2"


def test_taking_goes_on_with_what_has_begun(driver: Any, first: Any, second: Any, refused: Any) -> None:
    held = begin(first, "r1", body=b"the first input")
    taken = begin(second, "r2", take=True, body=b"")
    assert (taken["task"], taken["attached"], taken["attempt"], taken["body"]) == ("r1", True, 2, b"the first input")
    assert taken["token"] > held["token"]
    assert first.push("cancel")["reason"] == "superseded"
    with refused("stale_lease"):
        first.ask("task.complete", task="r1", token=held["token"], body=b"")
    assert second.ask("task.complete", task="r1", token=taken["token"], body=b"") == {"state": "completed"}
    assert begin(second, "r3", take=True)["attached"] is False, "nothing goes on any more"


def test_a_task_whose_beginner_dies_goes_to_a_worker_and_is_taken_back(driver: Any, first: Any, second: Any) -> None:
    worker = driver.worker("worker", "g", kind="run")
    begin(first, "r1")
    driver.advance(driver.limits.lease + 1, worker, second)
    handed = worker.push("task")
    assert (handed["task"], handed["attempt"], handed["body"]) == ("r1", 2, b"input")
    taken = begin(second, "r2", take=True)
    assert (taken["task"], taken["attempt"]) == ("r1", 3)
    assert worker.push("cancel")["token"] == handed["token"]
    assert worker.pushes() == []


def test_what_has_not_begun_waits_unless_it_is_needless(driver: Any, first: Any) -> None:
    worker = driver.worker("worker", "g", kind="run", slots=2)
    held = begin(first, "r1")
    first.ask("task.dispatch", task="queued", **RUN)
    first.ask("task.dispatch", task="needless", **RUN, group="wake")
    assert {state(first, "queued"), state(first, "needless")} == {"parked"}
    held = begin(first, "r2", drop="wake")
    assert (state(first, "queued"), state(first, "needless")) == ("parked", "cancelled")
    assert worker.pushes() == []
    first.ask("task.complete", task="r2", token=held["token"], body=b"")
    assert worker.push("task")["task"] == "queued"


def test_a_beginning_that_is_sent_again_is_answered_alike(driver: Any, first: Any, second: Any, refused: Any) -> None:
    held = begin(first, "r1")
    assert begin(first, "r1", resent=True) == held
    taken = begin(second, "r2", take=True)
    assert begin(second, "r2", take=True, resent=True) == taken
    with refused("stale_lease"):
        begin(first, "r1", resent=True)
    second.ask("task.complete", task="r1", token=taken["token"], body=b"")
    with refused("stale_lease"):
        begin(first, "r1", resent=True)


def test_it_goes_on_over_restarts_of_the_broker(driver: Any, first: Any) -> None:
    held = begin(first, "r1")
    driver.restart()
    first.connect()
    first.ask("room.join")
    assert first.ask("record.write", puts=[["checkpoint/t/c", b"1", False]], lease=["r1", held["token"]])["written"] == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"delay": 1}, "delay"),
        ({"key": "k"}, "key"),
        ({"slot": "s"}, "slot"),
        ({"busy": "refuse"}, "busy"),
        ({"forget": ["t0"]}, "forget"),
        ({"follow": True}, "follow"),
        ({"concurrency_key": None}, "concurrency_key"),
    ],
)
def test_what_a_beginning_can_not_be(first: Any, refused: Any, fields: dict[str, Any], field: str) -> None:
    with refused("bad_request") as caught:
        begin(first, "r1", **fields)
    assert caught.value.detail == {"field": field}


def test_beginning_needs_membership_and_grants(driver: Any, refused: Any) -> None:
    with refused("not_joined"):
        begin(driver.agent("stranger"), "r1")
    narrow = driver.agent("narrow", [{"room": "**", "verbs": ["dispatch"], "topics": ["other"]}])
    narrow.ask("room.join")
    with refused("not_authorized"):
        begin(narrow, "r1")


def test_a_call_of_a_tool_that_nobody_serves_any_more_is_not_gone_on_with(driver: Any, first: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    first.dispatch("call", "search", kind="tool", require_live=True, concurrency_key="thread-1")
    server.push("task")
    server.ask("task.unserve", offer=1)
    held = begin(first, "r1", take=True)
    assert (held["task"], held["attached"], state(first, "call")) == ("r1", False, "cancelled")
    assert server.push("cancel")["reason"] == "superseded"


def test_a_busy_key_refuses_or_makes_way(driver: Any, first: Any, refused: Any) -> None:
    worker = driver.worker("worker", "g", kind="run", slots=3)
    first.ask("task.dispatch", task="t1", **RUN)
    running = worker.push("task")
    with refused("busy") as caught:
        first.ask("task.dispatch", task="t2", **RUN, busy="refuse")
    assert caught.value.detail == {"task": "t1"}
    first.ask("task.dispatch", task="t3", **RUN, busy="replace")
    told = [(push["push"], push["task"], push["token"] == running["token"]) for push in worker.pushes()]
    assert told == [("cancel", "t1", True), ("task", "t3", False)]
    with refused("bad_request"):
        first.ask("task.dispatch", task="t4", kind="run", type="g", body=b"", busy="refuse")


WAKE = {"task": "w1", "type": "g", "kind": "run", "body": b"thread", "concurrency_key": "thread-1", "group": "wake", "max_attempts": 7}
ASKED = {"approval": "p1", "action": "act", "body": b"1", "allow": ["approve", "reject"], "wake": WAKE}


@pytest.mark.parametrize("how", ["decided", "expired", "withdrawn"])
def test_a_decision_dispatches_what_the_request_named(driver: Any, first: Any, how: str) -> None:
    first.ask("approval.request", **ASKED, expires=60)
    driver.restart()
    first.connect()
    first.ask("room.join")
    worker = driver.worker("worker", "g", kind="run")
    before = len(driver.log)
    if how == "decided":
        driver.agent("second").ask("approval.decide", approval="p1", type="approve")
    elif how == "withdrawn":
        first.ask("approval.withdraw", approval="p1")
    else:
        driver.advance(61, worker, first)
    events = [event.type for event in driver.log[before:] if event.type.startswith(("approval.decided", "task."))]
    assert events == ["approval.decided", "task.dispatched", "task.claimed"]
    task = worker.push("task")
    assert (task["task"], task["body"], task["dispatcher"]) == ("w1", b"thread", "first")


def test_who_goes_on_by_itself_decides_quietly(driver: Any, first: Any) -> None:
    first.ask("approval.request", **ASKED)
    first.ask("approval.decide", approval="p1", type="approve", wake=False)
    assert driver.log[-1].type == "approval.decided"


def test_a_decision_is_made_whatever_becomes_of_what_it_dispatches(driver: Any, first: Any, refused: Any) -> None:
    first.ask("approval.request", **ASKED)
    first.ask("task.dispatch", task="w1", type="other", body=b"")
    assert first.ask("approval.decide", approval="p1", type="approve")["state"] == "decided"
    assert first.ask("task.get", task="w1")["task"]["type"] == "other"
    narrow = driver.agent("narrow", [{"room": "**", "verbs": ["dispatch"], "topics": ["act"]}])
    narrow.ask("approval.request", **{**ASKED, "approval": "p2"})
    assert "wake" not in driver.log[-1].data, "nobody gets done what he may not ask for"
    with refused("bad_request"):
        first.ask("approval.request", **{**ASKED, "approval": "p2", "wake": {**WAKE, "body": b"x" * 20_000}})


def test_what_a_decision_will_dispatch_has_its_place_in_the_backlog(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(backlog=2))
    first = driver.agent("first")
    first.ask("approval.request", **ASKED)
    driver.restart()
    worker = driver.worker("worker", "gate")
    first.ask("task.dispatch", task="t1", type="gate", body=b"")
    with refused("overloaded"):
        first.ask("task.dispatch", task="t2", type="gate", body=b"")
    with refused("overloaded"):
        first.ask("approval.request", **{**ASKED, "approval": "p2"})
    gate = {**ASKED, "approval": "p3", "wake": {**WAKE, "task": "w3"}}
    two = [gate, {**gate, "approval": "p4", "wake": {**WAKE, "task": "w4"}}]
    held = worker.push("task")
    with refused("overloaded"):
        worker.ask("task.complete", task="t1", token=held["token"], body=b"", approvals=two)
    worker.ask("task.complete", task="t1", token=held["token"], body=b"", approvals=[gate])
    for approval in ("p1", "p3"):
        first.ask("approval.decide", approval=approval, type="approve")
    assert first.ask("room.info")["tasks"]["waiting"] + first.ask("room.info")["tasks"]["parked"] == 2
    first.ask("task.cancel", task="w1")
    first.ask("task.dispatch", task="t2", type="gate", body=b"")
