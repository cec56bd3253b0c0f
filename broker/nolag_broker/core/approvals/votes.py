"""A vote: which are taken, and what each is for. Only votes for the same count together."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ...wire.blobs import referred
from ...wire.codes import Refusal
from ..commands.approvals import ApprovalDecide
from .approval import Approval

APPROVE: Final = "approve"
EDIT: Final = "edit"
REJECT: Final = "reject"
RESPOND: Final = "respond"
APPROVING: Final = frozenset({APPROVE, EDIT})  # a response answers in place of the action


def digest_of(body: bytes, ct: str | None) -> str:
    """SHA-256 of what is shown, or said: of the value itself where the body refers to it."""
    return (referred(body, ct) or sha256(body).digest()).hex()


def outcome(approval: Approval, vote: Mapping[str, Any]) -> list[Any]:
    """What a vote is for: nobody's agreement is used for what it was not given to."""
    type = vote["type"]
    shown = approval.digest if type == APPROVE else None  # for votes that an older broker counted
    return [type, vote.get("digest", shown), vote.get("message") if type == RESPOND else None]


def check(approval: Approval, command: ApprovalDecide) -> None:
    """Whether this vote can be one on this approval. Raises `Refusal`: `bad_request`, with the field."""
    if command.type not in approval.allow:
        raise Refusal("bad_request", f"this approval allows {', '.join(approval.allow)}", detail={"field": "type"})
    if command.type == EDIT and command.body is None:
        raise Refusal("bad_request", "an edit needs body, the edited arguments", detail={"field": "body"})
    if command.type == APPROVE and command.body is not None:
        raise Refusal("bad_request", "what is approved is what was shown: other arguments are an edit", detail={"field": "body"})
    if command.digest is not None and command.digest != approval.digest:
        raise Refusal("bad_request", "the decision is about something else than what is asked: look again", detail={"field": "digest"})
