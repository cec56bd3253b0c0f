"""Concurrency keys: how many run, whose turn it is, and that a room loaded again decides alike."""

from __future__ import annotations

from typing import Any


def test_at_most_so_many_of_a_key_run(driver: Any, planner: Any) -> None:
    for number in range(5):
        planner.dispatch(f"t{number}", concurrency_key="k", concurrency_limit=3)
    planner.dispatch("free")
    worker = driver.worker("writer", "draft", slots=10)
    handed = worker.pushes("task")
    assert [push["task"] for push in handed] == ["t0", "free", "t1", "t2"]
    assert planner.ask("room.info")["tasks"]["parked"] == 2
    worker.complete(handed[2])
    assert worker.push("task")["task"] == "t3"
    worker.fail(handed[0], retry=False)
    assert worker.push("task")["task"] == "t4"


def test_the_lowest_limit_of_those_there_counts(driver: Any, planner: Any) -> None:
    worker = driver.worker("writer", "draft", slots=10)
    planner.dispatch("a", concurrency_key="k", concurrency_limit=2)
    planner.dispatch("later", concurrency_key="k", delay=60)
    planner.dispatch("b", concurrency_key="k", concurrency_limit=2)
    (first,) = worker.pushes("task")
    assert (first["task"], planner.state("b")) == ("a", "parked")
    planner.ask("task.cancel", task="later")
    assert worker.push("task")["task"] == "b"


def test_keys_take_turns_whatever_the_order_of_their_tasks(driver: Any, planner: Any) -> None:
    for key, number in (("a", 4), ("b", 2), ("c", 2)):
        for n in range(number):
            planner.dispatch(f"{key}{n}", concurrency_key=key, concurrency_limit=2)
    planner.dispatch("urgent", priority=1)
    planner.dispatch("none")
    worker = driver.worker("writer", "draft")
    order = []
    for _ in range(10):
        task = worker.push("task")
        order.append(task["task"])
        worker.complete(task)
        if len(order) == 3:  # whose turn it is outlives the broker; c0 was handed out and is lost: it had its turn
            assert worker.push("task")["task"] == "c0"
            worker.disconnect()
            driver.advance(60)
            driver.restart()
            worker.connect()
            worker.ask("room.join")
            worker.serve("draft")
    assert order == ["urgent", "a0", "b0", "none", "a1", "b1", "c0", "a2", "c1", "a3"]
    assert not [key for key in driver.heads if key.startswith("lane/")]


def test_a_limit_without_a_key_is_refused(planner: Any, refused: Any) -> None:
    with refused("bad_request") as caught:
        planner.dispatch(concurrency_limit=2)
    assert caught.value.detail == {"field": "concurrency_limit"}
