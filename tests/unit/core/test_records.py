"""Records: what is written beside the log, under guards."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core import records
from nolag_broker.core.turn import Reply, ScanAt


def write(agent: Any, *puts: tuple[str, bytes], if_absent: bool = False, **fields: Any) -> int:
    written: int = agent.ask("record.write", puts=[[key, body, if_absent] for key, body in puts], **fields)["written"]
    return written


def read(agent: Any, *keys: str) -> list[bytes | None]:
    bodies: list[bytes | None] = agent.ask("record.read", keys=list(keys))["bodies"]
    return bodies


def test_write_and_read(driver: Any, planner: Any) -> None:
    assert write(planner, ("checkpoint/t1/a", b"1"), ("checkpoint/t1/b", b"2"), ("checkpoint/t2/a", b"3")) == 3
    assert [(event.type, event.subject, event.data) for event in driver.log[1:]] == [
        ("record.written", "checkpoint/t1", {"count": 2}),
        ("record.written", "checkpoint/t2", {"count": 1}),
    ]
    assert read(planner, "checkpoint/t1/b", "checkpoint/t1/zzz", "checkpoint/t2/a") == [b"2", None, b"3"]
    assert not [key for key in driver.heads if "checkpoint" in key]


def test_if_absent(planner: Any) -> None:
    write(planner, ("checkpoint/t/a", b"1"))
    assert write(planner, ("checkpoint/t/a", b"2"), ("checkpoint/t/b", b"2"), if_absent=True) == 1
    assert read(planner, "checkpoint/t/a", "checkpoint/t/b") == [b"1", b"2"]


def test_prefixes_go_first_then_keys_then_puts(planner: Any) -> None:
    write(planner, ("checkpoint/t/old/1", b"1"), ("checkpoint/t/old/2", b"2"), ("checkpoint/t/other", b"3"))
    puts = (("checkpoint/t/old/2", b"new"),)
    assert write(planner, *puts, if_absent=True, deletes=["checkpoint/t/other"], delete_prefixes=["checkpoint/t/old/"]) == 1
    assert read(planner, "checkpoint/t/old/1", "checkpoint/t/old/2", "checkpoint/t/other") == [None, b"new", None]


def test_writes_of_one_turn_see_each_other(driver: Any, planner: Any) -> None:
    """Several commands between two hand-overs: the engine has seen none of them."""
    commands: list[dict[str, Any]] = [
        {"puts": [["checkpoint/t/a", b"1", False], ["checkpoint/t/b", b"1", False]]},
        {"delete_prefixes": ["checkpoint/t/"]},
        {"puts": [["checkpoint/t/a", b"2", True]]},
        {"puts": [["checkpoint/t/a", b"3", True]]},
    ]
    for fields in commands:
        driver.decide(planner.caller, {"op": "record.write", **fields}, 1)
    turn = driver.flush()
    assert [effect.ok["written"] for effect in turn.effects] == [2, 0, 1, 0]
    assert (turn.records, turn.deleted_prefixes) == ({"checkpoint/t/a": b"2"}, ["checkpoint/t/"])


def test_a_lease_guards_a_write(driver: Any, planner: Any, writer: Any, refused: Any) -> None:
    planner.dispatch()
    task = writer.push("task")
    lease = ["t1", task["token"]]
    write(writer, ("checkpoint/t/a", b"1"), lease=lease)
    for agent, guard in ((planner, lease), (writer, ["t1", task["token"] - 1]), (writer, ["unknown", 1])):
        with refused("stale_lease"):
            write(agent, ("checkpoint/t/a", b"2"), lease=guard)
    writer.complete(task)
    with refused("stale_lease"):
        write(writer, ("checkpoint/t/a", b"2"), lease=lease)
    assert read(planner, "checkpoint/t/a") == [b"1"]


def test_a_scan_is_left_to_the_node(driver: Any, planner: Any) -> None:
    planner.ask("record.scan", prefix="checkpoint/t/", after="checkpoint/t/a", reverse=True, limit=5, bodies=False)
    (reply,) = [effect for effect in driver.effects if isinstance(effect, Reply)]
    assert reply.ok == {"items": ScanAt("checkpoint/t/", "checkpoint/t/a", None, True, 5, False), "last": 0}


def scan(agent: Any, since: int | None = None, epoch: str = "epoch", prefix: str = "checkpoint/t/") -> tuple[bool, int]:
    answer = agent.ask("record.scan", prefix=prefix, since=since, epoch=epoch)
    return answer.get("same", False), answer["last"]


def test_who_knows_what_there_was_is_told_that_it_is_the_same(driver: Any, planner: Any) -> None:
    one = planner.ask("record.write", puts=[["checkpoint/t/a", b"1", False]])
    two = planner.ask("record.write", puts=[["checkpoint/t/a", b"2", False], ["checkpoint/u/a", b"2", False]])
    assert (one, two) == ({"written": 1, "before": 0, "at": 2}, {"written": 2, "before": 2, "at": 4})
    assert [scan(planner, since) for since in (None, 2, 3, 4)] == [(False, 3), (False, 3), (True, 3), (True, 3)]
    assert scan(planner, 4, epoch="another") == (False, 3)
    assert planner.ask("record.scan", prefix="checkpoint/", since=4, epoch="epoch").keys() == {"items"}
    planner.ask("record.write", deletes=["checkpoint/t/a"])
    assert [scan(planner, since) for since in (4, 5)] == [(False, 5), (True, 5)]
    planner.ask("record.write", delete_prefixes=["checkpoint/t/"])
    assert [scan(planner, since) for since in (5, 6)] == [(False, 6), (True, 6)]


@pytest.mark.sources
def test_what_is_not_remembered_may_be_of_any_time(driver: Any, planner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KNOWN", 2)
    for owner in ("t", "u", "v", "w"):
        write(planner, (f"checkpoint/{owner}/a", b"1"))
    assert [scan(planner, since) for since in (2, 3)] == [(False, 3), (True, 3)], "it was written with sequence 2"
    assert scan(planner, 4, prefix="checkpoint/v/") == (True, 4)
    driver.restart()
    planner = driver.agent("planner")
    assert [scan(planner, since, prefix="checkpoint/v/") for since in (4, driver.room.seq)] == [(False, 5), (True, 5)]


def test_grants_are_checked_by_owner(driver: Any, refused: Any) -> None:
    agent = driver.agent("agent", [{"room": "room", "topics": ["t1", "x*"], "verbs": ["checkpoint"]}])
    write(agent, ("checkpoint/t1/a", b"1"), ("other/t1/a", b"1"))
    before = len(driver.log)
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("write", {"puts": [["checkpoint/t1/a", b"", False], ["checkpoint/t2/a", b"", False]]}),
        ("write", {"deletes": ["checkpoint/t2/a"]}),
        ("write", {"delete_prefixes": ["checkpoint/t2/"]}),
        ("read", {"keys": ["checkpoint/t1/a", "checkpoint/t2/a"]}),
        ("scan", {"prefix": "checkpoint/t2/"}),
        ("scan", {"prefix": "checkpoint/"}),
    ]
    for op, fields in attempts:
        with refused("not_authorized"):
            agent.ask(f"record.{op}", **fields)
    assert len(driver.log) == before
    agent.ask("record.scan", prefix="checkpoint/t1/")
    with refused("not_authorized"):
        driver.agent("b", [{"room": "room", "topics": ["*"], "verbs": ["checkpoint"]}]).ask("record.scan", prefix="checkpoint/")
    driver.agent("c").ask("record.scan", prefix="checkpoint/")
