"""Dispatch, hand-out, result: the life of a task as its dispatcher and its worker see it."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import OVERHEAD, Limits


def test_a_task_is_handed_out_in_the_turn_that_dispatches_it(driver: Any, planner: Any, writer: Any) -> None:
    answer = planner.dispatch(ct="text", timeout=60, parent=2)
    assert answer == {"task": "t1", "state": "running", "attached": False}
    push = writer.push("task")
    assert push == {
        "push": "task",
        "room": "room",
        "offer": 1,
        "task": "t1",
        "type": "draft",
        "kind": "handoff",
        "attempt": 1,
        "token": push["token"],
        "deadline": driver.wall + 60,
        "seq": 3,
        "body": b"payload",
        "ct": "text",
        "dispatcher": "planner",
        "tells": [],
    }
    assert driver.types()[2:] == ["task.dispatched", "task.claimed"]
    assert driver.log[3].parent == 3


def test_the_reply_comes_before_the_pushes_of_the_same_command(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(key="k")
    writer.complete(writer.push("task"))
    planner.pushes()
    planner.dispatch("t2", key="k")
    assert [type(effect).__name__ for effect in driver.effects] == ["Reply", "Push"]


def test_the_result_goes_to_whoever_follows(driver: Any, planner: Any, writer: Any) -> None:
    watcher = driver.agent("watcher")
    planner.dispatch()
    assert watcher.ask("task.follow", tasks=[["t1", 0]]) == {"states": {"t1": "running"}}
    assert writer.complete(writer.push("task"), b"done", ct="text") == {"state": "completed"}
    result = planner.push("result")
    assert result == {
        "push": "result",
        "room": "room",
        "task": "t1",
        "state": "completed",
        "seq": len(driver.log),
        "attempt": 1,
        "body": b"done",
        "ct": "text",
    }
    assert watcher.push("result") == result


def test_nobody_is_told_who_does_not_follow(planner: Any, writer: Any) -> None:
    planner.dispatch(follow=False)
    planner.dispatch("t2")
    planner.ask("task.unfollow", tasks=["t2", "unknown"])
    writer.complete(writer.push("task"))
    writer.complete(writer.push("task"))
    assert planner.pushes() == []


def test_following_a_finished_task_answers_at_once(planner: Any, writer: Any) -> None:
    planner.dispatch(follow=False)
    writer.complete(writer.push("task"))
    answer = planner.ask("task.follow", tasks=[["t1", 0], ["unknown", 0]])
    assert answer == {"states": {"t1": "completed", "unknown": None}}
    assert planner.push("result")["body"] == b"result"


def test_a_task_waits_for_a_worker_with_all_of_its_capabilities(driver: Any, planner: Any) -> None:
    planner.dispatch(capabilities=["gpu", "draft"])
    driver.worker("half", "draft", capabilities=["gpu"])
    driver.worker("other", "review", capabilities=["gpu", "draft"])
    assert planner.state() == "waiting"
    able = driver.worker("able", capabilities=["gpu", "draft", "more"])
    assert able.push("task")["task"] == "t1"


def test_higher_priority_first_then_older(driver: Any, planner: Any) -> None:
    for task, priority in (("low", -1), ("first", 0), ("high", 5), ("second", 0)):
        planner.dispatch(task, priority=priority)
    writer = driver.worker("writer", "draft", slots=4)
    assert [push["task"] for push in writer.pushes("task")] == ["high", "first", "second", "low"]


def test_a_freed_slot_takes_the_best_of_all_that_wait(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", "review")
    planner.dispatch("running", concurrency_key="k")
    running = writer.push("task")
    planner.dispatch("parked", concurrency_key="k")
    planner.dispatch("urgent", "review", priority=9)
    writer.complete(running)
    assert writer.push("task")["task"] == "urgent"


def test_the_least_loaded_offer_is_chosen(driver: Any, planner: Any) -> None:
    workers = [driver.worker(name, "draft", slots=3) for name in ("a", "b", "c")]
    for number in range(6):
        planner.dispatch(f"t{number}")
    assert [len(worker.pushes("task")) for worker in workers] == [2, 2, 2]


def test_profiles_share_the_load_too(driver: Any, planner: Any) -> None:
    workers = [driver.worker(name, "draft", slots=10, capabilities=[name]) for name in "abcdefghijklmnop"]
    for number in range(32):
        planner.dispatch(f"t{number}")
    assert [len(worker.pushes("task")) for worker in workers] == [2] * 16


def test_a_delayed_task_waits_for_its_time(driver: Any, planner: Any, writer: Any) -> None:
    assert planner.dispatch(delay=30)["state"] == "delayed"
    assert planner.ask("task.get", task="t1")["task"]["due"] == driver.wall + 30
    driver.advance(29.9, writer)
    assert writer.pushes() == []
    driver.advance(0.1, writer)
    assert writer.push("task")["task"] == "t1"


def test_a_timeout_ends_a_waiting_task(driver: Any, planner: Any) -> None:
    planner.dispatch(timeout=10, capabilities=["nobody"])
    driver.advance(9.9)
    assert planner.pushes() == []
    driver.advance(0.2)
    result = planner.push("result")
    assert (result["state"], "body" in result) == ("timed_out", False)
    assert driver.log[-1].sender == "@broker"


@pytest.mark.parametrize("restarted", [False, True])
def test_what_has_timed_out_is_handed_to_nobody(driver: Any, planner: Any, restarted: bool) -> None:
    planner.dispatch(timeout=10)
    if restarted:
        driver.restart()
    driver.oversleep(10)
    assert driver.worker("writer", "draft").pushes() == []
    assert planner.state() == "timed_out"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_result_after_the_deadline_comes_too_late(driver: Any, planner: Any, writer: Any, refused: Any, restarted: bool) -> None:
    planner.dispatch(timeout=10)
    task = writer.push("task")
    if restarted:
        driver.restart()
    driver.oversleep(10)
    with refused("task_finished") as caught:
        writer.complete(task)
    assert caught.value.detail == {"state": "timed_out"}


def test_what_came_due_while_nobody_looked_takes_its_turn(driver: Any, planner: Any) -> None:
    planner.dispatch("later", delay=10, priority=9)
    planner.dispatch("now")
    driver.restart()
    driver.oversleep(10)
    assert driver.worker("writer", "draft").push("task")["task"] == "later"


def test_a_timeout_ends_a_running_task_and_its_holder_frees_its_slot(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch(timeout=5)
    planner.dispatch("t2")
    task = writer.push("task")
    driver.advance(5)
    cancel = writer.push("cancel")
    assert cancel == {"push": "cancel", "room": "room", "task": "t1", "token": task["token"], "reason": "timed_out", "ended": True}
    with refused("task_finished"):
        writer.ask("task.progress", task="t1", token=task["token"], n=1, body=b"")
    assert writer.pushes() == []
    with refused("task_finished") as caught:
        writer.complete(task)
    assert caught.value.detail == {"state": "timed_out"}
    assert writer.push("task")["task"] == "t2"
    writer.done_with(task)
    assert writer.pushes() == [], "once"


def test_cancel_reaches_worker_and_followers(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    assert planner.ask("task.cancel", task="t1", reason="not needed") == {"state": "cancelled"}
    assert writer.push("cancel")["reason"] == "not needed"
    assert planner.push("result")["state"] == "cancelled"
    with refused("task_finished"):
        writer.complete(task)
    assert planner.ask("task.cancel", task="t1") == {"state": "cancelled"}, "again is no error"
    planner.dispatch("t2")
    assert writer.push("task")["task"] == "t2"


def test_cancelling_a_completed_task_says_that_it_completed(planner: Any, writer: Any) -> None:
    planner.dispatch()
    writer.complete(writer.push("task"))
    assert planner.ask("task.cancel", task="t1") == {"state": "completed"}


def test_a_slot_holds_one_live_task(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(slot="thread-1", key="a")
    first = writer.push("task")
    assert planner.dispatch("t1b", slot="thread-1", key="a") == {"task": "t1", "state": "running", "attached": True}
    planner.dispatch("t2", slot="thread-1", key="b")
    cancel = writer.push("cancel")
    assert (cancel["token"], cancel["reason"]) == (first["token"], "superseded")
    writer.done_with(first)
    assert writer.push("task")["task"] == "t2"
    assert planner.push("result")["state"] == "cancelled"


def test_a_concurrency_key_lets_one_run_and_the_others_follow_in_order(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", slots=10)
    for task, priority in (("a", 0), ("b", 0), ("c", 1)):
        planner.dispatch(task, concurrency_key="customer", priority=priority)
    planner.dispatch("free")
    running, free = writer.pushes("task")
    assert (running["task"], free["task"]) == ("a", "free")
    assert [planner.state(task) for task in "abc"] == ["running", "parked", "parked"]
    writer.complete(running)
    running = writer.push("task")
    assert running["task"] == "c"
    writer.fail(running, retry=False)
    running = writer.push("task")
    assert running["task"] == "b"
    planner.ask("task.cancel", task="b")
    planner.dispatch("d", concurrency_key="customer")
    assert [push["task"] for push in writer.pushes() if push["push"] == "task"] == ["d"]


def test_the_task_that_waits_for_its_lane_makes_way_for_a_more_urgent_one(driver: Any, planner: Any) -> None:
    planner.dispatch("a", concurrency_key="k")
    planner.dispatch("b", concurrency_key="k", priority=5)
    assert [planner.state(task) for task in "ab"] == ["parked", "waiting"]
    planner.ask("task.cancel", task="b")
    assert planner.state("a") == "waiting"


def test_a_retry_in_a_lane_lets_the_next_one_run(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", slots=10)
    planner.dispatch("a", concurrency_key="k")
    planner.dispatch("b", concurrency_key="k")
    writer.fail(writer.push("task"), delay=5)
    second = writer.push("task")
    assert (second["task"], planner.state("a")) == ("b", "delayed")
    driver.advance(5)
    assert planner.state("a") == "parked"
    writer.complete(second)
    assert writer.push("task")["task"] == "a"


def test_overloaded_before_anything_is_accepted(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(backlog=2))
    planner = driver.agent("planner")
    planner.dispatch("t1", slot="s")
    planner.dispatch("t2")
    before = list(driver.log)
    with refused("overloaded") as caught:
        planner.dispatch("t3", slot="s")
    assert caught.value.retryable
    assert driver.log == before
    assert planner.dispatch("t1", slot="s", resent=True)["attached"], "what is there already is not refused"
    planner.ask("task.cancel", task="t2")
    planner.dispatch("t3")


def test_tells_reach_the_worker_now_or_with_the_claim(driver: Any, planner: Any) -> None:
    planner.dispatch()
    assert planner.ask("task.tell", task="t1", body=b"early") == {}
    writer = driver.worker("writer", "draft")
    task = writer.push("task")
    assert task["tells"] == [b"early"]
    planner.ask("task.tell", task="t1", body=b"late")
    assert writer.push("tell") == {"push": "tell", "room": "room", "task": "t1", "n": 2, "body": b"late"}
    writer.ask("task.release", task="t1", token=task["token"])
    assert writer.push("task")["tells"] == [b"early", b"late"]


def test_tells_are_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(tells=10 + 2 * OVERHEAD)).agent("planner")
    planner.dispatch()
    planner.ask("task.tell", task="t1", body=b"12345678")
    with refused("overloaded"):
        planner.ask("task.tell", task="t1", body=b"123")
    planner.ask("task.tell", task="t1", body=b"12")
    with refused("overloaded"):
        planner.ask("task.tell", task="t1", body=b"")


def test_a_finished_task_is_not_told_anything(planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    writer.complete(writer.push("task"))
    with refused("task_finished"):
        planner.ask("task.tell", task="t1", body=b"")
    with refused("task_not_found"):
        planner.ask("task.tell", task="t9", body=b"")


@pytest.mark.parametrize("restarted", [False, True])
def test_pages_go_by_when_tasks_were_dispatched(driver: Any, planner: Any, writer: Any, restarted: bool) -> None:
    """Whatever becomes of them meanwhile, no page has what another one had, and none is left out that is there."""
    for number in range(6):
        planner.dispatch(f"t{number}")
    first = planner.ask("task.list", limit=2, after=0)
    assert ([info["task"] for info in first["tasks"]], first["end"]) == (["t0", "t1"], False)
    writer.complete(writer.push("task"))  # t0, and it gets t1: that ran before t2 came into its state
    planner.ask("task.cancel", task="t3")
    if restarted:
        driver.restart()
    after = first["tasks"][-1]["seq"]
    second = planner.ask("task.list", limit=2, after=after)
    assert ([info["task"] for info in second["tasks"]], second["end"]) == (["t2", "t4"], False)
    third = planner.ask("task.list", limit=2, after=second["tasks"][-1]["seq"])
    assert ([info["task"] for info in third["tasks"]], third["end"]) == (["t5"], True)


def test_list_and_info(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch("a", key="k", group="g", capabilities=["x", "b"], priority=2)
    planner.dispatch("b", kind="node")
    planner.dispatch("c")
    assert [info["task"] for info in planner.ask("task.list")["tasks"]] == ["a", "b", "c"]
    assert [info["task"] for info in planner.ask("task.list", states=["running"])["tasks"]] == ["c"]
    assert [info["task"] for info in planner.ask("task.list", kind="node")["tasks"]] == ["b"]
    assert [info["task"] for info in planner.ask("task.list", limit=1)["tasks"]] == ["a"]
    planner.dispatch("d", concurrency_key="thread")
    assert [info["task"] for info in planner.ask("task.list", limit=1, concurrency_key="thread")["tasks"]] == ["d"]
    planner.ask("task.cancel", task="d")
    assert planner.ask("task.get", task="a")["task"] == {
        "task": "a",
        "seq": next(event.seq for event in driver.log if event.type == "task.dispatched"),
        "type": "draft",
        "kind": "handoff",
        "state": "waiting",
        "attempt": 0,
        "token": 0,
        "dispatcher": "planner",
        "capabilities": ["b", "x"],
        "priority": 2,
        "created": driver.wall,
        "errors": [],
        "key": "k",
        "group": "g",
    }
    assert planner.ask("task.get", task="c")["task"]["holder"] == "writer"
    assert planner.ask("room.info")["tasks"] == {"waiting": 2, "delayed": 0, "parked": 0, "running": 1, "failed": 0}


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("task.dispatch", {"task": "n", "type": "secret", "body": b""}),
        ("task.get", {"task": "t1"}),
        ("task.cancel", {"task": "t1"}),
        ("task.tell", {"task": "t1", "body": b""}),
        ("task.follow", {"tasks": [["t1", 0]]}),
    ],
)
def test_grants_are_checked(driver: Any, planner: Any, refused: Any, op: str, fields: dict[str, Any]) -> None:
    planner.dispatch(type="secret")
    other = driver.agent("other", [{"room": "room", "topics": ["public/**"], "verbs": ["dispatch"]}])
    with refused("not_authorized") as caught:
        other.ask(op, **fields)
    assert "'dispatch' on 'secret'" in caught.value.message
    assert other.ask("task.list")["tasks"] == []
    assert other.ask("task.dispatch", task="mine", type="public/x", body=b"")["state"] == "waiting"


def test_calls_of_tools_need_the_verb_tools(driver: Any, refused: Any) -> None:
    caller = driver.agent("caller", [{"room": "room", "verbs": ["dispatch"]}])
    with refused("not_authorized") as caught:
        caller.dispatch(kind="tool")
    assert "'tools'" in caught.value.message


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_lost_worker_held_goes_back_in_the_order_in_which_it_was_handed_out(driver: Any, planner: Any, restarted: bool) -> None:
    worker = driver.worker("writer", "draft", slots=2)
    planner.dispatch("t1")
    planner.dispatch("t2")
    first = next(push for push in worker.pushes("task") if push["task"] == "t1")
    worker.ask("task.release", task="t1", token=first["token"])  # and gets it again
    if restarted:
        driver.restart()
    driver.advance(1000)
    lost = [event.data["task"] for event in driver.log if event.type == "task.released" and event.data["reason"] == "lease_expired"]
    assert lost == ["t2", "t1"]
