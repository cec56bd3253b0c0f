"""What can be asked about approvals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from .command import Command
from .fields import (
    Body,
    Flag,
    Lease,
    Limit,
    Name,
    Names,
    PositiveSeconds,
    Sequence,
    Text,
    choice,
    choices,
    integer,
    listed,
    read_name,
    refuse,
)
from .reading import build
from .tasks import TaskDispatch, read_later


def read_who(value: Any, field: str) -> str:
    """An actor or `role:name`; nobody has the role without a name."""
    if read_name(value, field) == "role:":
        refuse(field, "of actors, or role:NAME")
    return str(value)


Who = Annotated[str, read_who]
Verdict = Annotated[str, choice("approve", "edit", "reject", "respond")]
Verdicts = Annotated[tuple[str, ...], choices("approve", "edit", "reject", "respond")]


@dataclass(slots=True)
class ApprovalRequest(Command):
    op = "approval.request"
    approval: Name
    action: Name
    body: Body
    allow: Verdicts
    ct: Name | None = None
    expires: PositiveSeconds | None = None
    approvers: Annotated[tuple[str, ...], listed(read_who)] | None = None
    quorum: Annotated[int, integer(1, 100)] = 1
    description: Text | None = None
    task: Name | None = None
    thread: Name | None = None
    wake: Annotated[TaskDispatch, read_later] | None = None  # dispatched in the commit of the decision
    lease: Lease | None = None
    follow: Flag = True
    parent: Sequence | None = None


def read_request(value: Any, field: str) -> ApprovalRequest:
    if type(value) is not dict:
        refuse(field, "a list of the fields of approval.request")
    return build(ApprovalRequest, value)


@dataclass(slots=True)
class ApprovalFollow(Command):
    op = "approval.follow"
    approvals: Names


@dataclass(slots=True)
class ApprovalList(Command):
    op = "approval.list"
    states: Annotated[tuple[str, ...], choices("pending", "decided")] = ("pending",)
    limit: Limit = 100
    after: Sequence = 0  # of the pending ones only those asked for after this sequence


@dataclass(slots=True)
class ApprovalGet(Command):
    op = "approval.get"
    approval: Name


@dataclass(slots=True)
class ApprovalDecide(Command):
    op = "approval.decide"
    approval: Name
    type: Verdict
    body: Body | None = None
    ct: Name | None = None
    message: Text | None = None
    by: Name | None = None
    digest: Name | None = None
    key: Name | None = None  # a vote with a key that was seen is not counted again
    wake: Flag = True  # False: whoever decides goes on by itself
    lease: Lease | None = None


@dataclass(slots=True)
class ApprovalDelegate(Command):
    op = "approval.delegate"
    once = True
    approval: Name
    to: Who
    reason: Text | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class ApprovalWithdraw(Command):
    op = "approval.withdraw"
    once = True
    approval: Name
    reason: Text | None = None
    lease: Lease | None = None
