"""Approve: a question to people that outlives whoever asked. No default ever approves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..client.approvals import Decided
from ..client.body import encode, read
from ..client.latch import Latch
from ..client.link import RoomLink
from ..client.names import names
from ..client.pages import approvals_listed
from ..errors import DecisionTimeout


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided. The first decision stands.

    Attributes:
        approved: True for `approve` and `edit`: do it, with `args`.
        type: `approve`, `edit`, `reject` or `respond`.
        args: the edited arguments, or those that were asked about where they were approved as they are; else None.
        message: what the decider said.
        by: the label the decider gave, else its actor.
        actor: who decided, as the broker knows it.
        roles: the decider's.
        reason: `vote`, `expired` or `withdrawn`.
        time: seconds since 1970.
        acting_for: actors who passed their vote on to the decider.
    """

    approved: bool
    type: str
    args: Any
    message: str | None
    by: str | None
    actor: str
    roles: tuple[str, ...]
    reason: str
    time: float
    acting_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """An approval, as the broker lists it.

    Attributes:
        args: what is asked about.
        digest: of what is shown; give it to `decide` and the decision is bound to it.
        votes: so far: `{actor, type, by, message, time, for, digest, args}`; `for` names those who passed their vote on to the actor,
            `args` are the edited ones (or the response), and `digest` says what the vote is for. Only votes for the same count together.
        delegations: votes passed on: `{from, to, time, reason, taken}`; `taken` is who made use of it, by voting or passing it on.
        created, expires: seconds since 1970.
        decision: once it is decided.
    """

    id: str
    action: str
    args: Any
    state: str
    requester: str
    allow: tuple[str, ...]
    approvers: tuple[str, ...] | None
    quorum: int
    votes: tuple[dict[str, Any], ...]
    created: float
    expires: float | None
    digest: str
    description: str | None
    task: str | None
    thread: str | None
    decision: Decision | None
    delegations: tuple[dict[str, Any], ...] = ()


class Request:
    """An approval that was asked for.

    Attributes:
        id: with it anybody finds it again, `room.approve.follow(id)`.
    """

    def __init__(self, link: RoomLink, id: str, args: Any) -> None:
        self.id = id
        self._link = link
        self._args = args
        self._decided: Latch[Decided] = Latch()
        link.follow_approval(id, self._decided.set)

    def __repr__(self) -> str:
        return f"Request({self.id!r}, {'decided' if self._decided.is_set else 'pending'})"

    async def decision(self, timeout: float | None = None) -> Decision:
        """Wait for the decision.

        Args:
            timeout: seconds; None: as long as it takes, days too.

        Raises:
            DecisionTimeout: nobody decided in that time; it stays pending, and this may be called again.
            ApprovalNotFound, Disconnected.
        """
        try:
            decided = await self._decided.wait(timeout)
        except TimeoutError:
            raise DecisionTimeout(f"approval {self.id} has no decision after {timeout:g} s; it stays pending") from None
        if decided.decision is None:
            raise decided.error or RuntimeError("an approval ended without a decision")
        return _decision(decided.decision, self._args)

    async def withdraw(self, reason: str | None = None) -> None:
        """Ask no longer: it is rejected, with the reason `withdrawn`. Raises `AlreadyDecided`."""
        await self._link.acall("approval.withdraw", approval=self.id, reason=reason)


class Approve:
    """`room.approve`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def request(
        self,
        action: str,
        args: Any = None,
        *,
        allow: Sequence[str] = ("approve", "edit", "reject"),
        expires: float | None = None,
        approvers: str | Sequence[str] | None = None,
        quorum: int = 1,
        description: str | None = None,
        id: str | None = None,
    ) -> Request:
        """Ask. When this returns, the question is on disk.

        Args:
            action: what is to be done.
            args: with what; plain values, shown as they are.
            allow: of `approve`, `edit`, `reject`, `respond`.
            expires: seconds until it is rejected by itself; None: never.
            approvers: actors and `role:name`s who may decide; None: whoever is granted it.
            quorum: so many must agree: approve what is shown, or give the same edit (the same arguments), or the same response. One
                `reject` ends it.
            description: a line for people.
            id: one's own id: asking again with it attaches to the same approval.

        Raises:
            KeyConflict: the id was used with another action or other args, or with another `allow`, `approvers` or `quorum`.
            NotEncodable, NotAuthorized, BadRequest.
        """
        approval = id or self._link.new_id()
        await self._link.acall(
            "approval.request",
            approval=approval,
            action=action,
            body=encode(args),
            allow=names(allow, "allow"),
            expires=expires,
            approvers=[approvers] if isinstance(approvers, str) else None if approvers is None else names(approvers, "approvers"),
            quorum=quorum,
            description=description,
            follow=False,
        )
        return Request(self._link, approval, args)

    async def follow(self, id: str) -> Request:
        """An approval that was asked for earlier, perhaps by a process that is gone. Raises `ApprovalNotFound`, `NotAuthorized`."""
        return Request(self._link, id, (await self.get(id)).args)

    async def pending(self, limit: int | None = None) -> list[Pending]:
        """What waits for a decision and we may see, oldest first: so many of them, or all."""
        return await self.list(["pending"], limit)

    async def list(self, states: Sequence[str] = ("pending", "decided"), limit: int | None = None) -> list[Pending]:
        """Approvals in these states, so many of them, or all: those that wait, oldest first, then those that were decided last, newest
        first. The room lists 1,000 decided ones; each is found by its id."""
        found = await approvals_listed(partial(self._link.acall, "approval.list"), names(states, "states"), limit)
        return [approval_from_wire(info) for info in found]

    async def get(self, id: str) -> Pending:
        """One approval. Raises `ApprovalNotFound`."""
        return approval_from_wire((await self._link.acall("approval.get", approval=id))["approval"])

    async def decide(
        self,
        id: str,
        type: str,
        *,
        by: str | None = None,
        args: Any = None,
        message: str | None = None,
        digest: str | None = None,
        key: str | None = None,
    ) -> str:
        """Vote. Who voted is our token's actor; `by` is a label beside it.

        With a quorum, a vote counts together with those for the same: to agree to somebody's edit, give the same `args` as an `edit`. A
        further vote of ours takes the place of our former one.

        Args:
            id: which approval.
            type: `approve`, `edit` (with `args`), `reject` or `respond` (with `message` or `args`).
            by: a name to show.
            args: the edited arguments; none with `approve`, which is for what was shown.
            message: said to whoever asked.
            digest: of what we were shown; another one is refused.
            key: our same vote with the same key counts once.

        Returns:
            `decided`, or `pending` while the quorum does not stand.

        Raises:
            AlreadyDecided: somebody was first (`error.detail["decision"]`).
            KeyConflict: the key was used for another vote, or by somebody else.
            ApprovalNotFound, NotAuthorized, BadRequest.
        """
        body = None if args is None else encode(args)
        answer = await self._link.acall(
            "approval.decide", approval=id, type=type, body=body, message=message, by=by, digest=digest, key=key
        )
        return str(answer["state"])

    async def delegate(self, id: str, to: str, *, reason: str | None = None) -> None:
        """Pass our vote on this approval on: `to` may vote in our place, and we do not any more.

        It stays one vote: an approver to whom it is passed has one vote all the same. Whoever votes needs the grant `approve`. Until it
        was made use of, calling this again passes the vote to somebody else.

        Args:
            id: which approval.
            to: an actor, or `role:name`: whoever of that role votes first.
            reason: for the audit trail.

        Raises:
            AlreadyDecided, ApprovalNotFound.
            NotAuthorized: we are not asked.
            BadRequest: to ourselves, to who passed its own vote on, or voted; we have voted; too few would be left for the quorum.
        """
        await self._link.acall("approval.delegate", approval=id, to=to, reason=reason)


def _decision(decision: Mapping[str, Any], asked: Any) -> Decision:
    approved = decision.get("approved") is True
    args = read(decision["body"], decision.get("ct")) if decision.get("body") is not None else asked if approved else None
    return Decision(
        approved=approved,
        type=decision["type"],
        args=args,
        message=decision.get("message"),
        by=decision.get("by") or decision.get("actor"),
        actor=decision.get("actor", ""),
        roles=tuple(decision.get("roles") or ()),
        reason=decision.get("reason", "vote"),
        time=decision.get("time", 0.0),
        acting_for=tuple(decision.get("for") or ()),
    )


def _vote(vote: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in vote.items() if name not in ("body", "ct")}
    return shown if vote.get("body") is None else {**shown, "args": read(vote["body"], vote.get("ct"))}


def approval_from_wire(info: Mapping[str, Any]) -> Pending:
    args, approvers, decision = read(info.get("body"), info.get("ct")), info.get("approvers"), info.get("decision")
    return Pending(
        id=info["approval"],
        action=info["action"],
        args=args,
        state=info["state"],
        requester=info["requester"],
        allow=tuple(info["allow"]),
        approvers=None if approvers is None else tuple(approvers),
        quorum=info["quorum"],
        votes=tuple(_vote(vote) for vote in info["votes"]),
        created=info["created"],
        expires=info.get("expires"),
        digest=info["digest"],
        description=info.get("description"),
        task=info.get("task"),
        thread=info.get("thread"),
        decision=None if decision is None else _decision(decision, args),
        delegations=tuple(info.get("delegations") or ()),
    )
