"""Votes passed on: whose votes a caller has on one pending approval, and to whom it may pass them.

A vote that is passed on stays one vote. Whoever has it votes once, for itself and for all who passed theirs to it, so nothing that was
to be decided by many is decided by fewer or by others than those who were asked wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...wire.codes import Refusal
from ..turn import Caller
from .approval import Approval

ROLE: Final = "role:"
LONGEST: Final = 5  # times that one vote is passed on
MOST: Final = 100  # delegations of an approval


def votes_for(approval: Approval, caller: Caller) -> list[str]:
    """The actors whose votes the caller has beside its own, or in place of one.

    Raises:
        Refusal: `not_authorized`: it has no vote, or passed it on.
    """
    passed = approval.delegations.get(caller.actor)
    if passed is not None:
        raise Refusal("not_authorized", f"{caller.actor} passed its vote on to {passed['to']}", detail={"delegate": passed["to"]})
    return _votes_for(approval, caller)


def check(approval: Approval, caller: Caller, to: str) -> list[str]:
    """Whether the caller may pass its vote on to this actor or role; the actors whose votes go with it.

    Raises:
        Refusal: `not_authorized`, `bad_request` (field `to`), `overloaded`.
    """
    passed = approval.delegations.get(caller.actor)
    if passed is not None and "taken" in passed:
        raise _refused(f"{passed['taken']} has made use of the vote of {caller.actor} already")
    with_it = _votes_for(approval, caller)
    if caller.actor in approval.votes:
        raise _refused(f"{caller.actor} has voted already")
    if to == caller.actor:
        raise _refused("a vote is passed on to somebody else")
    if to in approval.delegations:
        raise _refused(f"{to} passed its own vote on to {approval.delegations[to]['to']}")
    if to in approval.votes:
        raise _refused(f"{to} has voted already, and has one vote only")
    if _passed_on(approval, with_it) >= LONGEST:
        raise _refused(f"a vote is passed on {LONGEST} times at most")
    if passed is None and len(approval.delegations) >= MOST:
        raise Refusal("overloaded", f"{MOST} votes on this approval were passed on already")
    left = _voters_left(approval, caller.actor, to)
    if left is not None and left < approval.quorum:
        raise _refused(f"then {left} could vote, and the quorum is {approval.quorum}")
    return with_it


def take(approval: Approval, actor: str, votes: Iterable[str]) -> None:
    """The actor made use of these votes: it voted, or passed them on. They are nobody else's any more."""
    for delegator in votes:
        approval.delegations[delegator]["taken"] = actor


def _votes_for(approval: Approval, caller: Caller) -> list[str]:
    delegations = approval.delegations.items()
    held = [delegator for delegator, passed in delegations if passed.get("taken", passed["to"]) == caller.actor]
    if held or (approval.approvers is not None and approval.names(caller)):
        return held
    for delegator, passed in delegations:  # one vote of those passed to the role: the others are left to its other actors
        if "taken" not in passed and passed["to"].startswith(ROLE) and passed["to"].removeprefix(ROLE) in caller.roles:
            return [delegator]
    if approval.approvers is None:
        return []
    named = ", ".join(approval.approvers)
    raise Refusal("not_authorized", f"{caller.actor} is not among the approvers: {named}", detail={"approvers": approval.approvers})


def _passed_on(approval: Approval, delegators: Iterable[str]) -> int:
    """How often the votes of these were passed on, at most."""
    before = {
        delegator: [other for other, passed in approval.delegations.items() if passed.get("taken") == delegator] for delegator in delegators
    }
    return max((1 + _passed_on(approval, others) for others in before.values()), default=0)


def _voters_left(approval: Approval, delegator: str, to: str) -> int | None:
    """How many could vote at most after this delegation; None where roles are asked, which may be of any number."""
    if approval.approvers is None or any(name.startswith(ROLE) for name in approval.approvers):
        return None
    next_of = {who: passed.get("taken", passed["to"]) for who, passed in approval.delegations.items()} | {delegator: to}
    voters = set()
    for name in approval.approvers:
        last = name
        while name in next_of:
            last, name = name, next_of[name]
        voters.add((name, last) if name.startswith(ROLE) else name)  # each vote passed to a role may be given by another of its actors
    return len(voters)


def _refused(message: str) -> Refusal:
    return Refusal("bad_request", message, detail={"field": "to"})
