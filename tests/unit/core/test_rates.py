"""Rate keys: at most so many hand-outs in any span, over restarts too, and nobody waits for what nobody serves."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits


def rates(driver: Any) -> list[str]:
    return [key for key in driver.heads if key.startswith("rate/")]


def test_at_most_so_many_start_in_any_span(driver: Any, planner: Any) -> None:
    for number in range(7):
        planner.dispatch(f"t{number}", rate_key="mail", rate_limit=[3, 10])
    planner.dispatch("free")
    worker = driver.worker("writer", "draft", slots=20)
    assert [push["task"] for push in worker.pushes("task")] == ["t0", "free", "t1", "t2"]
    assert planner.ask("room.info")["tasks"]["parked"] == 4
    driver.advance(9.9, worker)
    assert worker.pushes() == []
    driver.advance(0.2, worker)
    assert [push["task"] for push in worker.pushes("task")] == ["t3", "t4", "t5"]
    driver.advance(10.1, worker)
    assert worker.push("task")["task"] == "t6"
    moments = [event.time for event in driver.log if event.type == "task.claimed" and event.data["task"] != "free"]
    assert all(later - earlier >= 10 for earlier, later in zip(moments, moments[3:], strict=False))


def test_the_span_slides(driver: Any, planner: Any) -> None:
    """Two at the end of a minute and two at the beginning of the next are four within one."""
    worker = driver.worker("writer", "draft", slots=20)
    planner.dispatch("a", rate_key="k", rate_limit=[2, 10])
    driver.advance(6, worker)
    for task in ("b", "c", "d"):
        planner.dispatch(task, rate_key="k", rate_limit=[2, 10])
    assert [push["task"] for push in worker.pushes("task")] == ["a", "b"]
    driver.advance(4.1, worker)
    assert worker.push("task")["task"] == "c"
    driver.advance(5.8, worker)
    assert worker.pushes() == []
    driver.advance(0.2, worker)
    assert worker.push("task")["task"] == "d"


@pytest.mark.parametrize("seconds", [-7200, -3600, -5, -0.5, 3600])
def test_a_clock_that_is_set_keeps_nobody_waiting_for_more_than_two_spans(driver: Any, planner: Any, seconds: float) -> None:
    worker = driver.worker("writer", "draft", slots=20)
    for number in range(9):
        planner.dispatch(f"t{number}", rate_key="k", rate_limit=[3, 10])
    assert len(worker.pushes("task")) == 3
    driver.advance(1, worker)
    driver.wall += seconds
    driver.advance(20.1, worker)
    assert len(worker.pushes("task")) >= 3
    driver.advance(10.1, worker)
    driver.advance(10.1, worker)
    driver.advance(10.1, worker)
    assert driver.types().count("task.claimed") == 9


def test_a_task_that_a_wrong_clock_let_go_on_is_not_handed_out_by_the_right_one(driver: Any, planner: Any) -> None:
    """On a clock that is set back, what was handed out lies more than a span ahead, and does not count."""
    worker = driver.worker("writer", "draft")
    planner.dispatch("a", rate_key="k", rate_limit=[1, 10])
    worker.complete(worker.push("task"))
    planner.dispatch("of no rate")
    busy = worker.push("task")
    driver.wall -= 60
    planner.dispatch("b", rate_key="k", rate_limit=[1, 10])
    assert planner.state("b") == "waiting"
    driver.wall += 60
    worker.complete(busy)
    assert (worker.pushes("task"), planner.state("b")) == ([], "parked")
    driver.advance(9.9, worker)
    assert worker.pushes("task") == []
    driver.advance(0.2, worker)
    assert worker.push("task")["task"] == "b"


def test_every_attempt_counts(driver: Any, planner: Any) -> None:
    worker = driver.worker("writer", "draft")
    planner.dispatch("t", rate_key="k", rate_limit=[2, 10], retry={"initial": 0})
    for _ in range(2):
        worker.fail(worker.push("task"))
    assert planner.state("t") == "parked"
    driver.advance(10.1, worker)
    assert worker.push("task")["attempt"] == 3


@pytest.mark.parametrize("away", [False, True])
def test_a_restart_grants_no_fresh_span(driver: Any, planner: Any, away: bool) -> None:
    """Neither while somebody waits, nor when the key was empty meanwhile."""
    worker = driver.worker("writer", "draft", slots=5)
    for task in ("a", "b"):
        planner.dispatch(task, rate_key="k", rate_limit=[2, 60])
        worker.complete(worker.push("task"))
    if not away:
        planner.dispatch("c", rate_key="k", rate_limit=[2, 60])
    driver.advance(20, worker)
    driver.restart()
    worker.connect()
    worker.ask("room.join")
    worker.serve("draft", slots=5)
    if away:
        planner.dispatch("c", rate_key="k", rate_limit=[2, 60])
    assert worker.pushes("task") == []
    assert planner.state("c") == "parked"
    driver.advance(39.9, worker)
    assert worker.pushes() == []
    driver.advance(0.2, worker)
    worker.complete(worker.push("task"))
    assert rates(driver) == ["rate/k"]
    driver.advance(61, worker)
    planner.dispatch("d", rate_key="other", rate_limit=[1, 1])
    assert rates(driver) == ["rate/other"], "what counts no more is forgotten"


def test_the_limit_that_was_named_last_holds(driver: Any, planner: Any) -> None:
    worker = driver.worker("writer", "draft", slots=20)
    for number in range(4):
        planner.dispatch(f"t{number}", rate_key="k", rate_limit=[1, 60])
    assert worker.push("task")["task"] == "t0"
    planner.dispatch("t4", rate_key="k", rate_limit=[3, 60], priority=1)
    assert [push["task"] for push in worker.pushes("task")] == ["t4", "t1"]
    planner.dispatch("t5", rate_key="k", rate_limit=[4, 5])
    assert [push["task"] for push in worker.pushes("task")] == ["t2"]


def test_what_nobody_serves_keeps_nobody_waiting(driver: Any, planner: Any) -> None:
    planner.dispatch("first", "unserved", rate_key="k", rate_limit=[1, 60])
    planner.dispatch("second", rate_key="k", rate_limit=[1, 60])
    assert (planner.state("first"), planner.state("second")) == ("waiting", "waiting")
    worker = driver.worker("writer", "draft", "unserved", slots=5)
    assert worker.push("task")["task"] == "first"
    assert planner.state("second") == "parked"
    worker.ask("task.serve", offer=1, slots=5, types=["draft"], holding=[])
    driver.advance(60.1, worker)
    assert worker.push("task")["task"] == "second"
    planner.dispatch("third", "unserved", rate_key="k", rate_limit=[1, 60])
    planner.dispatch("fourth", rate_key="k", rate_limit=[1, 60])
    driver.advance(60.1, worker)
    assert worker.push("task")["task"] == "fourth"


def test_a_rate_is_not_used_up_twice_in_one_turn(driver: Any, planner: Any) -> None:
    """Tasks of one key that differ in what they need begin to wait together; the first takes what is left."""
    worker = driver.worker("writer", "draft", "edit", slots=20)
    for number, type in enumerate(("draft", "edit", "draft", "edit")):
        planner.dispatch(f"t{number}", type, rate_key="k", rate_limit=[1, 10], delay=5)
    driver.advance(5, worker)
    assert worker.push("task")["task"] == "t0"
    driver.advance(10.1, worker)
    assert worker.push("task")["task"] == "t1"


def test_both_keys_hold(driver: Any, planner: Any) -> None:
    """At most one a customer at a time, and at most three in ten seconds for all of them."""
    worker = driver.worker("writer", "draft", slots=20)
    for customer in ("a", "b"):
        for number in range(3):
            planner.dispatch(f"{customer}{number}", concurrency_key=customer, rate_key="k", rate_limit=[3, 10])
    first, second = worker.pushes("task")
    assert (first["task"], second["task"]) == ("a0", "b0")
    worker.complete(second)
    third = worker.push("task")
    assert third["task"] == "b1"
    worker.complete(first)
    worker.complete(third)
    assert worker.pushes() == []
    driver.advance(10.1, worker)
    assert [push["task"] for push in worker.pushes("task")] == ["a1", "b2"]


def test_a_better_one_takes_the_place_of_one_that_waits(driver: Any, planner: Any) -> None:
    """In both lines: of its concurrency key, and of its rate."""
    planner.dispatch("a", concurrency_key="c", rate_key="k", rate_limit=[1, 10])
    planner.dispatch("b", rate_key="k", rate_limit=[1, 10])
    planner.dispatch("urgent", concurrency_key="c", rate_key="k", rate_limit=[1, 10], priority=1)
    assert [planner.state(task) for task in ("a", "b", "urgent")] == ["parked", "parked", "waiting"]
    planner.ask("task.cancel", task="urgent")
    assert [planner.state(task) for task in ("a", "b")] == ["waiting", "parked"]
    planner.ask("task.cancel", task="a")
    assert planner.state("b") == "waiting"
    planner.ask("task.cancel", task="b")
    assert rates(driver) == []


def test_a_dead_letter_comes_back_under_its_rate(driver: Any, planner: Any) -> None:
    worker = driver.worker("writer", "draft")
    planner.dispatch("t", rate_key="k", rate_limit=[1, 10])
    worker.fail(worker.push("task"), retry=False)
    driver.advance(11, worker)
    planner.dispatch("u", rate_key="other", rate_limit=[1, 10])
    worker.complete(worker.push("task"))
    assert rates(driver) == ["rate/other"]
    planner.ask("task.retry", task="t")
    worker.fail(worker.push("task"), retry=False)
    planner.ask("task.retry", task="t")
    assert planner.state("t") == "parked"


def test_what_is_wrong_is_refused(driver: Any, planner: Any, refused: Any) -> None:
    for fields in ({"rate_key": "k"}, {"rate_limit": [1, 1]}):
        with refused("bad_request"):
            planner.dispatch(**fields)
    for limit in ([0, 1], [1, 0], [1, -1], [1001, 1], [1.5, 1], [1], 1, "1/s", [1, float("nan")]):
        with refused("bad_request") as caught:
            planner.dispatch(rate_key="k", rate_limit=limit)
        assert caught.value.detail == {"field": "rate_limit"}
    assert driver.log == []


def test_rate_keys_are_bounded(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(rates=2))
    planner, worker = driver.agent("planner"), driver.worker("writer", "draft", slots=9)
    planner.dispatch("a", rate_key="a", rate_limit=[1, 10])
    planner.dispatch("b", rate_key="b", rate_limit=[1, 20])
    for push in worker.pushes("task"):
        worker.complete(push)
    with refused("overloaded"):
        planner.dispatch("c", rate_key="c", rate_limit=[1, 10])
    planner.dispatch("a2", rate_key="a", rate_limit=[2, 10])
    worker.complete(worker.push("task"))
    driver.advance(10.1, worker)
    planner.dispatch("c", rate_key="c", rate_limit=[1, 10])
    assert sorted(rates(driver)) == ["rate/b", "rate/c"]


def test_what_is_refused_for_its_rate_takes_nobodys_place(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(rates=1))
    planner = driver.agent("planner")
    planner.dispatch("t0", rate_key="one", rate_limit=[1, 5])
    planner.dispatch("t1", concurrency_key="k")
    with refused("overloaded"):
        planner.dispatch("t2", concurrency_key="k", busy="replace", rate_key="another", rate_limit=[1, 5])
    assert planner.state("t1") == "waiting"
