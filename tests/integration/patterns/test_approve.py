from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langgraph_nolag import AlreadyDecided, ApprovalNotFound, BadRequest, DecisionTimeout, KeyConflict, LocalBroker, NotAuthorized, connect


async def test_asked_seen_decided(join: Any) -> None:
    writer, ana = await join("writer"), await join("ana")
    request = await writer.approve.request("publish", {"title": "Tea"}, allow=["approve", "edit", "reject"], expires=3600, quorum=1)
    (pending,) = await ana.approve.pending()
    assert (pending.id, pending.action, pending.args, pending.requester, pending.state) == (
        request.id,
        "publish",
        {"title": "Tea"},
        "writer",
        "pending",
    )
    assert (pending.allow, pending.quorum, pending.approvers) == (("approve", "edit", "reject"), 1, None)
    assert await ana.approve.decide(pending.id, "approve", by="Ana B.", message="fine") == "decided"
    decision = await request.decision(timeout=10)
    assert (decision.approved, decision.type, decision.args, decision.message) == (True, "approve", {"title": "Tea"}, "fine")
    assert (decision.by, decision.actor, decision.reason) == ("Ana B.", "ana", "vote")
    assert await ana.approve.pending() == []
    assert await request.decision() == decision


@pytest.mark.parametrize(
    ("type", "args", "approved", "result"),
    [
        ("edit", {"title": "Green tea"}, True, {"title": "Green tea"}),
        ("reject", None, False, None),
        ("approve", None, True, {"title": "Tea"}),
    ],
)
async def test_each_verdict(join: Any, type: str, args: Any, approved: bool, result: Any) -> None:
    room = await join("ana")
    request = await room.approve.request("publish", {"title": "Tea"})
    await room.approve.decide(request.id, type, args=args)
    decision = await request.decision(10)
    assert (decision.type, decision.approved, decision.args) == (type, approved, result)


async def test_the_first_decision_wins_and_what_is_not_allowed_is_refused(join: Any) -> None:
    room, bo = await join("ana"), await join("bo")
    request = await room.approve.request("publish", allow=["approve", "reject"])
    with pytest.raises(BadRequest):
        await room.approve.decide(request.id, "edit", args={})
    outcomes = await asyncio.gather(
        *(who.approve.decide(request.id, how) for who, how in ((room, "approve"), (bo, "reject"))), return_exceptions=True
    )
    assert sorted(isinstance(outcome, AlreadyDecided) for outcome in outcomes) == [False, True]
    with pytest.raises(ApprovalNotFound):
        await room.approve.decide("no-such-id", "approve")


async def test_nobody_decides_it_stays_pending_and_expiry_rejects(join: Any) -> None:
    room = await join("ana")
    request = await room.approve.request("publish", expires=0.3)
    with pytest.raises(DecisionTimeout) as caught:
        await request.decision(timeout=0.01)
    assert caught.value.retryable
    decision = await request.decision(timeout=10)
    assert (decision.approved, decision.type, decision.reason) == (False, "reject", "expired")


async def test_a_quorum_of_two_minds_decides_nothing(join: Any) -> None:
    """What one edits the other has not agreed to: it is shown to all, and counts for who says the same."""
    writer, ana, bob = await join("writer"), await join("ana"), await join("bob")
    large = {"amount": 1_000_000, "note": "x" * 100_000}
    request = await writer.approve.request("pay", {"amount": 10}, quorum=2)
    assert await ana.approve.decide(request.id, "approve", digest=(await ana.approve.get(request.id)).digest) == "pending"
    assert await bob.approve.decide(request.id, "edit", args=large, key="v1") == "pending"
    with pytest.raises(KeyConflict):
        await ana.approve.decide(request.id, "reject", key="v1")
    mine, other = (await ana.approve.get(request.id)).votes
    assert (mine["type"], "args" in mine, other["args"]) == ("approve", False, large)
    assert await ana.approve.decide(request.id, "edit", args=other["args"]) == "decided"
    assert (await request.decision(10)).args == large


async def test_quorum_and_roles(join: Any) -> None:
    writer = await join("writer")
    one, two, other = await join("one", roles=["finance"]), await join("two", roles=["finance"]), await join("other")
    request = await writer.approve.request("pay", {"eur": 5}, approvers="role:finance", quorum=2)
    with pytest.raises(NotAuthorized):
        await other.approve.decide(request.id, "approve")
    assert await one.approve.decide(request.id, "approve") == "pending"
    assert await one.approve.decide(request.id, "approve") == "pending"  # one vote an actor
    assert [vote["actor"] for vote in (await writer.approve.get(request.id)).votes] == ["one"]
    assert await two.approve.decide(request.id, "approve") == "decided"
    assert (await request.decision(10)).roles == ("finance",)


async def test_a_decision_is_bound_to_what_was_shown(join: Any) -> None:
    room = await join("ana")
    request = await room.approve.request("publish", {"n": 1})
    (pending,) = await room.approve.pending()
    with pytest.raises(BadRequest):
        await room.approve.decide(request.id, "approve", digest="0" * 64)
    await room.approve.decide(request.id, "approve", digest=pending.digest)


async def test_a_request_outlives_its_requester(broker: LocalBroker, join: Any) -> None:
    async with connect(broker.url, token=broker.token("writer"), actor="writer") as client:
        room = await client.join("demo")
        request = await room.approve.request("publish", {"n": 1}, id="release-1")
    ana = await join("ana")
    await ana.approve.decide("release-1", "approve")
    back = await join("writer")
    decision = await (await back.approve.follow("release-1")).decision(10)
    assert (decision.approved, decision.args) == (True, {"n": 1})
    again = await back.approve.request("publish", {"n": 1}, id="release-1")
    assert (again.id, (await again.decision(10)).approved) == (request.id, True)


async def test_withdrawing_is_no_approval(join: Any) -> None:
    room = await join("ana")
    request = await room.approve.request("publish")
    await request.withdraw("not needed")
    decision = await request.decision(10)
    assert (decision.approved, decision.reason) == (False, "withdrawn")


async def test_a_vote_is_passed_on_once(join: Any) -> None:
    writer, ana, ben = await join("writer"), await join("ana"), await join("ben")
    request = await writer.approve.request("pay", {"eur": 5}, approvers=["ana"])
    with pytest.raises(NotAuthorized):
        await ben.approve.delegate(request.id, "writer")
    with pytest.raises(BadRequest) as caught:
        await ana.approve.delegate(request.id, "ana")
    assert caught.value.detail["field"] == "to"
    await ana.approve.delegate(request.id, "ben", reason="on holiday")
    (pending,) = await ben.approve.pending()
    (delegation,) = pending.delegations
    assert (delegation["from"], delegation["to"], delegation["reason"]) == ("ana", "ben", "on holiday")
    with pytest.raises(NotAuthorized):
        await ana.approve.decide(request.id, "approve")
    assert await ben.approve.decide(request.id, "approve") == "decided"
    decision = await request.decision(10)
    assert (decision.approved, decision.actor, decision.acting_for) == (True, "ben", ("ana",))
    with pytest.raises(AlreadyDecided):
        await ana.approve.delegate(request.id, "cy")
    trail = [event async for event in stored(writer, "approval.*")]
    assert [(event.type, event.sender) for event in trail] == [
        ("approval.requested", "writer"),
        ("approval.delegated", "ana"),
        ("approval.voted", "ben"),
        ("approval.decided", "ben"),
    ]


async def stored(room: Any, types: str) -> Any:
    """What is in the log, up to the decision."""
    async for event in room.observe.stream(types, since=0):
        yield event
        if event.type == "approval.decided":
            return


@pytest.mark.parametrize("broker", ["memory"], indirect=True)  # what is stored plays no part
async def test_all_that_is_pending_is_listed(join: Any) -> None:
    """More than one answer takes."""
    room = await join("ana")
    asked = [(await room.approve.request("pay", n)).id for n in range(230)]
    assert [each.args for each in await room.approve.pending()] == list(range(230))
    assert [each.id for each in await room.approve.pending(limit=130)] == asked[:130]
    await room.approve.decide(asked[0], "reject")
    listed = await room.approve.list()
    assert [each.id for each in listed] == [*asked[1:], asked[0]]
    assert len(await room.approve.list(limit=100)) == 100
    with pytest.raises(BadRequest):
        await room.approve.list(["pendig"])
    with pytest.raises(BadRequest):
        await room.approve.pending(limit=0)
