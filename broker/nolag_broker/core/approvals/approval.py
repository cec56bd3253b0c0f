"""An approval: what is asked, who voted how, and what was decided. What is shown, and edited arguments, are in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..entity import Entity, Row
from ..event import Event
from ..timers import Timer
from ..turn import BodyAt, Caller

if TYPE_CHECKING:
    from ..members import Session

PENDING = "pending"
DECIDED = "decided"

_ROW: Final = Row(
    "id",
    "seq",
    "action",
    "requester",
    "created",
    "ct",
    "allow",
    "approvers",
    "quorum",
    "expires",
    "digest",
    "description",
    "task",
    "thread",
    "votes",
    "keys",
    "decision",
    "delegations",
    "wake",
)


class Approval(Entity):
    """`seq` is the sequence of the request, which carries what is shown. Votes and decision are as callers see them, except
    that a body is the sequence of the event that carries it."""

    __slots__ = (
        "action",
        "allow",
        "approvers",
        "created",
        "ct",
        "decision",
        "delegations",
        "description",
        "digest",
        "expires",
        "id",
        "keys",
        "quorum",
        "requester",
        "seq",
        "task",
        "thread",
        "timer",
        "votes",
        "wake",
        "watchers",
    )

    def __init__(self, event: Event | None) -> None:
        """As requested. None: everything is set from a row."""
        if event is None:
            return
        data = event.data
        self.stored = False
        self.id: str = data["approval"]
        self.seq = event.seq
        self.action = event.subject or ""
        self.requester = event.sender
        self.created = event.time
        self.ct = event.ct
        self.allow: list[str] = list(data["allow"])
        self.approvers: list[str] | None = data.get("approvers")
        self.quorum: int = data["quorum"]
        self.expires: float | None = data.get("expires")
        self.digest: str = data["digest"]
        self.description: str | None = data.get("description")
        self.task: str | None = data.get("task")
        self.thread: str | None = data.get("thread")
        self.votes: dict[str, dict[str, Any]] = {}  # by actor
        self.keys: list[Any] = []  # of all votes ever counted: [key, actor, what it was for]; the key alone where an older broker did
        self.decision: dict[str, Any] | None = None
        self.delegations: dict[str, dict[str, Any]] = {}  # by the actor who passed its vote on: to, time, reason?, taken?
        self.wake: dict[str, Any] | None = data.get("wake")  # a task that is dispatched when it is decided
        self.timer: Timer | None = None
        self.watchers: dict[Session, None] = {}

    @property
    def key(self) -> str:
        return "approval/" + self.id

    @property
    def state(self) -> str:
        return PENDING if self.decision is None else DECIDED

    def head(self) -> bytes | None:
        return self.header() if self.decision is None else None

    def header(self) -> bytes:
        return _ROW.of(self)

    @classmethod
    def from_header(cls, row: bytes) -> Approval:
        self = cls(None)
        self.delegations, self.wake = {}, None  # of those that an older broker wrote
        _ROW.load(self, row)
        self.keys = [[key] if isinstance(key, str) else key for key in self.keys]
        self.stored = False
        self.timer = None
        self.watchers = {}
        return self

    def names(self, caller: Caller) -> bool:
        """Whether the caller is asked: as itself, or for a role it has."""
        if self.approvers is None:
            return True
        return caller.actor in self.approvers or any("role:" + role in self.approvers for role in caller.roles)

    def view_of_decision(self) -> dict[str, Any] | None:
        """With the place of the edited arguments instead of the sequence of their event."""
        if self.decision is None:
            return None
        return _view({name: value for name, value in self.decision.items() if name not in ("seq", "key")})

    def vote_under(self, key: str | None) -> list[Any] | None:
        """Whose vote was counted under this key, and what it was for; empty where an older broker did not write it down."""
        return next((known[1:] for known in self.keys if known[0] == key), None)

    def body_sequences(self) -> list[int]:
        """Of the events whose bodies are to be read with this."""
        said = [*self.votes.values(), self.decision or {}]
        return [self.seq, *(each["body_seq"] for each in said if "body_seq" in each)]

    def info(self) -> dict[str, Any]:
        """As `approval.get` and `approval.list` show it."""
        info: dict[str, Any] = {
            "approval": self.id,
            "seq": self.seq,
            "action": self.action,
            "state": self.state,
            "requester": self.requester,
            "allow": self.allow,
            "approvers": self.approvers,
            "quorum": self.quorum,
            "votes": [_view({"actor": actor, **vote}) for actor, vote in self.votes.items()],
            "created": self.created,
            "digest": self.digest,
            "body": BodyAt(self.seq),
        }
        optional = {
            "expires": self.expires,
            "description": self.description,
            "task": self.task,
            "thread": self.thread,
            "ct": self.ct,
            "delegations": [{"from": actor, **passed} for actor, passed in self.delegations.items()] or None,
            "decision": self.view_of_decision(),
        }
        info.update((name, value) for name, value in optional.items() if value is not None)
        return info


def _view(said: dict[str, Any]) -> dict[str, Any]:
    """With the place of what was said instead of the sequence of its event."""
    if (body_seq := said.pop("body_seq", 0)) != 0:
        said["body"] = BodyAt(body_seq)
    return said
