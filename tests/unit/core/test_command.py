"""What the room is asked is checked before anything is decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.core.commands import COMMANDS, parse
from nolag_broker.core.commands.fields import RETRY
from nolag_broker.core.commands.keyed import RecordWrite
from nolag_broker.core.commands.serving import TaskComplete
from nolag_broker.core.commands.tasks import TaskDispatch, TaskFollow
from nolag_broker.wire.codes import Refusal

DISPATCH: dict[str, Any] = {"op": "task.dispatch", "task": "t1", "type": "draft", "body": b"x"}
ASKED: dict[str, Any] = {"approval": "a", "action": "publish", "body": b"", "allow": ["approve"]}


def test_a_whole_command() -> None:
    command = parse({**DISPATCH, "id": 7, "room": "r", "capabilities": ["b", "a"], "delay": 2, "key": None, "resent": True, "done": 5})
    assert isinstance(command, TaskDispatch)
    assert (command.task, command.body, command.capabilities, command.delay) == ("t1", b"x", frozenset("ab"), 2.0)
    assert (command.key, command.retry, command.follow, command.resent, command.done) == (None, RETRY, True, True, 5)


def test_what_lists_become() -> None:
    complete = parse({"op": "task.complete", "task": "t", "token": 4, "body": b"", "approvals": [ASKED]})
    assert isinstance(complete, TaskComplete)
    assert complete.approvals[0].action == "publish"
    follow = parse({"op": "task.follow", "tasks": [["a", 3], ["b", 0, 2]]})
    assert isinstance(follow, TaskFollow)
    assert follow.tasks == (("a", 3, 0), ("b", 0, 2))
    write = parse({"op": "record.write", "puts": [["checkpoint/t/1", b"", True]]})
    assert isinstance(write, RecordWrite)
    assert write.puts == (("checkpoint/t/1", b"", True),)


def test_operations_of_the_server_are_not_the_rooms() -> None:
    assert not [op for op in COMMANDS if op.split(".")[0] in ("log", "rooms", "auth", "token", "broker", "ping")]
    for op in ("log.read", "nonsense", 7, None, ["room.join"]):
        with pytest.raises(Refusal) as caught:
            parse({"op": op})
        assert caught.value.code == "unknown_op"


NAN, INF = float("nan"), float("inf")
DEEP: Any = {}
for _ in range(40):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("task", value) for value in ("", "x" * 513, "a*b", "line\n", "nul\0", 7, b"t")],
        *[("body", value) for value in ("text", [1], 7)],
        *[("delay", value) for value in (-1, -0.001, NAN, INF, -INF, "1", True, 1e12)],
        *[("run_at", value) for value in (-1, NAN, INF, "noon", 1e12)],
        *[("attempt_timeout", value) for value in (0, -1, NAN, "soon")],
        *[("timeout", value) for value in (0, -1, NAN, INF, "soon")],
        *[("capabilities", value) for value in ("gpu", [7], [""], ["x"] * 129, {"a": 1})],
        *[("priority", value) for value in (1.5, 2**40, "high", True)],
        *[("max_attempts", value) for value in (0, -1, 101, 1.0)],
        *[("retry", value) for value in ({"initial": -1}, {"initial": NAN}, {"maximum": INF}, {"factor": 0}, {"jitter": 2}, {"x": 1}, 3)],
        *[("kind", value) for value in ("other", 1)],
        *[("require_live", value) for value in (1, "yes")],
        *[("parent", value) for value in (-1, 2**60, 1.0)],
        *[("key", value) for value in ("", "k" * 513, 5)],
        ("done", -1),
    ],
)
def test_bad_fields_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        parse({**DISPATCH, field: value})
    assert (caught.value.code, caught.value.detail["field"]) == ("bad_request", field)
    assert field in caught.value.message


@pytest.mark.parametrize("field", ["task", "type", "body"])
def test_missing_fields_are_named(field: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse({name: value for name, value in DISPATCH.items() if name != field})
    assert caught.value.detail == {"field": field}


@pytest.mark.parametrize(
    "frame",
    [
        {"op": "room.join", "metadata": DEEP},
        {"op": "room.join", "metadata": {"x": NAN}},
        {"op": "room.join", "metadata": {"x": ["nested", {"y": INF}]}},
        {"op": "room.join", "metadata": {"x": "y" * 70_000}},
        {"op": "room.join", "metadata": []},
        {"op": "room.join", "max_concurrency": 0},
        {"op": "task.ack", "tasks": ["t"] * 1001},
        {"op": "task.follow", "tasks": [["t"]]},
        {"op": "task.follow", "tasks": [["t", -1]]},
        {"op": "task.serve", "offer": 1, "slots": 0},
        {"op": "task.serve", "offer": -1, "slots": 1},
        {"op": "task.serve", "offer": 1, "slots": 1, "types": ["a*"]},
        {"op": "task.serve", "offer": 1, "slots": 1, "holding": [["t", "token"]]},
        {"op": "task.serve", "offer": 1, "slots": 1, "specs": {"a": "text"}},
        {"op": "task.fail", "task": "t", "token": 1, "error": "text"},
        {"op": "task.fail", "task": "t", "token": 1, "error": {"message": "no type"}},
        {"op": "task.progress", "task": "t", "token": 1, "n": 0, "body": b""},
        {"op": "task.complete", "task": "t", "token": 1, "body": b"", "approvals": [{**ASKED, "allow": ["perhaps"]}]},
        {"op": "task.complete", "task": "t", "token": 1, "body": b"", "approvals": ["a"]},
        {"op": "approval.request", **ASKED, "allow": []},
        {"op": "approval.request", **ASKED, "quorum": 0},
        {"op": "approval.request", **ASKED, "expires": -1},
        {"op": "approval.decide", "approval": "a", "type": "maybe"},
        {"op": "topic.publish", "topic": "t*", "body": b""},
        {"op": "topic.publish", "topic": "t", "body": b"", "qos": 3},
        {"op": "blackboard.set", "key": "k", "body": b"", "expected": -1},
        {"op": "blackboard.list", "pattern": "a**"},
        {"op": "blackboard.history", "key": "k", "limit": 0},
        {"op": "inbox.ack", "messages": ["1"]},
        *[{"op": "record.read", "keys": [key]} for key in ("a", "a/b", "/b/c", "a//c", "a/b/\n", "done/task/t", "kept/1/x", "a/b/c\0", 7)],
        {"op": "record.scan", "prefix": "checkpoint"},
        {"op": "record.scan", "prefix": "done/"},
        {"op": "record.write", "puts": [["a/b/c", b""]]},
        {"op": "record.write", "deletes": ["a/b/c"] * 1001},
        {"op": "record.write", "delete_prefixes": ["a/"]},
    ],
)
def test_bad_requests(frame: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        parse(frame)
    assert caught.value.code == "bad_request"


def test_an_error_is_cut_rather_than_refused() -> None:
    command: Any = parse({"op": "task.fail", "task": "t", "token": 1, "error": {"type": "E" * 1000, "message": "m" * 100_000}})
    assert (len(command.error["type"]), len(command.error["message"])) == (512, 8192)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = sorted({name for cls in COMMANDS.values() for name in cls.__dataclass_fields__})


@given(st.sampled_from(sorted(COMMANDS)), st.dictionaries(st.sampled_from(fields), anything, max_size=8))
def test_whatever_comes_is_read_or_refused(op: str, frame: dict[str, Any]) -> None:
    try:
        outcome = parse({**frame, "op": op}).op
    except Refusal as refusal:
        outcome = refusal.code
    assert outcome in (op, "bad_request")
