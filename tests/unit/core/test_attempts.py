"""When a task may start, how long an attempt may take, and what becomes of those that failed for good."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest


def test_a_task_may_wait_for_a_moment(driver: Any, planner: Any, writer: Any) -> None:
    assert planner.dispatch(run_at=driver.wall + 30)["state"] == "delayed"
    assert planner.ask("task.get", task="t1")["task"]["due"] == driver.wall + 30
    driver.advance(29.9, writer)
    assert writer.pushes() == []
    driver.advance(0.1, writer)
    assert writer.push("task")["task"] == "t1"


def test_a_moment_that_has_passed_is_now(driver: Any, planner: Any, writer: Any) -> None:
    assert planner.dispatch(run_at=driver.wall - 5)["state"] == "running"


def test_run_at_and_delay_are_not_for_one_task(driver: Any, planner: Any, refused: Any) -> None:
    with refused("bad_request") as caught:
        planner.dispatch(run_at=driver.wall + 5, delay=5)
    assert caught.value.detail == {"field": "run_at"}


def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch(attempt_timeout=5, retry={"initial": 2, "jitter": 0})
    task = writer.push("task")
    assert task["attempt_ends"] == driver.wall + 5
    driver.advance(4.9, writer)
    assert writer.pushes() == []
    driver.advance(0.2, writer)
    assert writer.push("cancel") == {"push": "cancel", "room": "room", "task": "t1", "token": task["token"], "reason": "attempt_timeout"}
    released = driver.log[-1]
    assert (released.type, released.data["reason"], released.data["error"]["type"]) == ("task.released", *["attempt_timeout"] * 2)
    assert planner.state() == "delayed"
    with refused("stale_lease"):
        writer.complete(task)
    driver.advance(2, writer)
    again = writer.push("task")
    assert (again["attempt"], again["attempt_ends"]) == (2, pytest.approx(driver.wall + 5, abs=0.2))
    writer.complete(again)
    driver.advance(10, writer)
    assert planner.state() == "completed"


def test_the_last_attempt_that_takes_too_long_makes_a_dead_letter(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(attempt_timeout=5, max_attempts=1)
    held = writer.push("task")
    driver.advance(6, writer)
    result = planner.push("result")
    assert (result["state"], result["error"]["type"]) == ("failed", "attempt_timeout")
    assert [push["push"] for push in writer.pushes()] == ["cancel"]
    planner.dispatch("t2")
    assert writer.pushes() == [], "its handler has its slot until it ends"
    writer.done_with(held)
    assert writer.push("task")["task"] == "t2"


def test_an_attempt_goes_on_over_a_restart_and_ends_at_its_moment(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(attempt_timeout=5, max_attempts=1)
    held = writer.push("task")
    driver.restart()
    writer.connect()
    writer.ask("room.join")
    writer.serve("draft", holding=[["t1", held["token"]]])
    driver.advance(4.9, writer)
    assert planner.state() == "running"
    driver.advance(0.2, writer)
    assert planner.state() == "failed"


def test_dead_letters_are_purged(driver: Any, planner: Any, writer: Any) -> None:
    for task, kind in (("a", "handoff"), ("b", "handoff"), ("c", "handoff"), ("d", "node")):
        if kind == "node":
            writer.serve(offer=2, kind="node")
        planner.dispatch(task, key=task, kind=kind)
        writer.fail(writer.push("task"), retry=False)
    assert planner.ask("task.purge", tasks=["b", "b", "unknown"]) == {"purged": 1}
    other = driver.agent("other", [{"room": "room", "topics": ["public/**"], "verbs": ["dispatch"]}])
    assert other.ask("task.purge") == {"purged": 0}
    assert planner.ask("task.purge", kind="handoff") == {"purged": 2}
    assert [info["task"] for info in planner.ask("task.list", states=["failed"])["tasks"]] == ["d"]
    assert planner.dispatch("again", key="a") == {"task": "again", "state": "running", "attached": False}
    driver.restart()
    assert planner.ask("task.purge") == {"purged": 1}
    assert [key for key in driver.heads if key.startswith("task/")] == ["task/again"]


def test_a_header_of_an_older_broker_is_read(driver: Any, planner: Any) -> None:
    planner.dispatch(timeout=60)
    driver.heads["task/t1"] = msgpack.packb(msgpack.unpackb(driver.heads["task/t1"])[:32])
    driver.restart()
    assert planner.state() == "waiting"
