"""The effect ledger: done once and known to later attempts, closed to those that lost the task."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits


def entry(task: dict[str, Any], key: str = "charge") -> dict[str, Any]:
    return {"task": task["task"], "token": task["token"], "key": key}


def test_a_later_attempt_finds_what_an_earlier_one_did(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    first = writer.push("task")
    assert writer.ask("effect.get", **entry(first)) == {"found": False}
    assert writer.ask("effect.put", **entry(first), body=b"receipt", ct="text") == {"recorded": True}
    recorded = driver.log[-1]
    assert (recorded.type, recorded.subject, recorded.body, recorded.parent) == ("task.effect", "draft", b"receipt", first["token"])
    writer.fail(first, delay=0)
    driver.restart()
    writer.connect()
    writer.ask("room.join")
    writer.serve("draft")
    second = writer.push("task")
    assert writer.ask("effect.get", **entry(second)) == {"found": True, "body": b"receipt", "ct": "text"}
    assert writer.ask("effect.get", **entry(second, "other")) == {"found": False}


def test_the_first_record_of_a_key_stays(planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    writer.ask("effect.put", **entry(task), body=b"1")
    assert writer.ask("effect.put", **entry(task), body=b"2") == {"recorded": False, "body": b"1"}


def test_who_lost_the_task_neither_reads_nor_writes(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    lost = writer.push("task")
    other = driver.worker("other", "draft")
    driver.advance(60, other)
    held = other.push("task")
    for fields in (entry(lost), {**entry(held)}):
        for op, body in (("effect.get", {}), ("effect.put", {"body": b"1"})):
            with refused("stale_lease"):
                writer.ask(op, **fields, **body)
    assert other.ask("effect.get", **entry(held)) == {"found": False}


@pytest.mark.parametrize("end", ["complete", "cancel", "purge"])
def test_the_ledger_goes_with_its_task(driver: Any, planner: Any, writer: Any, end: str) -> None:
    planner.dispatch(key="k")
    planner.dispatch("t10")  # its id begins alike
    task = writer.push("task")
    writer.ask("effect.put", **entry(task), body=b"1")
    assert [key for key in driver.records if key.startswith("effect/")] == ["effect/t1\x1fcharge"]
    if end == "complete":
        writer.complete(task)
    elif end == "cancel":
        planner.ask("task.cancel", task="t1")
    else:
        writer.fail(task, retry=False)
        assert "effect/t1\x1fcharge" in driver.records
        driver.restart()
        planner.ask("task.purge")
    assert not [key for key in driver.records if key.startswith("effect/")]


def test_a_dead_letter_that_is_tried_again_knows_what_it_did(planner: Any, writer: Any) -> None:
    planner.dispatch(max_attempts=1)
    task = writer.push("task")
    writer.ask("effect.put", **entry(task), body=b"1")
    writer.fail(task)
    planner.ask("task.retry", task="t1")
    assert writer.ask("effect.get", **entry(writer.push("task"))) == {"found": True, "body": b"1"}


def test_a_ledger_is_bounded_and_no_record_of_users(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(effects=2))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    planner.dispatch()
    task = writer.push("task")
    for key in "ab":
        writer.ask("effect.put", **entry(task, key), body=b"1")
    with refused("overloaded"):
        writer.ask("effect.put", **entry(task, "c"), body=b"1")
    with refused("bad_request"):
        writer.ask("record.write", puts=[["effect/t1\x1fa", b"2", False]])
    with refused("bad_request"):
        writer.ask("record.scan", prefix="effect/")
