"""Leases, fencing tokens, attempts, reconnects: the worker's side of a task."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import OVERHEAD, Limits
from nolag_broker.core.tasks.matching import IN_HAND


def test_the_token_rises_with_every_hand_out(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    tokens = []
    for _ in range(3):
        task = writer.push("task")
        tokens.append(task["token"])
        writer.ask("task.release", task="t1", token=task["token"])
    assert tokens == sorted(set(tokens))
    assert writer.push("task")["attempt"] == 4
    assert planner.ask("task.get", task="t1")["task"]["errors"] == []


def test_a_stale_token_can_do_nothing(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    old = writer.push("task")
    driver.advance(10)  # silent for a whole lease
    other = driver.worker("other", "draft")
    new = other.push("task")
    assert (new["attempt"], planner.ask("task.get", task="t1")["task"]["errors"][0]["error"]["type"]) == (2, "lease_expired")
    before = len(driver.log)
    for op, fields in (
        ("task.complete", {"body": b"late"}),
        ("task.fail", {"error": {"type": "E"}}),
        ("task.release", {}),
        ("task.progress", {"n": 1, "body": b""}),
    ):
        with refused("stale_lease"):
            writer.ask(op, task="t1", token=old["token"], **fields)
    with refused("stale_lease"):  # nor with the token of the other
        writer.complete(new)
    assert len(driver.log) == before
    other.complete(new)
    with refused("stale_lease"):
        writer.complete(old)
    planner.ask("task.ack", tasks=["t1"])
    with refused("stale_lease"):
        writer.complete(old)


def test_a_completion_sent_again_is_answered_alike(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    writer.complete(task)
    before = len(driver.log)
    assert writer.complete(task, resent=True) == {"state": "completed"}
    driver.restart()
    assert writer.complete(task, resent=True) == {"state": "completed"}
    planner.ask("task.ack", tasks=["t1"])
    with refused("stale_lease"):  # acknowledged and loaded again: nobody remembers
        driver.restart()
        writer.complete(task, resent=True)
    assert len(driver.log) == before


def test_a_completion_sent_again_after_the_acknowledgement(planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    writer.complete(task)
    planner.ask("task.ack", tasks=["t1"])
    assert writer.complete(task, resent=True) == {"state": "completed"}


def test_failures_are_retried_with_backoff_until_the_attempts_are_used_up(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(max_attempts=3)
    assert writer.fail(writer.push("task"), message="one") == {"state": "delayed", "attempt": 1}
    driver.advance(0.4, writer)
    assert planner.state() == "delayed"
    driver.advance(0.1, writer)
    second = writer.push("task")
    assert second["attempt"] == 2
    writer.fail(second, message="two")
    driver.advance(0.9, writer)
    assert planner.state() == "delayed"
    driver.advance(0.1, writer)
    third = writer.push("task")
    assert writer.fail(third, message="three", body=b"traceback") == {"state": "failed", "attempt": 3}
    result = planner.push("result")
    assert (result["state"], result["error"], result["body"]) == ("failed", {"type": "ValueError", "message": "three"}, b"traceback")
    errors = planner.ask("task.get", task="t1")["task"]["errors"]
    assert [(error["attempt"], error["error"]["message"], error["actor"]) for error in errors] == [
        (1, "one", "writer"),
        (2, "two", "writer"),
        (3, "three", "writer"),
    ]


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 1.8), (0.5, 2.0), (1.0, 2.2)])
def test_backoff_has_a_policy_and_jitter(driver: Any, planner: Any, writer: Any, chance: float, delay: float) -> None:
    driver.chance = chance
    planner.dispatch(retry={"initial": 2, "jitter": 0.1, "maximum": 10})
    writer.fail(writer.push("task"))
    assert driver.log[-1].data["due"] == pytest.approx(driver.wall + delay)


def test_backoff_is_capped(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(max_attempts=10, retry={"initial": 1, "factor": 10, "maximum": 5, "jitter": 0})
    for delay in (1, 5, 5):
        writer.fail(writer.push("task"))
        assert driver.log[-1].data["due"] == driver.wall + delay
        driver.advance(delay, writer)


def test_a_failure_names_its_own_delay_or_is_final(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    assert writer.fail(writer.push("task"), delay=0) == {"state": "waiting", "attempt": 1}
    second = writer.push("task")
    assert second["attempt"] == 2
    assert writer.fail(second, retry=False) == {"state": "failed", "attempt": 2}


def test_a_lost_lease_counts_as_an_attempt_and_is_redelivered_at_once(driver: Any, planner: Any) -> None:
    planner.dispatch(max_attempts=2)
    first, second = driver.worker("first", "draft"), driver.worker("second", "draft")
    first.push("task")
    driver.advance(9.9, second)
    assert second.pushes() == []
    driver.advance(0.2, second)
    assert second.push("task")["attempt"] == 2
    driver.advance(11)
    assert planner.push("result")["error"]["type"] == "lease_expired"
    assert planner.state() == "failed"


def test_heartbeats_keep_the_lease(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    driver.advance(100, writer)
    assert planner.state() == "running"
    driver.advance(10.1)
    assert planner.state() == "waiting"
    task, expired = writer.pushes()
    assert (task["push"], expired) == ("task", {"push": "expired", "room": "room"})


def test_a_closed_connection_shortens_the_lease(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    writer.disconnect()
    driver.advance(2.9)
    assert planner.state() == "running"
    driver.advance(0.2)
    assert planner.state() == "waiting"


def test_a_grace_never_prolongs_a_lease(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    driver.advance(9)
    writer.disconnect()
    driver.advance(1.1)
    assert planner.state() == "waiting"


def test_the_wall_clock_does_not_touch_leases(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(timeout=7200)
    driver.wall += 3600
    driver.advance(9)
    assert planner.state() == "running"
    driver.wall -= 7200
    driver.advance(1.1)
    assert planner.state() == "waiting"


def test_a_worker_that_returns_in_time_keeps_what_it_holds(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", slots=2)
    planner.dispatch("held")
    planner.dispatch("missed")
    held, missed = writer.pushes("task")
    planner.ask("task.tell", task="held", body=b"hi")
    writer.disconnect()
    planner.dispatch("new")
    driver.advance(2)
    writer.connect()
    writer.ask("room.join")
    assert writer.serve("draft", slots=2, holding=[["held", held["token"]], ["unknown", 3]]) == ["unknown"]
    writer.done_with({"task": "unknown", "token": 3})
    tell, again = writer.pushes()
    assert (tell["push"], tell["body"]) == ("tell", b"hi")
    assert again == missed, "the same hand-out again: same token, same attempt"
    driver.advance(20, writer)
    writer.complete(held)
    assert writer.push("task")["task"] == "new"
    writer.complete(missed)


def test_a_worker_that_returns_too_late_is_told_what_it_lost(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    writer.disconnect()
    driver.advance(4)
    writer.connect()
    writer.ask("room.join")
    assert writer.serve("draft", holding=[["t1", task["token"]]]) == ["t1"]
    assert writer.pushes() == [], "what it lost has its slot until it has done with it"
    writer.done_with(task)
    again = writer.push("task")
    assert (again["attempt"], again["token"] > task["token"]) == (2, True)


def test_leases_survive_a_restart_of_the_broker(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    driver.advance(9)
    driver.restart()
    driver.advance(9)
    writer.connect()
    writer.ask("room.join")
    assert writer.serve("draft", holding=[["t1", task["token"]]]) == []
    assert writer.complete(task) == {"state": "completed"}


def test_who_does_not_return_after_a_restart_loses_its_tasks(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    driver.restart()
    driver.advance(9.9)
    assert planner.state() == "running"
    driver.advance(0.2)
    assert planner.state() == "waiting"


def test_two_offers_of_a_worker_return_one_after_the_other(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", offer=1)
    writer.serve(offer=2)
    planner.dispatch("a")
    planner.dispatch("b")
    first, second = sorted(writer.pushes("task"), key=lambda push: push["offer"])
    writer.disconnect()
    writer.connect()
    writer.ask("room.join")
    writer.serve(offer=2, holding=[[second["task"], second["token"]]])
    assert writer.pushes() == [], "what the other offer holds is not this one's business"
    writer.serve("draft", offer=1)
    assert writer.push("task") == first


def test_a_returning_offer_that_does_not_serve_a_task_any_more_hands_it_back(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    writer.pushes()
    writer.disconnect()
    writer.connect()
    writer.ask("room.join")
    writer.serve("review")
    assert planner.state() == "waiting"


def test_the_same_process_on_a_second_connection_takes_over(driver: Any, planner: Any, writer: Any) -> None:
    old = writer.caller.session
    writer.connect()
    writer.ask("room.join")
    planner.dispatch()
    assert old not in driver.pushed, "the old connection's offers are gone"
    writer.serve("draft")
    assert writer.push("task")["task"] == "t1"
    driver.room.disconnected(old, driver.env)
    driver.advance(9, writer)
    assert planner.state() == "running"


def test_unserve_keeps_what_is_held_and_takes_nothing_new(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch("t1")
    task = writer.push("task")
    writer.ask("task.unserve", offer=1)
    planner.dispatch("t2")
    planner.ask("task.tell", task="t1", body=b"still here?")
    assert writer.push("tell")["body"] == b"still here?"
    writer.complete(task)
    assert writer.pushes() == []
    assert planner.state("t2") == "waiting"


def test_leaving_hands_everything_back_without_counting(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(max_attempts=1)
    writer.pushes()
    other = driver.worker("other", "draft")
    writer.ask("room.leave")
    task = other.push("task")
    assert task["attempt"] == 2
    assert other.complete(task) == {"state": "completed"}


def test_serving_needs_membership_and_grants(driver: Any, refused: Any) -> None:
    with refused("not_joined"):
        driver.agent("stranger").serve("draft")
    agent = driver.agent("agent", [{"room": "room", "topics": ["draft"], "verbs": ["claim"]}])
    agent.ask("room.join")
    agent.serve("draft")
    for types in (["draft", "review"], []):
        with refused("not_authorized"):
            agent.serve(*types)


def test_progress_reaches_followers_once_and_gaps_are_said(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    token = writer.push("task")["token"]

    def progress(n: int, body: bytes = b"x") -> None:
        writer.say("task.progress", task="t1", token=token, n=n, body=body)

    progress(1)
    assert planner.push("progress") == {"push": "progress", "room": "room", "task": "t1", "attempt": 1, "n": 1, "body": b"x"}
    progress(1)  # sent again
    assert planner.pushes() == []
    progress(4, b"four")
    gap, four = planner.pushes("progress")
    assert (gap["gap"], "n" in gap, four["n"]) == ([2, 3], False, 4)
    late = driver.agent("late")
    late.ask("task.follow", tasks=[["t1", 1]])
    gap, four = late.pushes("progress")
    assert (gap["gap"], four["body"]) == ([2, 3], b"four")
    progress(5)
    assert [len(agent.pushes("progress")) for agent in (planner, late)] == [1, 1]


@pytest.mark.parametrize("size", [0, 30])
def test_progress_is_kept_to_a_bound(make_driver: Any, size: int) -> None:
    driver = make_driver(Limits(progress=3 * (OVERHEAD + size)))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    planner.dispatch(follow=False)
    token = writer.push("task")["token"]
    for n in range(1, 8):
        writer.say("task.progress", task="t1", token=token, n=n, body=bytes(size))
    planner.ask("task.follow", tasks=[["t1", 0]])
    gap, *kept = planner.pushes("progress")
    assert (gap["gap"], [push["n"] for push in kept]) == ([1, 4], [5, 6, 7])


def test_progress_of_another_attempt_begins_again(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    first = writer.push("task")
    writer.say("task.progress", task="t1", token=first["token"], n=1, body=b"old")
    writer.say("task.progress", task="t1", token=first["token"], n=2, body=b"old")
    writer.fail(first, delay=0)
    second = writer.push("task")
    writer.say("task.progress", task="t1", token=second["token"], n=1, body=b"new")
    assert [(push["attempt"], push["n"]) for push in planner.pushes("progress")] == [(1, 1), (1, 2), (2, 1)]
    returned = driver.agent("planner")
    returned.ask("task.follow", tasks=[["t1", 2, 1]])
    assert returned.push("progress")["body"] == b"new", "what it has is of an attempt that is over"


def test_progress_after_a_restart_has_no_false_gap(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    driver.restart()
    writer.connect()
    writer.ask("room.join")
    writer.serve("draft", holding=[["t1", task["token"]]])
    planner.connect()
    planner.ask("task.follow", tasks=[["t1", 4, 1]])
    writer.say("task.progress", task="t1", token=task["token"], n=5, body=b"five")
    assert planner.push("progress")["n"] == 5


def test_nobody_is_pushed_to_on_a_connection_that_is_gone(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    planner.disconnect()
    writer.say("task.progress", task="t1", token=task["token"], n=1, body=b"")
    writer.complete(task)
    assert planner.pushes() == []
    planner.connect()
    planner.ask("task.follow", tasks=[["t1", 0]])
    assert planner.push("result")["body"] == b"result"


def test_completing_can_ask_for_approvals_in_the_same_turn(driver: Any, planner: Any, writer: Any) -> None:
    asked = {"approval": "a1", "action": "publish", "body": b"shown", "allow": ["approve", "reject"], "task": "t1"}
    planner.dispatch()
    writer.complete(writer.push("task"), approvals=[asked])
    assert driver.types()[-2:] == ["approval.requested", "task.completed"]
    assert planner.ask("approval.list")["approvals"][0]["approval"] == "a1"
    planner.dispatch("t2")
    writer.complete(writer.push("task"), approvals=[asked])
    assert driver.types().count("approval.requested") == 1, "the same id attaches"


def test_a_completion_with_a_bad_approval_changes_nothing(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    good = {"approval": "a1", "action": "publish", "body": b"shown", "allow": ["approve"]}
    for bad, code in (({**good, "approval": "a2", "approvers": ["ana"], "quorum": 2}, "bad_request"), ({"approval": "a2"}, "bad_request")):
        with refused(code):
            writer.complete(task, approvals=[good, bad])
    assert "approval.requested" not in driver.types()
    assert planner.state() == "running"


def test_an_offer_gets_no_more_while_it_has_large_bodies_in_hand(driver: Any, planner: Any) -> None:
    """Else a worker with many slots would be sent more than its connection takes, and be cut off, each time it comes back."""
    worker = driver.agent("worker")
    worker.ask("room.join")
    worker.serve("draft", slots=10)
    for number in range(6):
        planner.dispatch(f"t{number}", body=bytes(IN_HAND // 2))
    tasks = worker.pushes("task")
    assert [task["task"] for task in tasks] == ["t0", "t1"]
    worker.complete(tasks[0])
    (third,) = worker.pushes("task")
    assert third["task"] == "t2"
    planner.dispatch("small", body=b"", priority=1)
    assert worker.pushes("task") == []
    driver.restart()  # who comes back has as much in hand
    worker.ask("room.join")
    worker.serve("draft", slots=10, holding=[["t1", tasks[1]["token"]]])
    assert [task["task"] for task in worker.pushes("task")] == ["t2"]
    worker.complete(third)
    assert [task["task"] for task in worker.pushes("task")] == ["small", "t3"]


def test_a_task_larger_than_that_is_handed_out_all_the_same(driver: Any, planner: Any) -> None:
    worker = driver.worker("worker", "draft", slots=2)
    planner.dispatch("t1", body=bytes(IN_HAND + 1))
    planner.dispatch("t2")
    (task,) = worker.pushes("task")
    assert task["task"] == "t1"
    worker.complete(task)
    assert worker.push("task")["task"] == "t2"


def test_one_approval_named_twice_is_one_question_or_a_conflict(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch("t1")
    task = writer.push("task")
    asked = {"approval": "a1", "action": "deploy", "body": b"v2", "allow": ["approve", "reject"]}
    for other in ({"action": "delete"}, {"body": b"v3"}):
        with refused("key_conflict"):
            writer.complete(task, approvals=[asked, {**asked, **other}])
    assert "approval.requested" not in driver.types()
    writer.complete(task, approvals=[asked, asked])
    assert driver.types().count("approval.requested") == 1
