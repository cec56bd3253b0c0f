"""Votes passed on: one vote stays one vote, whoever gives it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from nolag_broker.core.approvals import delegation


@pytest.fixture
def ask_for(planner: Any) -> Any:
    def ask(**fields: Any) -> None:
        planner.ask("approval.request", approval="a1", action="pay", body=b"shown", allow=["approve", "reject"], **fields)

    return ask


def delegate(agent: Any, to: str, **fields: Any) -> Any:
    return agent.ask("approval.delegate", approval="a1", to=to, **fields)


def decide(agent: Any, type: str = "approve", **fields: Any) -> str:
    state: str = agent.ask("approval.decide", approval="a1", type=type, **fields)["state"]
    return state


def info(agent: Any) -> dict[str, Any]:
    approval: dict[str, Any] = agent.ask("approval.get", approval="a1")["approval"]
    return approval


@pytest.mark.parametrize("restarted", [False, True])
def test_the_delegate_votes_in_place_of_who_was_asked(driver: Any, ask_for: Any, refused: Any, restarted: bool) -> None:
    ask_for(approvers=["ana"])
    ana, ben = driver.agent("ana"), driver.agent("ben")
    with refused("not_authorized"):
        decide(ben)
    assert delegate(ana, "ben", reason="on holiday") == {"state": "pending"}
    assert info(ana)["delegations"] == [{"from": "ana", "to": "ben", "reason": "on holiday", "time": driver.wall}]
    if restarted:
        driver.restart()
    with refused("not_authorized") as caught:
        decide(ana)
    assert caught.value.detail == {"delegate": "ben"}, "it has been passed on"
    assert decide(ben) == "decided"
    shown = info(ana)
    assert (shown["decision"]["actor"], shown["decision"]["for"]) == ("ben", ["ana"])
    assert [(vote["actor"], vote["for"]) for vote in shown["votes"]] == [("ben", ["ana"])]
    assert shown["delegations"][0]["taken"] == "ben"
    trail = [(event.type, event.sender, event.subject, event.data.get("to")) for event in driver.log[2:]]
    assert trail == [
        ("approval.delegated", "ana", "pay", "ben"),
        ("approval.voted", "ben", "pay", None),
        ("approval.decided", "ben", "pay", None),
    ]
    assert driver.log[2].data == {"approval": "a1", "from": "ana", "to": "ben", "reason": "on holiday"}


def test_of_a_role_one_takes_the_vote(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana", "role:board"], quorum=2)
    delegate(driver.agent("ana"), "role:finance")
    one, two = (driver.agent(name, roles=("finance",)) for name in ("one", "two"))
    assert decide(one) == "pending"
    assert decide(one) == "pending", "its vote can change, it does not become two"
    driver.restart()
    with refused("not_authorized"):
        decide(two)
    assert info(one)["delegations"][0]["taken"] == "one"
    assert decide(driver.agent("eve", roles=("board",))) == "decided"


def test_an_approver_leaves_the_vote_of_a_role_to_others_of_it(driver: Any, ask_for: Any) -> None:
    ask_for(approvers=["ana", "ben"], quorum=2)
    delegate(driver.agent("ana"), "role:finance")
    assert decide(driver.agent("ben", roles=("finance",))) == "pending"
    assert decide(driver.agent("cy", roles=("finance",))) == "decided"


def test_a_delegate_that_is_asked_itself_has_one_vote(driver: Any, ask_for: Any) -> None:
    ask_for(approvers=["ana", "ben", "cy"], quorum=2)
    delegate(driver.agent("ana"), "ben")
    ben = driver.agent("ben")
    assert decide(ben) == "pending"
    assert decide(ben) == "pending"
    assert decide(driver.agent("cy")) == "decided"


def test_who_votes_for_several_has_one_vote(driver: Any, ask_for: Any) -> None:
    ask_for(approvers=["role:board"], quorum=2)
    for name in ("ana", "ben"):
        delegate(driver.agent(name, roles=("board",)), "dan")
    dan = driver.agent("dan")
    assert decide(dan) == "pending"
    assert info(dan)["votes"][0]["for"] == ["ana", "ben"]
    assert decide(driver.agent("eve", roles=("board",))) == "decided"


def test_where_everybody_may_vote_one_vote_is_given_up(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(quorum=2)
    ana, ben = driver.agent("ana"), driver.agent("ben")
    delegate(ana, "ben")
    assert decide(ben) == "pending"
    with refused("not_authorized"):
        decide(ana)
    assert decide(driver.agent("cy")) == "decided"


def test_a_vote_is_passed_on_further_with_those_that_came_with_it(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana"])
    ana, ben, cy = driver.agent("ana"), driver.agent("ben"), driver.agent("cy")
    delegate(ana, "ben")
    delegate(ben, "cy")
    driver.restart()
    with refused("not_authorized"):
        decide(ben)
    for to in ("ana", "ben", "cy"):
        with refused("bad_request"):  # nobody gets it back, or passes it to itself
            delegate(cy, to)
    with refused("bad_request"):  # ben has made use of it
        delegate(ana, "dan")
    assert decide(cy) == "decided"
    assert info(ana)["decision"]["for"] == ["ben"]
    assert [(each["from"], each.get("taken")) for each in info(ana)["delegations"]] == [("ana", "ben"), ("ben", "cy")]


def test_a_chain_has_an_end(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["a0"])
    for number in range(delegation.LONGEST):
        delegate(driver.agent(f"a{number}"), f"a{number + 1}")
    with refused("bad_request") as caught:
        delegate(driver.agent(f"a{delegation.LONGEST}"), "far")
    assert caught.value.detail == {"field": "to"}
    assert decide(driver.agent(f"a{delegation.LONGEST}")) == "decided"


def test_a_delegation_changes_until_it_is_used(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana", "role:board"], quorum=2)
    ana, ben, cy = driver.agent("ana"), driver.agent("ben"), driver.agent("cy")
    delegate(ana, "ben")
    delegate(ana, "cy", reason="ben is away too")
    with refused("not_authorized"):
        decide(ben)
    assert decide(cy) == "pending"
    with refused("bad_request"):
        delegate(ana, "ben")
    assert driver.types().count("approval.delegated") == 2


def test_what_is_refused(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana", "ben", "role:board"], quorum=3)
    ana, ben, eve = driver.agent("ana"), driver.agent("ben"), driver.agent("eve", roles=("board",))
    with refused("not_authorized"):
        delegate(driver.agent("dan"), "cy")
    with refused("not_authorized"):  # the grant is asked for, delegate or not
        delegate(driver.agent("ana", [{"room": "room", "verbs": ["publish"]}]), "ben")
    with refused("approval_not_found"):
        ana.ask("approval.delegate", approval="other", to="ben")
    decide(ben)
    with refused("bad_request"):  # it has one vote, and gave it
        delegate(ana, "ben")
    with refused("bad_request"):
        delegate(ben, "ana")
    delegate(ana, "cy")
    with refused("bad_request"):
        delegate(eve, "ana")
    decide(eve, "reject")
    with refused("already_decided"):
        delegate(ana, "dan")


def test_a_quorum_stays_within_reach(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana", "ben"], quorum=2)
    ana = driver.agent("ana")
    with refused("bad_request") as caught:
        delegate(ana, "ben")
    assert "1 could vote" in caught.value.message
    delegate(ana, "cy")
    with refused("bad_request"):
        delegate(driver.agent("ben"), "cy")


def test_the_delegate_needs_the_grant(driver: Any, ask_for: Any, refused: Any) -> None:
    ask_for(approvers=["ana"])
    delegate(driver.agent("ana"), "ben")
    with refused("not_authorized"):
        decide(driver.agent("ben", [{"room": "room", "topics": ["publish"], "verbs": ["approve"]}]))


def test_sent_again_it_is_one_delegation(driver: Any, ask_for: Any) -> None:
    ask_for(approvers=["ana"])
    ana = driver.agent("ana")
    first = delegate(ana, "ben", request=9)
    decide(driver.agent("ben"))
    driver.restart()
    assert delegate(ana, "ben", request=9, resent=True) == first
    assert driver.types().count("approval.delegated") == 1


def test_an_approval_stored_by_an_older_broker_can_be_passed_on(driver: Any, ask_for: Any) -> None:
    ask_for(approvers=["ana"])
    driver.heads["approval/a1"] = msgpack.packb(msgpack.unpackb(driver.heads["approval/a1"])[:-1])
    driver.restart()
    delegate(driver.agent("ana"), "ben")
    assert decide(driver.agent("ben")) == "decided"
