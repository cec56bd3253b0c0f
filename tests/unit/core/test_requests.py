"""A request that comes again is applied once, and answered as before."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits

ONCE: list[tuple[str, dict[str, Any]]] = [
    ("event.emit", {"type": "draft.started"}),
    ("topic.publish", {"topic": "notes", "body": b"x"}),
    ("inbox.send", {"to": "editor", "body": b"x", "keep": True}),
    ("blackboard.set", {"key": "plan", "body": b"x", "expected": 0}),
    ("blackboard.delete", {"key": "kept", "expected": 1}),
    ("record.write", {"puts": [["checkpoint/t/a", b"1", True]]}),
    ("task.retry", {"task": "dead"}),
    ("task.forget", {"group": "g"}),
    ("task.tell", {"task": "live", "body": b"x"}),
]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("op", "fields"), ONCE, ids=[op for op, _ in ONCE])
def test_once(driver: Any, planner: Any, op: str, fields: dict[str, Any], restarted: bool) -> None:
    writer = driver.worker("writer", "other")
    planner.ask("blackboard.set", key="kept", body=b"x")
    planner.dispatch("live")
    planner.dispatch("dead", "other", key="k", group="g2")
    writer.fail(writer.push("task"), retry=False)
    planner.dispatch("done", "other", key="k2", group="g")
    writer.complete(writer.push("task"))
    writer.ask("task.unserve", offer=1)
    first = planner.ask(op, request=50, **fields)
    if restarted:
        driver.restart()
        planner.connect()
    before = len(driver.log)
    assert planner.ask(op, request=50, resent=True, **fields) == first
    assert len(driver.log) == before


def test_a_failure_and_a_release_sent_again(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    first = writer.fail(task, request=50, delay=5)
    driver.restart()
    assert writer.fail(task, request=50, resent=True, delay=5) == first
    planner.dispatch("t2")
    back = driver.worker("writer", "draft")
    task = back.push("task")
    assert back.ask("task.release", task="t2", token=task["token"], request=51) == {}
    assert back.ask("task.release", task="t2", token=task["token"], request=51, resent=True) == {}


def test_what_was_never_applied_is_applied_now(driver: Any, planner: Any) -> None:
    assert planner.ask("event.emit", type="a", request=50, resent=True)["seq"] == 2


def test_a_refused_request_may_succeed_when_it_comes_again(planner: Any, refused: Any) -> None:
    with refused("peer_not_found"):
        planner.ask("inbox.send", to="editor", body=b"", request=50)
    planner.ask("inbox.send", to="editor", body=b"", keep=True, request=50, resent=True)


def test_answers_belong_to_one_process(driver: Any, planner: Any) -> None:
    planner.ask("event.emit", type="a", request=50)
    other = driver.agent("planner", instance="planner-2")
    assert other.ask("event.emit", type="b", request=50, resent=True)["seq"] == 3


def test_what_the_client_has_is_forgotten(driver: Any, planner: Any) -> None:
    for request in range(1, 20):
        planner.ask("event.emit", type="a", request=request, done=max(0, request - 2))
    (client,) = driver.room._requests._clients.values()
    assert list(client.answers) == [17, 18, 19]


def test_answers_and_clients_are_bounded(make_driver: Any) -> None:
    driver = make_driver(Limits(answers=3, clients=2))
    agents = [driver.agent(f"agent-{number}") for number in range(3)]
    for agent in agents:
        for _ in range(5):
            agent.ask("event.emit", type="a")
    clients = driver.room._requests._clients
    assert [(key[0], list(client.answers)) for key, client in clients.items()] == [("agent-1", [3, 4, 5]), ("agent-2", [3, 4, 5])]
    assert len([key for key in driver.heads if key.startswith("client/")]) == 2
    driver.restart()
    agents[0].ask("event.emit", type="a")
    assert [key[0] for key in driver.room._requests._clients] == ["agent-2", "agent-0"], "who asked longest ago goes first"


def test_traffic_without_an_id_is_not_remembered(driver: Any, planner: Any) -> None:
    planner.say("event.emit", type="a")
    assert driver.room._requests._clients == {}
