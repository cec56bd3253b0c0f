"""A task may have a worker that it would rather go to."""

from __future__ import annotations

from typing import Any


def test_the_preferred_worker_first_then_others(driver: Any, planner: Any) -> None:
    others = [driver.worker(name, "draft", slots=2) for name in ("a", "c")]
    preferred = driver.worker("b", "draft", slots=2)
    for number in range(3):
        planner.dispatch(f"t{number}", preferred="b")
    assert [push["task"] for push in preferred.pushes("task")] == ["t0", "t1"]
    assert [push["task"] for other in others for push in other.pushes("task")] == ["t2"]


def test_who_is_away_full_or_unable_is_not_waited_for(driver: Any, planner: Any, writer: Any) -> None:
    driver.worker("able", "other")
    for task, preferred in (("t1", "nobody"), ("t2", "able")):
        planner.dispatch(task, preferred=preferred)
        handed = writer.push("task")
        assert handed["task"] == task
        writer.complete(handed)


def test_a_freed_worker_leaves_it_to_the_preferred_one(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch("first", concurrency_key="k")
    planner.dispatch("next", concurrency_key="k", preferred="b")
    preferred = driver.worker("b", "draft")
    writer.complete(writer.push("task"))
    assert preferred.push("task")["task"] == "next"
    assert writer.pushes("task") == []
