"""Schedules: each moment brings one task, over restarts too; what was missed is fired once."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits

from .conftest import WALL, Driver

MINUTE = 60.0  # WALL is the beginning of one


def schedule(agent: Any, name: str = "s", cron: str = "* * * * *", **fields: Any) -> dict[str, Any]:
    return agent.ask("schedule.set", **{"schedule": name, "cron": cron, "type": "report", "body": b"for ana", **fields})


def fired(driver: Driver) -> list[float]:
    """How many minutes after the beginning of the test."""
    return [(event.data["moment"] - WALL) / MINUTE for event in driver.log if event.type == "schedule.fired"]


def skipped(driver: Driver) -> list[tuple[float, str]]:
    return [((event.data["moment"] - WALL) / MINUTE, event.data["reason"]) for event in driver.log if event.type == "schedule.skipped"]


def test_each_moment_brings_one_task(driver: Any, planner: Any) -> None:
    answer = schedule(planner, ct="text/plain", terms={"capabilities": ["ink"], "priority": 3, "timeout": 600, "max_attempts": 1})
    assert (answer["created"], answer["next"], answer["paused"]) == (True, WALL + MINUTE, False)
    worker = driver.worker("writer", "report", slots=9, capabilities=["ink"])
    driver.advance(59, worker)
    assert worker.pushes() == []
    driver.advance(2, worker)
    push = worker.push("task")
    assert (push["type"], push["body"], push["ct"], push["dispatcher"]) == ("report", b"for ana", "text/plain", "planner")
    assert (push["moment"], push["deadline"]) == (WALL + MINUTE, WALL + MINUTE + 600)
    driver.advance(120, worker)
    assert [push["moment"] for push in worker.pushes("task")] == [WALL + 2 * MINUTE, WALL + 3 * MINUTE]
    assert fired(driver) == [1, 2, 3]
    events = [event for event in driver.log if event.type in ("schedule.fired", "task.dispatched")]
    for moment, task in zip(events[::2], events[1::2], strict=True):
        assert (moment.sender, moment.subject, moment.data["task"]) == ("@broker", "report", task.data["task"])
        assert task.parent == moment.seq
    info = planner.ask("schedule.get", schedule="s")
    assert (info["fired"], info["next"], info["task"]) == (WALL + 3 * MINUTE, WALL + 4 * MINUTE, events[-1].data["task"])


def test_a_restart_between_two_moments_changes_nothing(driver: Any, planner: Any) -> None:
    schedule(planner)
    driver.advance(61)
    driver.restart()
    driver.advance(58)
    assert fired(driver) == [1]
    driver.advance(1)
    driver.restart()
    driver.advance(1)
    assert fired(driver) == [1, 2]


def test_what_was_missed_is_fired_once_for_the_last_moment(driver: Any, planner: Any) -> None:
    schedule(planner)
    driver.advance(61)
    driver.wall += 10.5 * MINUTE  # nobody was there
    driver.restart()
    driver.advance(1)
    assert fired(driver) == [1, 11]
    (late,) = [event.data for event in driver.log if event.type == "schedule.fired" and event.data["moment"] > WALL + MINUTE]
    assert (late["first"], late["next"]) == (WALL + 2 * MINUTE, WALL + 12 * MINUTE)
    driver.restart()
    driver.advance(1)
    assert fired(driver) == [1, 11]
    driver.advance(MINUTE)
    assert fired(driver) == [1, 11, 12]


def test_a_moment_that_was_not_stored_comes_again_and_one_that_was_does_not(driver: Any, planner: Any) -> None:
    schedule(planner)
    driver.advance(59.5)
    driver.now, driver.wall = driver.now + 1, driver.wall + 1
    driver.room.tick(driver.env)  # the broker dies before this is on disk
    driver.restart()
    driver.room.tick(driver.env)
    driver.flush()
    assert fired(driver) == [1]
    driver.restart()
    driver.room.tick(driver.env)
    driver.flush()
    assert fired(driver) == [1]


def test_no_moment_comes_twice_when_the_clock_is_set_back(driver: Any, planner: Any) -> None:
    schedule(planner)
    driver.advance(3 * MINUTE + 1)
    driver.wall -= 2 * MINUTE
    driver.restart()
    driver.advance(4 * MINUTE)
    assert fired(driver) == [1, 2, 3, 4, 5]


def test_a_schedule_may_wait_for_its_last_task(driver: Any, planner: Any) -> None:
    schedule(planner, overlap="skip")
    worker = driver.worker("writer", "report")
    driver.advance(61, worker)
    first = worker.push("task")
    driver.advance(MINUTE, worker)
    assert skipped(driver) == [(2, "running")]
    worker.complete(first)
    driver.advance(MINUTE, worker)
    assert worker.push("task")["moment"] == WALL + 3 * MINUTE
    assert fired(driver) == [1, 3]


def test_setting_it_again_changes_what_is_different(driver: Any, planner: Any) -> None:
    schedule(planner)
    seq = len(driver.log)
    assert schedule(planner)["created"] is False
    assert len(driver.log) == seq, "the same again is no event"
    driver.advance(30)
    answer = schedule(planner, cron="*/5 * * * *", body=b"for bob")
    assert (answer["created"], answer["next"]) == (False, WALL + 5 * MINUTE)
    planner.ask("schedule.pause", schedule="s")
    assert "next" not in schedule(planner, cron="*/10 * * * *", body=b"for bob"), "what was paused stays so"
    assert planner.ask("schedule.resume", schedule="s")["next"] == WALL + 10 * MINUTE
    driver.advance(10 * MINUTE)
    worker = driver.worker("writer", "report")
    assert worker.push("task")["body"] == b"for bob"
    assert fired(driver) == [10]


def test_pausing_and_deleting(driver: Any, planner: Any, refused: Any) -> None:
    schedule(planner)
    for _ in range(2):
        assert planner.ask("schedule.pause", schedule="s")["paused"] is True
    driver.advance(3 * MINUTE)
    driver.restart()
    driver.advance(1)
    for _ in range(2):
        assert planner.ask("schedule.resume", schedule="s")["next"] == WALL + 4 * MINUTE
    driver.advance(MINUTE)
    planner.ask("schedule.delete", schedule="s", request=77)
    assert planner.ask("schedule.delete", schedule="s", request=77, resent=True) == {}
    with refused("schedule_not_found"):
        planner.ask("schedule.delete", schedule="s")
    driver.advance(3 * MINUTE)
    driver.restart()
    driver.advance(3 * MINUTE)
    assert fired(driver) == [4], "what was missed while it was paused is not made up for"
    assert [key for key in driver.heads if key.startswith("schedule/")] == []
    schedule(planner)
    driver.advance(MINUTE)
    tasks = [event.data["task"] for event in driver.log if event.type == "task.dispatched"]
    assert len(set(tasks)) == 2
    assert driver.types().count("schedule.paused") == driver.types().count("schedule.resumed") == 1


def test_time_zones(driver: Any, planner: Any) -> None:
    """WALL is 8:00 in London, 9:00 in Berlin and 3:00 in New York."""
    assert schedule(planner, "a", "30 9 * * *", tz="Europe/Berlin")["next"] == WALL + 30 * MINUTE
    assert schedule(planner, "b", "30 3 * * *", tz="America/New_York")["next"] == WALL + 30 * MINUTE
    assert schedule(planner, "c", "30 8 * * *")["next"] == WALL + 30 * MINUTE
    assert [info["schedule"] for info in planner.ask("schedule.list")["schedules"]] == ["a", "b", "c"]


def test_the_payload_outlives_the_schedule_as_long_as_its_tasks(driver: Any, planner: Any) -> None:
    schedule(planner)
    (source,) = [event.seq for event in driver.log if event.type == "schedule.set"]
    assert source in set(driver.room.retention.living())
    driver.advance(61)
    planner.ask("schedule.delete", schedule="s")
    driver.restart()
    assert source in set(driver.room.retention.living())
    worker = driver.worker("writer", "report")
    worker.complete(worker.push("task"))
    assert source not in set(driver.room.retention.living())


def test_a_room_with_a_schedule_stays_in_memory(driver: Any, planner: Any) -> None:
    schedule(planner, overlap="skip")
    driver.restart()
    assert not driver.room.is_still
    planner.connect()
    planner.ask("schedule.pause", schedule="s")
    driver.restart()
    assert driver.room.is_still


def test_a_full_room_skips_and_goes_on(make_driver: Any) -> None:
    driver = make_driver(Limits(backlog=1))
    schedule(driver.agent("planner"))
    driver.advance(2 * MINUTE)
    assert (fired(driver), skipped(driver)) == ([1], [(2, "overloaded")])
    worker = driver.worker("writer", "report")
    worker.complete(worker.push("task"))
    driver.advance(MINUTE, worker)
    assert fired(driver) == [1, 3]


def test_who_takes_the_id_of_a_task_to_come_takes_nothing_else(driver: Any, planner: Any) -> None:
    schedule(planner)
    (source,) = [event.seq for event in driver.log if event.type == "schedule.set"]
    planner.dispatch(f"s-{source}@{WALL + MINUTE:.0f}", "report", b"mine")
    driver.advance(2 * MINUTE)
    assert (fired(driver), skipped(driver)) == ([2], [(1, "key_conflict")])
    worker = driver.worker("writer", "report", slots=2)
    assert [push["body"] for push in worker.pushes("task")] == [b"mine", b"for ana"]


def test_a_zone_that_is_gone_pauses_the_schedule_and_says_so(driver: Any, planner: Any) -> None:
    schedule(planner, tz="Europe/Berlin")
    driver.room.schedules._by_name["s"].data["tz"] = "Europe/Atlantis"
    driver.advance(MINUTE)
    info = planner.ask("schedule.get", schedule="s")
    assert (info["paused"], "Europe/Atlantis" in info["reason"]) == (True, True)
    assert fired(driver) == []


NO_LINES = ("", "61 * * * *", "* * *", "every day", "0 0 31 2 *", "0 0 30 2 *", "*/0 * * * *", 5, "* " * 500)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        *(({"cron": cron}, "cron") for cron in NO_LINES),
        *(({"tz": tz}, "tz") for tz in ("Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "Europe", "")),
        ({"overlap": "maybe"}, "overlap"),
        *(({"terms": terms}, "terms") for terms in ([], {"key": "k"}, {"run_at": 1.0}, {"slot": "s"}, {"body": b""})),
        ({"terms": {"concurrency_limit": 3}}, "concurrency_limit"),
        ({"terms": {"rate_key": "k"}}, "rate_limit"),
        ({"terms": {"timeout": -1}}, "timeout"),
        ({"type": "*"}, "type"),
        ({"body": None}, "body"),
    ],
)
def test_what_is_none_is_refused_and_named(driver: Any, planner: Any, refused: Any, fields: dict[str, Any], field: str) -> None:
    with refused("bad_request") as caught:
        schedule(planner, **fields)
    assert caught.value.detail == {"field": field}
    assert driver.log == []


def test_who_may_dispatch_may_schedule(driver: Any, planner: Any, refused: Any) -> None:
    schedule(planner)
    other = driver.agent("other", [{"room": "**", "verbs": ["dispatch"], "topics": ["mail"]}])
    for op in ("get", "pause", "resume", "delete"):
        with refused("not_authorized"):
            other.ask(f"schedule.{op}", schedule="s")
    with refused("not_authorized"):
        schedule(other, "mine")
    with refused("not_authorized"):
        schedule(other, "s", type="mail")
    assert schedule(other, "mine", type="mail")["owner"] == "other"
    assert [info["schedule"] for info in other.ask("schedule.list")["schedules"]] == ["mine"]


def test_schedules_are_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(schedules=1)).agent("planner")
    schedule(planner)
    with refused("overloaded"):
        schedule(planner, "another")
    schedule(planner, cron="0 * * * *")
