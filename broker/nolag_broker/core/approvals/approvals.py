"""Approvals: asked once, decided once, kept for ever. Nothing is ever approved because nobody answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.approvals import (
    ApprovalDecide,
    ApprovalDelegate,
    ApprovalFollow,
    ApprovalGet,
    ApprovalList,
    ApprovalRequest,
    ApprovalWithdraw,
)
from ..commands.tasks import TaskDispatch
from ..entity import Entity
from ..event import Event
from ..members import Session
from ..tasks.dispatching import check_terms, digest_of, terms_of, verb_on
from ..turn import Caller
from . import delegation, votes
from .approval import DECIDED, PENDING, Approval

if TYPE_CHECKING:
    from ..room import Room


class Decided(Entity):
    """A decided approval that can still be listed; everything else about it is in its record."""

    __slots__ = ("id", "listed", "seq")

    def __init__(self, id: str, seq: int) -> None:
        self.stored = False
        self.listed = True
        self.id = id
        self.seq = seq

    @property
    def key(self) -> str:
        return "decided/" + self.id

    def head(self) -> bytes | None:
        row: bytes | None = pack((self.id, self.seq)) if self.listed else None
        return row


class Approvals:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._pending: dict[str, Approval] = {}
        self._decided: dict[str, Decided] = {}
        self._waking: set[str] = set()  # those of the pending whose decision dispatches a task

    def operations(self) -> dict[type, Any]:
        return {
            ApprovalRequest: self.request,
            ApprovalFollow: self.follow,
            ApprovalList: self.list_approvals,
            ApprovalGet: self.get,
            ApprovalDecide: self.decide,
            ApprovalDelegate: self.delegate,
            ApprovalWithdraw: self.withdraw,
        }

    def folds(self) -> dict[str, Any]:
        return {
            "approval.requested": self.apply_requested,
            "approval.delegated": self.apply_delegated,
            "approval.voted": self.apply_voted,
            "approval.decided": self.apply_decided,
        }

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    @property
    def waking(self) -> int:
        """How many tasks decisions will dispatch. Their place in the backlog is kept: a decision is never refused for want of one."""
        return len(self._waking)

    def pending(self) -> list[Approval]:
        return list(self._pending.values())

    # -- the fold

    def apply_requested(self, event: Event) -> None:
        approval = Approval(event)
        self._enter(approval)
        self._room.touch(approval)

    def apply_delegated(self, event: Event) -> None:
        data = event.data
        approval = self._pending[data["approval"]]
        passed = {"to": data["to"], "time": event.time}
        if "reason" in data:
            passed["reason"] = data["reason"]
        approval.delegations.pop(event.sender, None)
        approval.delegations[event.sender] = passed
        delegation.take(approval, event.sender, data.get("for", ()))
        self._room.touch(approval)

    def apply_voted(self, event: Event) -> None:
        data = event.data
        approval = self._pending[data["approval"]]
        vote = {"type": data["type"], "time": event.time}
        vote.update((name, data[name]) for name in ("digest", "by", "message", "key", "for") if name in data)
        if event.body is not None:
            vote["body_seq"] = event.seq
            if event.ct is not None:
                vote["ct"] = event.ct
        delegation.take(approval, event.sender, data.get("for", ()))
        approval.votes.pop(event.sender, None)
        approval.votes[event.sender] = vote
        if "key" in data:
            approval.keys.append([data["key"], *([event.sender, *votes.outcome(approval, vote)] if "digest" in data else ())])
        self._room.touch(approval)

    def apply_decided(self, event: Event) -> None:
        data = event.data
        approval = self._pending.pop(data["approval"])
        self._waking.discard(approval.id)
        self._room.wall.cancel(approval.timer)
        decision = {name: value for name, value in data.items() if name != "approval"}
        decision.update(actor=event.sender, time=event.time, seq=event.seq)
        if event.body is not None:
            decision["body_seq"] = event.seq
            if event.ct is not None:
                decision["ct"] = event.ct
        approval.decision, approval.wake = decision, None
        self._room.put_record("done/approval/" + approval.id, approval.header())
        self._room.touch(approval)
        entry = self._decided[approval.id] = Decided(approval.id, event.seq)
        self._room.touch(entry)
        if len(self._decided) > self._room.limits.decided:
            oldest = self._decided.pop(next(iter(self._decided)))
            oldest.listed = False
            self._room.touch(oldest)

    def load(self, rows: Mapping[str, bytes]) -> None:
        pending = [Approval.from_header(row) for key, row in rows.items() if key.startswith("approval/")]
        for approval in sorted(pending, key=lambda approval: approval.seq):
            approval.stored = True
            self._enter(approval)
        decided = [Decided(*msgpack.unpackb(row)) for key, row in rows.items() if key.startswith("decided/")]
        for entry in sorted(decided, key=lambda entry: entry.seq):
            entry.stored = True
            self._decided[entry.id] = entry

    def _enter(self, approval: Approval) -> None:
        self._pending[approval.id] = approval
        if approval.wake is not None:
            self._waking.add(approval.id)
        if approval.expires is not None:
            approval.timer = self._room.wall.at(approval.expires, self._expired, approval, approval.seq)

    def _expired(self, approval: Approval) -> None:
        self._decide(approval, {"type": votes.REJECT, "approved": False, "reason": "expired"})

    # -- finding one

    def needs(self, id: str) -> tuple[str, ...]:
        return () if id in self._pending else ("done/approval/" + id,)

    def needs_listed(self, command: ApprovalList) -> list[str]:
        return self._last_decided(command.limit) if DECIDED in command.states else []

    def _last_decided(self, limit: int) -> list[str]:
        return ["done/approval/" + id for id in list(self._decided)[-limit:]]

    def _find(self, id: str) -> Approval | None:
        approval = self._pending.get(id)
        if approval is None and (row := self._room.cold("done/approval/" + id)) is not None:
            approval = Approval.from_header(row)
        return approval

    def _known(self, id: str) -> Approval:
        approval = self._find(id)
        if approval is None:
            raise Refusal("approval_not_found", f"no approval {id[:64]!r} in this room")
        return approval

    # -- asking

    def request(self, command: ApprovalRequest, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        self.check((command,))
        approval = self.open(command)
        if command.follow:
            self._watch(self._room.members.session(caller), approval)
        return {"approval": approval.id, "state": approval.state}

    def check(self, commands: Iterable[ApprovalRequest], ending: int = 0) -> None:
        """Whether all of these can be opened, where so many tasks end with it: nothing is accepted by half."""
        new, waking = 0, -ending
        asked: dict[str, tuple[Any, ...]] = {}  # by id
        for command in commands:
            self._room.allow("dispatch", command.action)
            id, request = command.approval, _question(command, votes.digest_of(command.body, command.ct))
            if (known := self._find(id)) is not None:
                asked[id] = _question(known, known.digest)
            if id in asked:
                if asked[id] != request:
                    raise Refusal("key_conflict", f"the approval {id!r} was asked for with another action or body, or on other terms")
                continue
            asked[id] = request
            new += 1
            if (job := command.wake) is not None:
                check_terms(job)
                if self._may_dispatch(job):
                    waking += 1
                    self._room.tasks.check_bounds(job.rate_key, waking)
            named = command.approvers
            if named is not None and not any(name.startswith("role:") for name in named) and len(set(named)) < command.quorum:
                raise Refusal("bad_request", "quorum is larger than the number of approvers", detail={"field": "quorum"})
        if new and len(self._pending) + new > self._room.limits.approvals:
            raise Refusal("overloaded", f"{self._room.limits.approvals} approvals are pending in this room already")

    def open(self, command: ApprovalRequest) -> Approval:
        """The approval, asked for now or before. For commands that passed `check`."""
        room = self._room
        if (known := self._find(command.approval)) is not None:
            return known
        data: dict[str, Any] = {
            "approval": command.approval,
            "allow": command.allow,
            "quorum": command.quorum,
            "digest": votes.digest_of(command.body, command.ct),
        }
        if command.expires is not None:
            data["expires"] = room.env.wall + command.expires
        if command.approvers is not None:
            data["approvers"] = list(command.approvers)
        if (job := command.wake) is not None and self._may_dispatch(job):
            terms = {**terms_of(job), "task": job.task, "digest": digest_of(job), "instance": "", "dispatcher": self._room.caller.actor}
            data["wake"] = {"type": job.type, "terms": terms, "body": job.body, "timeout": job.timeout}
        for name in ("description", "task", "thread"):
            if (value := getattr(command, name)) is not None:
                data[name] = value
        room.emit("approval.requested", command.action, data, command.body, command.ct, command.parent)
        return self._pending[command.approval]

    def _may_dispatch(self, job: TaskDispatch) -> bool:
        verb, resource = verb_on(job.kind, job.type)
        return self._room.caller.grants.allows(verb, self._room.name, resource)

    def follow(self, command: ApprovalFollow, caller: Caller) -> dict[str, Any]:
        room = self._room
        room.admit()
        session, states = room.members.session(caller), {}
        for id in command.approvals:
            approval = self._find(id)
            states[id] = None if approval is None else approval.state
            if approval is not None:
                self._watch(session, approval)
        return {"states": states}

    def withdraw(self, command: ApprovalWithdraw, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        approval = self._known(command.approval)
        if approval.requester != caller.actor:
            raise Refusal("not_authorized", f"only {approval.requester}, who asked, withdraws the request")
        self._still_pending(approval)
        data: dict[str, Any] = {"type": votes.REJECT, "approved": False, "reason": "withdrawn"}
        if command.reason is not None:
            data["message"] = command.reason
        self._decide(approval, data)
        return {"state": DECIDED}

    # -- looking

    def get(self, command: ApprovalGet, caller: Caller) -> dict[str, Any]:
        approval = self._known(command.approval)
        # Whoever may ask for this action may look it up: a gate is taken up by other workers than the one that asked.
        may_ask = caller.grants.allows("dispatch", self._room.name, approval.action)
        if approval.requester != caller.actor and not may_ask:
            self._room.allow("approve", approval.action)
        return {"approval": approval.info()}

    def list_approvals(self, command: ApprovalList, caller: Caller) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for approval in self._candidates(command):
            if approval.requester == caller.actor or caller.grants.allows("approve", self._room.name, approval.action):
                if len(found) == command.limit:
                    return {"approvals": found, "end": False}
                found.append(approval.info())
        return {"approvals": found, "end": DECIDED not in command.states or len(self._decided) <= command.limit}

    def _candidates(self, command: ApprovalList) -> Iterable[Approval]:
        """The pending ones, oldest first, then the decided ones, newest first."""
        if PENDING in command.states:
            for approval in self._pending.values():
                if approval.seq > command.after:
                    yield approval
        if DECIDED in command.states:
            for key in reversed(self._last_decided(command.limit)):
                if (row := self._room.cold(key)) is not None:
                    yield Approval.from_header(row)

    # -- deciding

    def decide(self, command: ApprovalDecide, caller: Caller) -> dict[str, Any]:
        approval = self._known(command.approval)
        decided = approval.decision
        digest = approval.digest if command.body is None else votes.digest_of(command.body, command.ct)
        if (known := approval.vote_under(command.key)) is not None:
            said = {"type": command.type, "digest": digest, "message": command.message}
            decisive = decided is not None and decided.get("key") == command.key
            if known and known != [caller.actor, *votes.outcome(approval, said)]:
                text = f"the key {command.key!r} was used for another vote on this approval"
                raise Refusal("key_conflict", text, detail={"decided": decisive})
            return self._answer(approval) if decisive else {"state": PENDING}
        self._room.tasks.check_lease(command.lease, caller)
        self._room.allow("approve", approval.action)
        acting_for = delegation.votes_for(approval, caller)
        if command.resent and decided is not None and (decided["actor"], decided["type"]) == (caller.actor, command.type):
            return self._answer(approval)
        self._still_pending(approval)
        votes.check(approval, command)
        data: dict[str, Any] = {"type": command.type, "digest": digest, "roles": sorted(caller.roles)}
        for name in ("message", "by", "key"):
            if (value := getattr(command, name)) is not None:
                data[name] = value
        if acting_for:
            data["for"] = acting_for
        vote = {"approval": approval.id, **data}
        self._room.emit("approval.voted", approval.action, vote, command.body, command.ct, approval.seq)
        outcome = votes.outcome(approval, data)
        agreed = sum(votes.outcome(approval, vote) == outcome for vote in approval.votes.values())
        if command.type == votes.REJECT or agreed >= approval.quorum:
            if not command.wake:
                approval.wake = None
            self._decide(approval, {**data, "approved": command.type in votes.APPROVING, "reason": "vote"}, command.body, command.ct)
        return self._answer(approval)

    def delegate(self, command: ApprovalDelegate, caller: Caller) -> dict[str, Any]:
        """Pass the caller's vote on. Whoever gets it needs the grant like everybody who votes: nobody is granted anything by this."""
        self._room.tasks.check_lease(command.lease, caller)
        approval = self._known(command.approval)
        self._room.allow("approve", approval.action)
        self._still_pending(approval)
        with_it = delegation.check(approval, caller, command.to)
        data: dict[str, Any] = {"approval": approval.id, "from": caller.actor, "to": command.to}
        if command.reason is not None:
            data["reason"] = command.reason
        if with_it:
            data["for"] = with_it
        self._room.emit("approval.delegated", approval.action, data, parent=approval.seq)
        return {"state": PENDING}

    def _still_pending(self, approval: Approval) -> None:
        if (decision := approval.decision) is not None:
            shown = {name: decision[name] for name in ("type", "approved", "by", "actor", "message", "reason", "time") if name in decision}
            raise Refusal("already_decided", f"already decided: {decision['actor']} said {decision['type']!r}", detail={"decision": shown})

    def _answer(self, approval: Approval) -> dict[str, Any]:
        if approval.decision is None:
            return {"state": PENDING}
        return {"state": DECIDED, "decision": approval.view_of_decision()}

    def _decide(self, approval: Approval, data: dict[str, Any], body: bytes | None = None, ct: str | None = None) -> None:
        wake = approval.wake
        self._room.emit("approval.decided", approval.action, {"approval": approval.id, **data}, body, ct, approval.seq)
        if wake is not None and wake["terms"]["task"] not in self._room.tasks.by_id:
            deadline = {} if wake["timeout"] is None else {"deadline": self._room.env.wall + wake["timeout"]}
            self._room.emit("task.dispatched", wake["type"], {**wake["terms"], **deadline}, wake["body"], parent=self._room.seq)
        if approval.watchers:
            frame = self._decision(approval)
            for session in approval.watchers:
                session.watching.pop(approval, None)
                self._room.push(session, frame)
            approval.watchers.clear()

    def _watch(self, session: Session, approval: Approval) -> None:
        if approval.decision is not None:
            self._room.push(session, self._decision(approval))
        else:
            approval.watchers[session] = None
            session.watching[approval] = None

    def _decision(self, approval: Approval) -> dict[str, Any]:
        assert approval.decision is not None
        return {
            "push": "decision",
            "room": self._room.name,
            "approval": approval.id,
            "state": DECIDED,
            "decision": approval.view_of_decision(),
            "seq": approval.decision["seq"],
        }


def _question(asked: Approval | ApprovalRequest, digest: str) -> tuple[Any, ...]:
    """What is asked and who decides it: whoever asks the same again attaches."""
    approvers = asked.approvers
    return asked.action, digest, frozenset(asked.allow), asked.quorum, None if approvers is None else frozenset(approvers)
