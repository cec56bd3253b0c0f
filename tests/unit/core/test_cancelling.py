"""A cancellation that gives the worker time to let go: until then its hand-out counts, and afterwards nothing of it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def task(planner: Any, writer: Any) -> dict[str, Any]:
    """As it was handed out to the writer, which is asked to let go of it within 5 seconds."""
    planner.dispatch(concurrency_key="one")
    handed_out: dict[str, Any] = writer.push("task")
    planner.cancelled = planner.ask("task.cancel", task="t1", wait=5, reason="enough")
    return handed_out


def end(planner: Any) -> tuple[str, Any]:
    result = planner.push("result")
    return result["state"], result.get("error")


def restart(driver: Any, planner: Any, writer: Any) -> None:
    """The broker's; both are back, and the planner follows the task."""
    driver.restart()
    for agent in (planner, writer):
        agent.pushes()
        agent.connect()
        agent.ask("room.join")
    planner.ask("task.follow", tasks=[["t1", 0]])


def test_the_worker_is_asked_and_the_task_goes_on(driver: Any, planner: Any, writer: Any, task: Any) -> None:
    until = driver.wall + 5
    assert planner.cancelled == {"state": "running", "until": until}
    assert writer.push("cancel") == {
        "push": "cancel",
        "room": "room",
        "task": "t1",
        "token": task["token"],
        "reason": "enough",
        "until": until,
    }
    info = planner.ask("task.get", task="t1")["task"]
    assert (info["state"], info["cancelling"]) == ("running", until)
    assert planner.pushes() == []
    writer.say("task.progress", task="t1", token=task["token"], n=1, body=b"half")
    assert planner.push("progress")["body"] == b"half"
    writer.ask("effect.put", task="t1", token=task["token"], key="e", body=b"done")
    writer.ask("record.write", puts=[["r/o/1", b"1", False]], lease=["t1", task["token"]])
    planner.ask("task.tell", task="t1", body=b"an answer")


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(("op", "how"), [("release", "handed_back"), ("fail", "failed")])
def test_it_ends_when_the_worker_lets_go(driver: Any, planner: Any, writer: Any, task: Any, op: str, how: str, again: bool) -> None:
    more = {"error": {"type": "E", "message": ""}, "retry": again} if op == "fail" else {}
    writer.pushes()
    writer.ask(f"task.{op}", task="t1", token=task["token"], **more)
    assert end(planner) == ("cancelled", {"reason": "enough", "let_go": how})
    assert driver.log[-1].data == {"task": "t1", "reason": "enough", "let_go": how}
    assert writer.pushes() == [], "it knows"
    planner.dispatch("t2", concurrency_key="one")
    assert writer.push("task")["task"] == "t2"


def test_it_may_still_be_completed(planner: Any, writer: Any, task: Any) -> None:
    assert writer.complete(task) == {"state": "completed"}
    assert end(planner) == ("completed", None)
    assert planner.ask("task.cancel", task="t1", wait=5) == {"state": "completed"}


def test_when_the_time_is_over_nothing_of_it_counts(driver: Any, planner: Any, writer: Any, task: Any, refused: Any) -> None:
    planner.dispatch("t2", concurrency_key="one")
    writer.pushes()
    driver.advance(4.9, writer)
    assert (planner.pushes(), writer.pushes()) == ([], [])
    driver.advance(0.2, writer)
    assert end(planner) == ("cancelled", {"reason": "enough", "let_go": "overdue"})
    told = writer.push("cancel")
    assert (told["reason"], "until" in told) == ("overdue", False)
    writer.done_with(task)
    assert writer.push("task")["task"] == "t2"
    lease = {"task": "t1", "token": task["token"]}
    for op, fields in (
        ("task.complete", {"body": b"late"}),
        ("task.fail", {"error": {"type": "E", "message": ""}}),
        ("task.progress", {"n": 1, "body": b"late"}),
        ("effect.get", {"key": "e"}),
        ("effect.put", {"key": "e", "body": b"late"}),
    ):
        with refused("task_finished"):
            writer.ask(op, **lease, **fields)
    with refused("stale_lease"):
        writer.ask("record.write", puts=[["r/o/1", b"late", False]], lease=[*lease.values()])


def test_a_worker_that_is_gone_is_not_waited_for(driver: Any, planner: Any, writer: Any, task: Any) -> None:
    writer.disconnect()
    assert end(planner) == ("cancelled", {"reason": "enough", "let_go": "disconnected"})
    writer.connect()
    writer.ask("room.join")
    assert writer.serve("draft", holding=[["t1", task["token"]]]) == ["t1"]


def test_nor_is_one_that_leaves(planner: Any, writer: Any, task: Any) -> None:
    writer.ask("room.leave")
    assert end(planner) == ("cancelled", {"reason": "enough", "let_go": "handed_back"})


def test_nor_one_whose_lease_ends(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    planner.dispatch(max_attempts=1)
    writer.pushes()
    planner.ask("task.cancel", task="t1", wait=60)
    driver.advance(11)
    assert end(planner) == ("cancelled", {"let_go": "lease_expired"})
    assert planner.ask("task.list", states=["failed"])["tasks"] == []


def test_one_that_nobody_runs_or_whose_worker_is_away_ends_at_once(planner: Any, writer: Any) -> None:
    planner.dispatch("waits", "other")
    assert planner.ask("task.cancel", task="waits", wait=5) == {"state": "cancelled"}
    planner.dispatch("runs")
    writer.disconnect()
    planner.pushes()
    assert planner.ask("task.cancel", task="runs", wait=5) == {"state": "cancelled"}
    assert end(planner) == ("cancelled", None)


def test_cancelled_again(driver: Any, planner: Any, writer: Any, task: Any) -> None:
    writer.pushes()
    assert planner.ask("task.cancel", task="t1", wait=60)["until"] == driver.wall + 5, "as it was"
    assert writer.pushes() == []
    assert planner.ask("task.cancel", task="t1", reason="at once") == {"state": "cancelled"}
    assert end(planner) == ("cancelled", {"reason": "enough", "let_go": "at once"})
    assert writer.push("cancel")["reason"] == "at once"


def test_its_own_times_go_on(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch("t1", attempt_timeout=2)
    held = writer.push("task")
    planner.ask("task.cancel", task="t1", wait=5)
    driver.advance(2.1, writer)
    assert end(planner) == ("cancelled", {"let_go": "attempt_timeout"})
    assert [(push["reason"], "until" in push) for push in writer.pushes("cancel")] == [("cancelled", True), ("attempt_timeout", False)]
    writer.done_with(held)
    planner.dispatch("t2", timeout=2)
    writer.pushes()
    planner.ask("task.cancel", task="t2", wait=5)
    driver.advance(2.1, writer)
    assert end(planner)[0] == "timed_out"


@pytest.mark.parametrize("returns", [True, False])
def test_over_a_restart_of_the_broker(driver: Any, planner: Any, writer: Any, task: Any, returns: bool) -> None:
    driver.advance(1, writer)
    restart(driver, planner, writer)
    assert planner.ask("task.cancel", task="t1", wait=5, resent=True)["until"] == pytest.approx(driver.wall + 4)
    if returns:
        assert writer.serve("draft", holding=[["t1", task["token"]]]) == []
        assert writer.push("cancel")["until"] == pytest.approx(driver.wall + 4)
        writer.ask("task.release", task="t1", token=task["token"])
        assert end(planner)[1]["let_go"] == "handed_back"
    else:
        driver.advance(4.1, writer)
        assert end(planner)[1]["let_go"] == "overdue"


def test_a_worker_that_returns_without_it_has_let_go(driver: Any, planner: Any, writer: Any, task: Any) -> None:
    restart(driver, planner, writer)
    writer.serve("draft")
    assert end(planner)[1]["let_go"] == "handed_back"
    assert writer.pushes() == []


def test_nothing_is_kept_of_what_is_to_be_forgotten(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch("t1", key="k", group="g", slot="s")
    held = writer.push("task")
    planner.ask("task.cancel", task="t1", wait=5, forget=True)
    writer.pushes()
    assert planner.dispatch("t2", key="k", group="g", slot="s") == {"task": "t2", "state": "waiting", "attached": False}
    assert [(push["state"], push["error"]["let_go"]) for push in planner.pushes("result")] == [("cancelled", "superseded")]
    with refused("stale_lease"):
        writer.complete(held)
    writer.pushes()
    planner.ask("task.cancel", task="t2", forget=True)
    with refused("task_not_found"):
        planner.state("t2")
    assert planner.dispatch("t3", key="k")["attached"] is False
    assert [key for key in driver.heads if key.startswith("task/")] == ["task/t3"]
    assert driver.records == {}


def test_who_takes_a_run_over_begins_anew_where_it_was_cancelled(driver: Any, planner: Any) -> None:
    """A run holds itself, without an offer."""
    begin = {"type": "graph", "kind": "run", "concurrency_key": "thread", "body": b"", "take": True}
    planner.ask("room.join")
    planner.ask("task.begin", task="r1", **begin)
    driver.agent("other").ask("task.cancel", task="r1", wait=5)
    assert planner.push("cancel")["until"] == driver.wall + 5
    assert planner.ask("task.begin", task="r2", **begin)["task"] == "r2"
    assert driver.types()[-2:] == ["task.claimed", "task.cancelled"]
    assert driver.log[-1].data == {"task": "r1", "let_go": "superseded"}
