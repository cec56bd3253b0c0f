"""Approvals whose decision is waited for, over reconnects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ApprovalNotFound, NoLagError
from .requests import Answer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an approval.

    Attributes:
        approval: its id.
        decision: `{type, approved, by, actor, roles, message, reason, time, body?, ct?}`; None where `error` is set.
        error: why the decision can't be known: the approval is unknown, or the connection is lost.
    """

    approval: str
    decision: dict[str, Any] | None
    error: NoLagError | None = None


class FollowedApproval:
    """One approval that is followed; `close` from any thread."""

    __slots__ = ("_approvals", "approval", "on_decision")

    def __init__(self, approvals: Approvals, approval: str, on_decision: Callable[[Decided], None]) -> None:
        self.approval = approval
        self.on_decision = on_decision
        self._approvals = approvals

    def close(self) -> None:
        """Follow no longer."""
        self._approvals.link.connection.io.post(self._approvals.remove, self)


class Approvals:
    """All followed approvals of a room. On the I/O thread."""

    phase = 3

    def __init__(self, link: RoomLink) -> None:
        self.link = link
        self._followed: dict[str, list[FollowedApproval]] = {}

    def add(self, followed: FollowedApproval) -> None:
        if self.link.connection.ended is not None:
            followed.on_decision(Decided(followed.approval, None, self.link.connection.ended))
            return
        self._followed.setdefault(followed.approval, []).append(followed)
        self._ask([followed.approval])

    def remove(self, followed: FollowedApproval) -> None:
        others = [other for other in self._followed.pop(followed.approval, []) if other is not followed]
        if others:
            self._followed[followed.approval] = others

    def restore(self) -> None:
        approvals = list(self._followed)
        for start in range(0, len(approvals), 1000):
            self._ask(approvals[start : start + 1000])

    def _ask(self, approvals: list[str]) -> None:
        establish(
            self.link,
            "approval.follow",
            {"approvals": approvals},
            self._on_states,
            lambda error: self._lose(approvals, error),
            wanted=lambda: any(approval in self._followed for approval in approvals),
        )

    def _on_states(self, answer: Answer) -> None:
        unknown = [approval for approval, state in answer["states"].items() if state is None]
        for approval in unknown:
            self._lose([approval], ApprovalNotFound(f"the broker does not know approval {approval} (any more)"))

    def _lose(self, approvals: list[str], error: NoLagError) -> None:
        for approval in approvals:
            for followed in self._followed.pop(approval, ()):
                followed.on_decision(Decided(approval, None, error))

    def on_decision(self, frame: dict[str, Any]) -> None:
        for followed in self._followed.pop(frame["approval"], ()):
            followed.on_decision(Decided(frame["approval"], frame["decision"], frame.get("reason")))

    def on_ended(self, error: NoLagError) -> None:
        self._lose(list(self._followed), error)
