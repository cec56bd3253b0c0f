"""Stable codes: every refusal a client can meet, and every way a connection is closed.

The shape (a number or name, a text, and whether trying again helps) follows Centrifuge's error tables; the
names are ours. A code never changes its meaning; new ones are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of refusal. `retryable`: the same request may succeed later, unchanged."""

    name: str
    retryable: bool = False


_TABLE: Final = (
    # the request itself
    Code("bad_request"),  # a field is missing, of the wrong type, or out of range
    Code("bad_frame"),  # not MessagePack, or not a frame of this protocol
    Code("unknown_op"),
    Code("message_too_large"),
    # who asks
    Code("not_authenticated"),
    Code("access_denied"),  # the token is forged, expired, revoked or not for us: always the same words
    Code("not_authorized"),  # the token is good, but its grants do not cover this
    # the room and what is in it
    Code("room_not_found"),
    Code("not_joined"),
    Code("stream_not_found"),
    Code("stream_ended"),  # closed, failed or aborted: nothing more is written to it
    Code("task_not_found"),
    Code("schedule_not_found"),
    Code("task_finished"),  # it already ended in another way
    Code("stale_lease"),  # the fencing token is not the current one: another attempt owns the task
    Code("busy", retryable=True),  # a concurrency key is in use
    Code("key_conflict"),  # the same idempotency key with another payload
    Code("revision_conflict"),
    Code("peer_not_found"),
    Code("actor_ambiguous"),  # a directed message to an actor that two processes share
    Code("approval_not_found"),
    Code("already_decided"),
    Code("tool_not_found"),
    Code("blob_not_found"),  # a large value that the room does not hold (any more)
    Code("blob_damaged"),  # a large value that can't be read back as it was written
    Code("subscription_conflict"),
    # the broker
    Code("overloaded", retryable=True),
    Code("unavailable", retryable=True),  # stopping or recovering; come back
    Code("storage_failed"),
    Code("internal"),
)

CODES: Final[dict[str, Code]] = {code.name: code for code in _TABLE}


class Refusal(Exception):
    """A request was refused; carried to the client as `err` of the response.

    Args:
        code: a name in `CODES`.
        message: one sentence that says what happened and what to do.
        detail: small facts for programs (for example the current revision).
        maybe_applied: True when the change may have happened although the answer is an error.
    """

    def __init__(self, code: str, message: str, *, detail: dict[str, Any] | None = None, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.code = CODES[code].name
        self.message = message
        self.detail = detail or {}
        self.maybe_applied = maybe_applied

    @property
    def retryable(self) -> bool:
        return CODES[self.code].retryable

    def to_wire(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "maybe_applied": self.maybe_applied,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Close:
    """A WebSocket close code. `reconnect`: whether a client should come back by itself."""

    code: int
    reason: str
    reconnect: bool


class Closes:
    """Every close code the broker uses. 1000 and 1001 are never sent to a live client: published NoLag clients
    take them for a close of their own and never return."""

    GOING_AWAY = Close(1012, "restarting", reconnect=True)
    BAD_FRAME = Close(1003, "bad_frame", reconnect=False)
    TOO_LARGE = Close(1009, "message_too_large", reconnect=False)
    REVOKED = Close(4001, "revoked", reconnect=False)
    LIMIT = Close(4002, "limit", reconnect=False)
    AUTH_TIMEOUT = Close(4003, "auth_timeout", reconnect=True)
    EXPIRED = Close(4004, "token_expired", reconnect=True)  # with a token provider the next attempt brings a new one
    REPLACED = Close(4005, "replaced", reconnect=False)  # the same instance connected again
    SLOW_CONSUMER = Close(4008, "slow_consumer", reconnect=True)


CLOSES: Final[dict[int, Close]] = {close.code: close for close in vars(Closes).values() if isinstance(close, Close)}
