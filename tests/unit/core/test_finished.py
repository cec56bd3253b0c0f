"""Finished tasks: keys, acknowledgement, dead letters, groups, and that none of it stays in memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import msgpack
import pytest

from nolag_broker.core.commands import parse
from nolag_broker.core.limits import Limits
from nolag_broker.core.turn import Reply


def finish(planner: Any, worker: Any, task: str = "t1", **fields: Any) -> None:
    planner.dispatch(task, **fields)
    worker.complete(worker.push("task"))
    planner.pushes()


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_key_attaches_to_a_finished_task(driver: Any, planner: Any, writer: Any, restarted: bool) -> None:
    finish(planner, writer, key="article-7")
    planner.ask("task.ack", tasks=["t1"])
    if restarted:
        driver.restart()
    again = driver.agent("planner", instance="planner-2")
    assert again.dispatch("t2", key="article-7") == {"task": "t1", "state": "completed", "attached": True}
    assert again.push("result")["body"] == b"result"
    assert again.dispatch("t3", "review", key="article-7")["attached"] is False, "a key is one of its type"


def test_the_same_key_attaches_to_a_running_task(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(key="k")
    again = driver.agent("other")
    assert again.dispatch("t2", key="k") == {"task": "t1", "state": "running", "attached": True}
    writer.complete(writer.push("task"))
    assert (again.push("result")["task"], planner.push("result")["task"]) == ("t1", "t1")


@pytest.mark.parametrize("finished", [False, True])
def test_another_payload_under_the_same_key_is_a_conflict(planner: Any, writer: Any, refused: Any, finished: bool) -> None:
    planner.dispatch(key="k")
    if finished:
        writer.complete(writer.push("task"))
    with refused("key_conflict") as caught:
        planner.dispatch("t2", key="k", body=b"other")
    assert caught.value.detail == {"task": "t1"}
    with refused("key_conflict"):
        planner.dispatch("t1", body=b"other", resent=True)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_a_dispatch_sent_again_attaches(driver: Any, planner: Any, writer: Any, finished: bool, restarted: bool) -> None:
    planner.dispatch()
    if finished:
        writer.complete(writer.push("task"))
    if restarted:
        driver.restart()
    before = len(driver.log)
    assert planner.dispatch(resent=True)["attached"]
    assert len(driver.log) == before


def test_keys_are_kept_for_a_period_at_least_and_two_at_most(driver: Any, planner: Any, writer: Any) -> None:
    finish(planner, writer, key="k")
    keep = driver.limits.keep
    writer.disconnect()
    driver.advance(keep)
    assert planner.dispatch("t2", key="k")["attached"]
    driver.advance(keep + 1)
    planner.ask("event.emit", type="tick")
    driver.sweep()
    assert not [key for key in driver.records if key.startswith("kept/")]
    assert planner.dispatch("t3", key="k")["attached"] is False


def test_keys_outlive_a_week_of_restarts_and_not_a_third(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    """Of tasks and of messages: the broker is killed once a day, and everybody comes back as another process."""
    finish(planner, writer, key="k")
    said = planner.ask("topic.publish", topic="notes", body=b"x", key="k")
    writer.disconnect()
    for day in range(1, 8):
        driver.advance(86400)
        driver.restart()
        driver.sweep()
        again = driver.agent("planner", instance=f"planner-{day}")
        again.ask("event.emit", type="tick")  # what is forgotten goes with what happens
        answer = again.dispatch(f"again-{day}", key="k")
        assert answer == {"task": "t1", "state": "completed", "attached": True}, f"on day {day}"
        assert again.push("result")["body"] == b"result"
        assert again.ask("topic.publish", topic="notes", body=b"x", key="k") == said
        with refused("key_conflict"):
            again.ask("topic.publish", topic="notes", body=b"other", key="k")
    for day in range(8, 16):
        driver.advance(86400)
        driver.restart()
        driver.agent("planner", instance=f"planner-{day}").ask("event.emit", type="tick")
        driver.sweep()
    assert not [key for key in driver.records if key.startswith("kept/")]
    late = driver.agent("planner", instance="late")
    assert late.dispatch("t2", key="k")["attached"] is False
    assert late.ask("topic.publish", topic="notes", body=b"other", key="k") != said


def test_an_ack_deletes_what_only_the_dispatcher_wanted(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    finish(planner, writer)
    assert [key.split("/", 2)[2] for key in driver.records] == ["task/t1"]
    with refused("not_authorized"):
        driver.agent("other").ask("task.ack", tasks=["t1"])
    planner.say("task.ack", tasks=["t1", "unknown"])
    assert driver.records == {}
    with refused("task_not_found"):
        planner.ask("task.get", task="t1")


def test_a_late_ack_of_a_failure_is_not_taken_for_the_result_of_its_retry(planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch(max_attempts=1)
    writer.fail(writer.push("task"))
    failed = planner.push("result")
    planner.ask("task.retry", task="t1")
    writer.complete(writer.push("task"))
    planner.ask("task.follow", tasks=[["t1", 0]])
    completed = planner.push("result")
    planner.say("task.ack", tasks=["t1"], seqs=[failed["seq"]])
    assert planner.state() == "completed"
    planner.say("task.ack", tasks=["t1"], seqs=[completed["seq"]])
    with refused("task_not_found"):
        planner.state()
    with refused("bad_request"):
        planner.ask("task.ack", tasks=["t1"], seqs=[])


@pytest.mark.parametrize("restarts", [False, True])
def test_a_result_that_nobody_acknowledges_goes_with_time(driver: Any, planner: Any, writer: Any, refused: Any, restarts: bool) -> None:
    """A dispatcher that never comes back costs no disk for ever."""
    for number in range(20):
        finish(planner, writer, f"t{number}")
    writer.disconnect()
    keep = driver.limits.keep
    driver.advance(keep)  # after that long a dispatcher still finds it, restart or not
    if restarts:
        planner.disconnect()
        driver.restart()
        planner.connect()
    assert planner.ask("task.get", task="t7")["task"]["state"] == "completed"
    planner.ask("task.ack", tasks=["t7"])
    assert len([key for key in driver.records if "/task/" in key]) == 19
    driver.advance(keep + 1)
    planner.ask("event.emit", type="tick")
    driver.sweep()
    assert driver.records == {}
    with refused("task_not_found"):
        planner.ask("task.get", task="t3")


def test_an_ack_of_a_live_task_does_nothing(planner: Any, writer: Any) -> None:
    planner.dispatch()
    planner.ask("task.ack", tasks=["t1"])
    assert planner.state() == "running"


def test_a_result_waits_for_its_dispatcher_over_restarts(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    planner.disconnect()
    writer.complete(writer.push("task"))
    driver.restart()
    planner.connect()
    assert planner.ask("task.follow", tasks=[["t1", 0]]) == {"states": {"t1": "completed"}}
    assert planner.push("result")["body"] == b"result"
    planner.ask("task.ack", tasks=["t1"])
    assert driver.records == {}


def test_what_is_at_hand_reads_nothing_cold(driver: Any, planner: Any, writer: Any) -> None:
    finish(planner, writer)
    planner.ask("task.get", task="t1")
    planner.ask("task.ack", tasks=["t1"])
    assert driver.fetched == []


def test_finished_tasks_leave_nothing_hot(make_driver: Any) -> None:
    driver = make_driver(Limits(finished=10))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    before = dict(driver.heads)
    for number in range(50):
        finish(planner, writer, f"t{number}", key=f"k{number}" if number % 2 else None)
    assert driver.heads.keys() == before.keys()
    tasks = driver.room.tasks
    assert (len(tasks.by_id), len(tasks.by_key), len(tasks.finished._recent)) == (0, 0, 10)
    planner.ask("task.ack", tasks=[f"t{number}" for number in range(50)])
    assert len(driver.records) == 50, "25 with a key: by id and by key"


def test_dead_letters_are_listed_retried_and_outlive_acks_and_restarts(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch(max_attempts=1, timeout=60, key="k")
    writer.fail(writer.push("task"))
    planner.ask("task.ack", tasks=["t1"])
    driver.restart()
    driver.advance(120)
    (dead,) = planner.ask("task.list", states=["failed"])["tasks"]
    assert (dead["task"], len(dead["errors"])) == ("t1", 1)
    assert planner.dispatch("t2", key="k")["state"] == "failed"
    assert planner.ask("task.retry", task="t1") == {"state": "waiting"}
    assert driver.types()[-1] == "task.retried"
    assert planner.ask("task.list", states=["failed"])["tasks"] == []
    again = driver.worker("writer", "draft")
    task = again.push("task")
    assert task["attempt"] == 2
    assert again.fail(task)["state"] == "failed", "the count is fresh: one attempt again"


@pytest.mark.parametrize("fields_known", [43, 44])
def test_a_dead_letter_that_is_retried_has_its_timeout_anew_each_time(driver: Any, planner: Any, writer: Any, fields_known: int) -> None:
    planner.dispatch(max_attempts=1, timeout=60)
    writer.fail(writer.push("task"))
    driver.heads["task/t1"] = msgpack.packb(msgpack.unpackb(driver.heads["task/t1"])[:fields_known])  # 43: an older broker's
    for _ in range(2):
        driver.advance(120)
        driver.restart()
        planner.ask("task.retry", task="t1")
        assert planner.ask("task.get", task="t1")["task"]["deadline"] == pytest.approx(driver.wall + 60)
        again = driver.worker("writer", "draft")
        again.fail(again.push("task"))
    planner.ask("task.retry", task="t1")
    driver.advance(61, again)
    assert planner.state() == "timed_out"


def test_only_dead_letters_are_retried(planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    with refused("task_finished"):
        planner.ask("task.retry", task="t1")
    writer.complete(writer.push("task"))
    with refused("task_finished") as caught:
        planner.ask("task.retry", task="t1")
    assert caught.value.detail == {"state": "completed"}
    with refused("task_not_found"):
        planner.ask("task.retry", task="t2")


def test_a_failed_call_of_a_tool_is_an_answer_not_a_dead_letter(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    planner.dispatch("call", "search", kind="tool", max_attempts=1)
    server.fail(server.push("task"), retry=False)
    assert planner.push("result")["state"] == "failed"
    assert planner.ask("task.list", states=["failed"])["tasks"] == []
    planner.ask("task.ack", tasks=["call"])
    assert driver.records == {}


def test_dead_letters_are_bounded_and_age(make_driver: Any) -> None:
    driver = make_driver(Limits(dead_letters=2))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    for number in range(3):
        planner.dispatch(f"t{number}", key=f"k{number}")
        writer.fail(writer.push("task"), retry=False)
    assert [info["task"] for info in planner.ask("task.list", states=["failed"])["tasks"]] == ["t1", "t2"]
    planner.pushes()
    assert planner.dispatch("t9", key="k0")["state"] == "failed", "the oldest is not listed any more, but not forgotten"
    assert planner.push("result")["error"]["type"] == "ValueError"
    driver.advance(driver.limits.keep * 2 + 1)
    planner.ask("event.emit", type="tick")
    assert planner.ask("task.list")["tasks"] == []
    assert not [key for key in driver.heads if key.startswith("task/")]


@pytest.mark.parametrize("restarted", [False, True])
def test_forget_frees_the_keys_of_a_group(driver: Any, planner: Any, restarted: bool) -> None:
    writer = driver.worker("writer", "draft", "review", slots=3)
    finish(planner, writer, "t1", key="k1", group="run-1")
    finish(planner, writer, "t2", key="k2", group="run-1")
    finish(planner, writer, "t3", key="k3", group="run-2")
    planner.dispatch("dead", "review", key="k4", group="run-1")
    writer.fail(writer.push("task"), retry=False)
    planner.dispatch("live", key="k5", group="run-1")
    if restarted:
        driver.restart()
    assert planner.ask("task.forget", group="run-1", keep=["t2"]) == {"forgotten": 2}
    assert [(event.subject, event.data["tasks"]) for event in driver.log[-2:]] == [("draft", ["t1"]), ("review", ["dead"])]
    assert planner.ask("task.forget", group="run-1", keep=["t2"]) == {"forgotten": 0}
    attached = [planner.dispatch(f"n{number}", type, key=f"k{number}")["attached"] for number, type in enumerate(["draft"] * 3, 1)]
    assert attached == [False, True, True]
    assert planner.dispatch("n4", "review", key="k4")["attached"] is False
    assert planner.dispatch("n5", key="k5")["attached"] is True
    assert sorted(key for key in driver.heads if key.startswith("grouped/")) == ["grouped/t2", "grouped/t3"]


def test_a_dispatch_forgets_what_it_names_of_its_group_once_it_is_accepted(driver: Any, planner: Any, refused: Any) -> None:
    writer = driver.worker("writer", "draft", slots=3)
    for number, group in enumerate(["g", "g", "other"], 1):
        finish(planner, writer, f"t{number}", key=f"k{number}", group=group)
    names = ["t1", "t3", "nobody"]
    with refused("bad_request"):
        planner.dispatch("n1", group="g", busy="refuse", forget=names)  # without a concurrency key
    planner.dispatch("alone", forget=names)  # of no group
    assert planner.dispatch("same", key="k1", group="g")["attached"] is True
    before = len(driver.log)
    planner.dispatch("n2", key="new", group="g", forget=names)
    assert [(event.type, event.data.get("tasks")) for event in driver.log[before : before + 2]] == [
        ("task.forgotten", ["t1"]),
        ("task.dispatched", None),
    ]
    attached = [planner.dispatch(f"again{number}", key=f"k{number}")["attached"] for number in (1, 2, 3)]
    assert attached == [False, True, True]


def test_forget_keeps_to_the_grants(driver: Any, planner: Any, writer: Any) -> None:
    finish(planner, writer, key="k", group="g")
    other = driver.agent("other", [{"room": "room", "topics": ["review"], "verbs": ["dispatch"]}])
    assert other.ask("task.forget", group="g") == {"forgotten": 0}


def test_the_index_of_groups_is_bounded(make_driver: Any) -> None:
    driver = make_driver(Limits(grouped=3))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft")
    for number in range(5):
        finish(planner, writer, f"t{number}", key=f"k{number}", group="g")
    assert len([key for key in driver.heads if key.startswith("grouped/")]) == 3
    assert planner.ask("task.forget", group="g") == {"forgotten": 3}


def test_a_dead_letter_can_be_retried_by_the_very_event_that_begins_a_period(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    writer.fail(writer.push("task"), retry=False)
    writer.disconnect()
    driver.advance(5)
    driver.advance(driver.limits.keep * 2)
    assert planner.ask("task.retry", task="t1") == {"state": "waiting"}
    assert driver.heads["task/t1"]


def test_a_key_used_after_a_long_silence_is_kept(driver: Any, planner: Any) -> None:
    first = planner.ask("topic.publish", topic="a", body=b"", key="k1")
    driver.advance(driver.limits.keep * 5)
    second = planner.ask("topic.publish", topic="a", body=b"", key="k2")
    assert planner.ask("topic.publish", topic="a", body=b"", key="k2") == second
    assert planner.ask("topic.publish", topic="a", body=b"", key="k1") != first


def test_what_needs_no_reading_is_at_hand_until_it_is_decided_on(make_driver: Callable[..., Any]) -> None:
    """Of requests that are decided together, an earlier one may begin a period or end more tasks than are kept at hand."""
    driver = make_driver(Limits(keep=100.0, finished=2, disconnect_grace=10_000.0, lease=10_000.0))
    planner, writer = driver.agent("planner"), driver.worker("writer", "draft", slots=4)
    for n in range(4):
        planner.dispatch(f"t{n}")
    first, *others = writer.pushes("task")
    writer.complete(first)
    driver.advance(90)
    get = parse({"op": "task.get", "task": first["task"]})
    assert driver.room.needs(get) == ()
    driver.advance(15)
    driver.write_rows = repeat(False)
    for task in others:
        writer.complete(task)
    driver.room.decide(get, planner.caller, 1000, {}, driver.env)
    (reply,) = [effect for effect in driver.flush().effects if isinstance(effect, Reply)]
    assert reply.ok is not None
    assert reply.ok["task"]["state"] == "completed"
