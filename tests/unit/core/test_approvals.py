"""Approvals: asked once, decided once."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgpack
import pytest

from nolag_broker.core.limits import Limits
from nolag_broker.core.retention import of_record
from nolag_broker.wire.codec import pack


def ask_for(agent: Any, approval: str = "a1", **fields: Any) -> dict[str, Any]:
    asked = {"action": "publish", "body": b"shown", "allow": ["approve", "edit", "reject", "respond"], **fields}
    answer: dict[str, Any] = agent.ask("approval.request", approval=approval, **asked)
    return answer


def decide(agent: Any, type: str = "approve", approval: str = "a1", **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = agent.ask("approval.decide", approval=approval, type=type, **fields)
    return answer


def test_asked_shown_decided_and_told(driver: Any, planner: Any) -> None:
    assert ask_for(planner, ct="json", expires=60, description="Tea?", task="t1", thread="th") == {"approval": "a1", "state": "pending"}
    ana = driver.agent("ana", roles=("editor",))
    digest = sha256(b"shown").hexdigest()
    assert ana.ask("approval.get", approval="a1")["approval"] == {
        "approval": "a1",
        "seq": 2,
        "action": "publish",
        "state": "pending",
        "requester": "planner",
        "allow": ["approve", "edit", "reject", "respond"],
        "approvers": None,
        "quorum": 1,
        "votes": [],
        "created": driver.wall,
        "expires": driver.wall + 60,
        "digest": digest,
        "description": "Tea?",
        "task": "t1",
        "thread": "th",
        "body": b"shown",
        "ct": "json",
    }
    decision = {
        "type": "edit",
        "digest": sha256(b"edited").hexdigest(),
        "approved": True,
        "by": "label",
        "actor": "ana",
        "roles": ["editor"],
        "message": "shorter",
        "reason": "vote",
        "time": driver.wall,
        "body": b"edited",
        "ct": "json",
    }
    assert decide(ana, "edit", body=b"edited", ct="json", message="shorter", by="label", digest=digest) == {
        "state": "decided",
        "decision": decision,
    }
    assert planner.push("decision") == {
        "push": "decision",
        "room": "room",
        "approval": "a1",
        "state": "decided",
        "decision": decision,
        "seq": len(driver.log),
    }
    assert driver.types()[1:] == ["approval.requested", "approval.voted", "approval.decided"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_pending_approval_outlives_its_requester_and_the_broker(driver: Any, planner: Any, restarted: bool) -> None:
    ask_for(planner)
    planner.disconnect()
    if restarted:
        driver.restart()
    decide(driver.agent("ana"))
    returned = driver.agent("planner", instance="planner-2")
    assert ask_for(returned) == {"approval": "a1", "state": "decided"}
    assert returned.push("decision")["decision"]["approved"] is True
    assert returned.ask("approval.follow", approvals=["a1", "a2"]) == {"states": {"a1": "decided", "a2": None}}
    assert returned.push("decision")["decision"]["actor"] == "ana"


@pytest.mark.parametrize("decided", [False, True])
def test_the_same_id_with_another_question_is_a_conflict(driver: Any, planner: Any, refused: Any, decided: bool) -> None:
    ask_for(planner, approvers=["ana", "ben"], quorum=2)
    if decided:
        decide(driver.agent("ana"), "reject")
    driver.restart()
    others = (
        {"body": b"other"},
        {"action": "delete"},
        {"quorum": 1},
        {"approvers": None},
        {"approvers": ["ana", "eve"]},
        {"allow": ["approve"]},
    )
    for other in others:
        with refused("key_conflict"):
            ask_for(planner, **{"approvers": ["ana", "ben"], "quorum": 2, **other})
    ask_for(planner, approvers=["ben", "ana"], quorum=2, expires=5)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_first_decision_wins(driver: Any, planner: Any, refused: Any, restarted: bool) -> None:
    ask_for(planner)
    decide(driver.agent("ana"), "reject", message="no")
    if restarted:
        driver.restart()
    with refused("already_decided") as caught:
        decide(driver.agent("ben"))
    assert caught.value.detail["decision"]["actor"] == "ana"
    assert caught.value.detail["decision"]["approved"] is False
    with refused("already_decided"):
        planner.ask("approval.withdraw", approval="a1")


def test_a_decision_sent_again_is_answered_alike(driver: Any, planner: Any, refused: Any) -> None:
    ask_for(planner)
    ana = driver.agent("ana")
    first = decide(ana)
    driver.restart()
    before = len(driver.log)
    assert decide(ana, resent=True) == first
    with refused("already_decided"):
        decide(ana)
    with refused("already_decided"):
        decide(ana, "reject", resent=True)
    assert len(driver.log) == before


def test_quorum_counts_one_vote_an_actor(driver: Any, planner: Any) -> None:
    ask_for(planner, quorum=2)
    ana, ben = driver.agent("ana"), driver.agent("ben")
    assert decide(ana) == {"state": "pending"}
    assert decide(ana, message="again") == {"state": "pending"}
    assert decide(driver.agent("ana", instance="2"), "edit", body=b"mine") == {"state": "pending"}
    info = ana.ask("approval.get", approval="a1")["approval"]
    assert [(vote["actor"], vote["type"]) for vote in info["votes"]] == [("ana", "edit")], "the last one stands"
    driver.restart()
    decision = decide(ben, "edit", body=b"mine")["decision"]
    assert (decision["actor"], decision["type"], decision["body"]) == ("ben", "edit", b"mine")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"type": "approve"}, {"type": "edit", "body": b"other"}),
        ({"type": "edit", "body": b"mine"}, {"type": "edit", "body": b"other"}),
        ({"type": "edit", "body": b"mine"}, {"type": "approve"}),
        ({"type": "respond", "message": "green"}, {"type": "respond", "message": "black"}),
        ({"type": "approve"}, {"type": "respond", "message": "black"}),
    ],
    ids=lambda vote: vote["type"],
)
def test_a_quorum_is_of_those_who_agree(driver: Any, planner: Any, restarted: bool, first: dict[str, Any], other: dict[str, Any]) -> None:
    """Nobody's vote is used for what it was not given to."""
    ask_for(planner, quorum=2)
    ana, ben, eve = driver.agent("ana"), driver.agent("ben"), driver.agent("eve")
    assert decide(ana, **first) == {"state": "pending"}
    assert decide(ben, **other) == {"state": "pending"}
    if restarted:
        driver.restart()
    votes = {vote["actor"]: vote for vote in planner.ask("approval.get", approval="a1")["approval"]["votes"]}
    assert votes["ben"].get("body") == other.get("body"), "the others see what is to be agreed to"
    assert votes["ben"]["digest"] == sha256(other.get("body", b"shown")).hexdigest()
    decision = decide(eve, **first)["decision"]
    assert (decision["type"], decision.get("body"), decision.get("message")) == (first["type"], first.get("body"), first.get("message"))


def test_what_votes_said_is_kept_as_long_as_they_can_be_read(driver: Any, planner: Any) -> None:
    ask_for(planner, quorum=2)
    decide(driver.agent("ana"), "edit", body=b"mine")
    edited = len(driver.log)
    assert edited in driver.room.retention.living()
    decide(driver.agent("ben"), "reject")
    assert edited in of_record("done/approval/a1", driver.records["done/approval/a1"])


def test_votes_of_an_older_broker_count_for_what_was_shown(driver: Any, planner: Any) -> None:
    """Its rows name no digest; an edit's arguments are not known from them."""
    ask_for(planner, quorum=2)
    row = msgpack.unpackb(driver.heads["approval/a1"])
    row[14] = {"ana": {"type": "approve", "time": 1.0, "key": "v1"}, "ben": {"type": "edit", "time": 1.0}}
    row[15] = ["v1"]
    driver.heads["approval/a1"] = pack(row)
    driver.restart()
    assert decide(driver.agent("eve"), "edit", body=b"mine") == {"state": "pending"}
    assert decide(driver.agent("joe"), "reject", key="v1") == {"state": "pending"}, "whose key it was is not known"
    assert decide(driver.agent("joe"))["state"] == "decided"


def test_one_reject_ends_it(driver: Any, planner: Any) -> None:
    ask_for(planner, quorum=3)
    decide(driver.agent("ana"))
    decision = decide(driver.agent("ben"), "reject")["decision"]
    assert (decision["approved"], decision["reason"]) == (False, "vote")


def test_a_response_approves_nothing(driver: Any, planner: Any) -> None:
    ask_for(planner)
    assert decide(planner, "respond", message="use green tea")["decision"]["approved"] is False


def test_a_vote_with_a_known_key_is_not_counted_again(driver: Any, planner: Any) -> None:
    ask_for(planner, quorum=2)
    ana, ben = driver.agent("ana"), driver.agent("ben")
    decide(ana, key="v1")
    assert decide(ana, key="v1") == {"state": "pending"}
    decide(ana, "edit", body=b"", key="v2")
    assert decide(ana, key="v1") == {"state": "pending"}, "a former vote does not come back"
    driver.restart()
    decided = decide(ben, "edit", body=b"", key="v3")
    assert decided["state"] == "decided"
    assert decide(ben, "edit", body=b"", key="v3") == decided
    assert decide(ana, key="v1") == {"state": "pending"}, "it was not the vote that decided"
    assert driver.types().count("approval.voted") == 3


@pytest.mark.parametrize("decided", [False, True])
def test_a_key_is_of_one_vote(driver: Any, planner: Any, refused: Any, decided: bool) -> None:
    """A reject is never taken for the approve that was said under its key."""
    ask_for(planner, quorum=1 if decided else 2)
    ana, ben = driver.agent("ana"), driver.agent("ben")
    decide(ana, "edit", body=b"mine", key="v1")
    driver.restart()
    others: list[tuple[Any, str, dict[str, Any]]] = [
        (ana, "reject", {}),
        (ana, "edit", {"body": b"other"}),
        (ben, "edit", {"body": b"mine"}),
    ]
    for agent, type, fields in others:
        with refused("key_conflict") as caught:
            decide(agent, type, key="v1", **fields)
        assert caught.value.detail == {"decided": decided}
    assert driver.types().count("approval.voted") == 1


def test_expiry_rejects(driver: Any, planner: Any) -> None:
    ask_for(planner, expires=3600)
    driver.advance(3000)
    driver.restart()
    planner.connect()
    planner.ask("approval.follow", approvals=["a1"])
    driver.advance(599)
    assert planner.pushes() == []
    driver.advance(1)
    decision = planner.push("decision")["decision"]
    assert (decision["type"], decision["approved"], decision["reason"], decision["actor"]) == ("reject", False, "expired", "@broker")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_vote_after_the_expiry_comes_too_late(driver: Any, planner: Any, refused: Any, restarted: bool) -> None:
    """Also where it is the first that the room hears of after that."""
    ask_for(planner, expires=10)
    if restarted:
        driver.restart()
    driver.oversleep(10)
    with refused("already_decided") as caught:
        decide(driver.agent("ana"))
    decision = caught.value.detail["decision"]
    assert (decision["approved"], decision["reason"]) == (False, "expired")


def test_a_decided_approval_does_not_expire(driver: Any, planner: Any) -> None:
    ask_for(planner, expires=10)
    decide(planner)
    driver.advance(20)
    assert driver.types().count("approval.decided") == 1


def test_only_the_requester_withdraws(driver: Any, planner: Any, refused: Any) -> None:
    ask_for(planner)
    with refused("not_authorized"):
        driver.agent("ana").ask("approval.withdraw", approval="a1")
    assert planner.ask("approval.withdraw", approval="a1", reason="stale", request=9) == {"state": "decided"}
    decision = planner.push("decision")["decision"]
    assert (decision["approved"], decision["reason"], decision["message"]) == (False, "withdrawn", "stale")
    assert planner.ask("approval.withdraw", approval="a1", request=9, resent=True) == {"state": "decided"}


@pytest.mark.parametrize(
    ("actor", "roles", "allowed"), [("ana", (), True), ("ben", (), False), ("ben", ("finance",), True), ("ben", ("ana",), False)]
)
def test_approvers_are_actors_or_roles(driver: Any, planner: Any, refused: Any, actor: str, roles: tuple[str, ...], allowed: bool) -> None:
    ask_for(planner, approvers=["ana", "role:finance"])
    voter = driver.agent(actor, roles=roles)
    if allowed:
        assert decide(voter)["state"] == "decided"
    else:
        with refused("not_authorized"):
            decide(voter)
        assert planner.ask("approval.list")["approvals"], "still pending"


def test_a_label_is_not_an_identity(driver: Any, planner: Any, refused: Any) -> None:
    ask_for(planner, approvers=["ana"])
    with refused("not_authorized"):
        decide(driver.agent("ben"), by="ana")


@pytest.mark.parametrize(
    ("type", "fields"),
    [("respond", {}), ("edit", {}), ("approve", {"digest": sha256(b"something else").hexdigest()}), ("approve", {"body": b"other"})],
    ids=["not allowed", "edit without arguments", "another digest", "approve with other arguments"],
)
def test_bad_votes_leave_it_pending(driver: Any, planner: Any, refused: Any, type: str, fields: dict[str, Any]) -> None:
    ask_for(planner, allow=["approve", "edit", "reject"])
    with refused("bad_request"):
        decide(planner, type, **fields)
    assert planner.ask("approval.get", approval="a1")["approval"]["votes"] == []


def test_impossible_quorum_is_refused(planner: Any, refused: Any) -> None:
    with refused("bad_request"):
        ask_for(planner, approvers=["ana", "ana"], quorum=2)
    ask_for(planner, approvers=["role:finance"], quorum=2)


def test_a_role_has_a_name(planner: Any, refused: Any) -> None:
    """Nobody could ever decide it."""
    with refused("bad_request") as caught:
        ask_for(planner, approvers=["ana", "role:"])
    assert caught.value.detail == {"field": "approvers"}
    ask_for(planner)
    with refused("bad_request"):
        planner.ask("approval.delegate", approval="a1", to="role:")


def test_lists(make_driver: Any) -> None:
    driver = make_driver(Limits(decided=2))
    planner = driver.agent("planner")
    for number in range(4):
        ask_for(planner, f"a{number}")
    for number in range(3):
        decide(planner, approval=f"a{number}")
    driver.restart()

    def listed(agent: Any, **fields: Any) -> list[str]:
        return [info["approval"] for info in agent.ask("approval.list", **fields)["approvals"]]

    assert listed(planner) == ["a3"]
    assert listed(planner, states=["decided"]) == ["a2", "a1"], "the oldest is not listed, but can be read"
    assert planner.ask("approval.get", approval="a0")["approval"]["decision"]["approved"] is True
    assert listed(planner, states=["pending", "decided"], limit=2) == ["a3", "a2"]
    assert listed(driver.agent("other", [{"room": "room", "topics": ["delete"], "verbs": ["approve"]}])) == []


def test_pages(driver: Any, planner: Any) -> None:
    for number in range(5):
        ask_for(planner, f"a{number}")
    seen: list[str] = []
    after, end = 0, False
    while not end:
        answer = planner.ask("approval.list", limit=2, after=after)
        seen += [info["approval"] for info in answer["approvals"]]
        after, end = answer["approvals"][-1]["seq"], answer["end"]
        driver.restart()
        if len(seen) == 2:
            decide(planner, approval="a0")  # what goes meanwhile moves nothing
            ask_for(planner, "late")
    assert seen == ["a0", "a1", "a2", "a3", "a4", "late"]


def test_grants(driver: Any, planner: Any, refused: Any) -> None:
    ask_for(planner)
    agent = driver.agent("agent", [{"room": "room", "topics": ["delete"], "verbs": ["approve", "dispatch"]}])
    with refused("not_authorized"):
        ask_for(agent, "a2")
    for op, fields in (("get", {}), ("decide", {"type": "approve"})):
        with refused("not_authorized") as caught:
            agent.ask(f"approval.{op}", approval="a1", **fields)
        assert "'approve' on 'publish'" in caught.value.message
    ask_for(agent, "mine", action="delete")
    requester = driver.agent("agent", [{"room": "room", "verbs": ["publish"]}])
    assert requester.ask("approval.get", approval="mine")["approval"]["requester"] == "agent", "one's own"
    with refused("approval_not_found"):
        planner.ask("approval.get", approval="unknown")
    with refused("not_authorized"):
        driver.agent("stranger", [{"room": "other"}]).ask("approval.follow", approvals=["a1"])


def test_pending_approvals_are_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(approvals=1)).agent("planner")
    ask_for(planner)
    with refused("overloaded"):
        ask_for(planner, "a2")
    ask_for(planner)
    decide(planner)
    ask_for(planner, "a2")
