"""Which bodies of a frame leave it as references, and where references are looked for in what comes."""

from __future__ import annotations

from typing import Any

import pytest

from langgraph_nolag.client.large import Body, in_answer, in_push, refers, size_of, take_out
from nolag_broker.wire.blobs import BLOB, INLINE, MARK, PIECE, Reference

LARGE = b"x" * (INLINE + 1)


def holding(value: bytes = LARGE, ct: str | None = None, **more: Any) -> dict[str, Any]:
    return {"body": Reference.to(value, ct).body, "ct": BLOB, **more}


@pytest.mark.parametrize("ct", [None, "text/plain"])
@pytest.mark.parametrize("size", [INLINE + 1, 2 << 20])
async def test_a_large_body_gives_its_place_to_a_reference(ct: str | None, size: int) -> None:
    frame: dict[str, Any] = {"op": "topic.publish", "body": bytes(size)}
    if ct is not None:
        frame["ct"] = ct
    (value,) = take_out(frame)
    reference = await value.refer()
    assert await value.refer() is reference
    assert frame == {"op": "topic.publish", **holding(bytes(size), ct)}
    Body(frame).fill(value.body)
    assert frame == {"op": "topic.publish", "body": bytes(size)} | ({} if ct is None else {"ct": ct})


def test_small_bodies_and_those_without_a_content_type_stay() -> None:
    for frame in (
        {"op": "topic.publish", "body": LARGE[1:]},
        {"op": "task.tell", "body": LARGE},
        {"op": "ping"},
        {"op": "x", "body": None},
    ):
        before = dict(frame)
        assert take_out(frame) == ()
        assert frame == before


async def test_the_approvals_of_a_completion_are_looked_at_too() -> None:
    approvals = [{"approval": "1", "body": LARGE}, {"approval": "2", "body": b"small"}]
    frame = {"op": "task.complete", "body": LARGE, "approvals": approvals}
    values = take_out(frame)
    assert len(values) == 2
    for value in values:
        await value.refer()
    assert [refers(holder) for holder in (frame, *frame["approvals"])] == [True, True, False]  # type: ignore[has-type]
    assert approvals[0]["body"] is LARGE, "what the caller gave is the caller's"


@pytest.mark.parametrize(
    ("sizes", "leaving"),
    [
        ([PIECE, 10], []),
        ([PIECE + 1, INLINE + 1, 10], [0]),
        ([PIECE] * 3 + [INLINE + 1, INLINE], []),
        ([PIECE] * 4 + [INLINE + 1, INLINE], [0, 1, 2, 3, 4]),
    ],
)
async def test_records_leave_when_they_are_large_alone_or_together(sizes: list[int], leaving: list[int]) -> None:
    puts = [[f"k/o/{n}", bytes(size), False] for n, size in enumerate(sizes)]
    frame: dict[str, Any] = {"op": "record.write", "puts": puts}
    for value in take_out(frame):
        await value.refer()
    assert [n for n, put in enumerate(frame["puts"]) if put[1].startswith(MARK)] == leaving
    assert [len(put[1]) for put in puts] == sizes, "what the caller gave is the caller's"


@pytest.mark.parametrize(
    ("op", "ok", "count"),
    [
        ("blackboard.get", {"entry": None}, 0),
        ("blackboard.get", {"entry": {"key": "k", "body": b"small"}}, 0),
        ("blackboard.get", {"entry": holding()}, 1),
        ("blackboard.history", {"entries": [holding(), {"deleted": True}, holding()]}, 2),
        ("effect.put", {"recorded": False, **holding()}, 1),
        ("approval.get", {"approval": {**holding(), "decision": holding()}}, 2),
        ("approval.list", {"approvals": [{**holding(), "decision": None}]}, 1),
        ("approval.decide", {"state": "decided", "decision": holding()}, 1),
        ("presence.list", {"members": [{"metadata": holding()}]}, 0),
        ("log.read", {"events": [holding()]}, 0),
        ("record.read", {"bodies": [Reference.to(LARGE).record, None, b"small"]}, 1),
        ("record.scan", {"items": [["a", Reference.to(LARGE).record], ["b", b"small"]], "end": True}, 1),
        ("record.scan", {"items": [["a", None]], "end": True}, 0),
    ],
)
def test_where_answers_hold_references(op: str, ok: dict[str, Any], count: int) -> None:
    found = in_answer(op, ok)
    assert len(found) == count
    for place in found:
        assert place.reference() == Reference.to(LARGE)
        place.fill(LARGE)
    assert in_answer(op, ok) == []


def test_where_pushes_hold_references() -> None:
    for kind in ("task", "result", "progress"):
        frame = {"push": kind, **holding()}
        found = in_push(frame)
        assert found is not None
        found.fill(LARGE)
        assert frame == {"push": kind, "body": LARGE}
    assert in_push({"push": "result", "state": "cancelled"}) is None
    decision = holding()
    assert in_push({"push": "decision", "decision": decision}) is not None
    assert in_push({"push": "message", "sub": 1, **holding()}) is None
    assert in_push({"push": "inbox", "messages": [holding()]}) is None


def test_the_size_of_what_was_not_fetched() -> None:
    assert size_of(holding()) == INLINE + 1
