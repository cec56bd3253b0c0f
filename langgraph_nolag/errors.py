"""Every error the SDK raises.

    NoLagError
      Refused ............... the broker answered with an error; one subclass a code of the protocol
        BadRequest, UnknownOperation, MessageTooLarge, NotAuthenticated, AccessDenied, NotAuthorized,
        RoomNotFound, NotJoined, TaskNotFound, ScheduleNotFound, TaskFinished, StaleLease, Busy, KeyConflict, RevisionConflict,
        PeerNotFound, ActorAmbiguous, ApprovalNotFound, AlreadyDecided, ToolNotFound, BlobNotFound, BlobDamaged, SubscriptionConflict,
        StreamNotFound, StreamEnded, Overloaded, Unavailable, StorageFailed, BrokerDefect
      TaskFailed ............ a task of ours ended without a result
        ToolFailed
      TaskCancelled
      TaskTimeout
      DecisionTimeout
      StreamFailed .......... the writer of a stream said that it failed
        StreamAborted ....... the writer is gone
      RequestTimeout ........ no answer in time
      Disconnected .......... the connection ended and will not come back by itself
        BrokerUnreachable
        ActorMismatch
      BufferFull
      NotEncodable, NotDecodable
      NotSupported .......... of LangChain or LangGraph, and cannot work over processes
      WrongThread
      Permanent ............. raised by a handler: do not try this task again

Every one carries `code` (stable, for programs), `retryable` (the same call may succeed later, unchanged) and
`maybe_applied` (the change may have happened although this is an error).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class NoLagError(Exception):
    """The root. `message` is one sentence that says what happened and, where it can, what to do.

    Args:
        message: the sentence.
        code: only where the class serves several codes.
        retryable: the same call may succeed later.
        maybe_applied: the change may have happened.
        detail: small facts for programs.
    """

    code: str = "error"
    retryable: bool = False
    maybe_applied: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retryable: bool | None = None,
        maybe_applied: bool | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail: dict[str, Any] = dict(detail or {})
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        if maybe_applied is not None:
            self.maybe_applied = maybe_applied


# --- the broker's answers -----------------------------------------------------------------------------------


class Refused(NoLagError):
    """The broker answered with an error. An unknown (newer) code arrives as this class itself."""

    by_code: ClassVar[dict[str, type[Refused]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Refused.by_code[cls.code] = cls


class BadRequest(Refused):
    code = "bad_request"


class UnknownOperation(Refused):
    code = "unknown_op"


class MessageTooLarge(Refused):
    """A value of more than the broker takes (64 MiB encoded, unless configured otherwise), or an answer that is too large as a whole."""

    code = "message_too_large"


class NotAuthenticated(Refused):
    code = "not_authenticated"


class AccessDenied(Refused):
    """The token was refused: forged, expired, revoked or not for this broker. The connection does not come back by itself."""

    code = "access_denied"
    will_reconnect = False


class NotAuthorized(Refused):
    """The token is good, but its grants do not cover this."""

    code = "not_authorized"


class RoomNotFound(Refused):
    code = "room_not_found"


class NotJoined(Refused):
    code = "not_joined"


class TaskNotFound(Refused):
    code = "task_not_found"


class ScheduleNotFound(Refused):
    code = "schedule_not_found"


class TaskFinished(Refused):
    """The task already ended in another way."""

    code = "task_finished"

    @property
    def state(self) -> str | None:
        state = self.detail.get("state")
        return state if isinstance(state, str) else None


class StaleLease(Refused):
    """The task is another worker's by now: nothing of this attempt counts any more."""

    code = "stale_lease"


class Busy(Refused):
    """Something that one only may have at a time is in use: `detail["task"]` has it."""

    code = "busy"
    retryable = True


class KeyConflict(Refused):
    """The same idempotency key was used with another payload."""

    code = "key_conflict"


class RevisionConflict(Refused):
    """Somebody else wrote first."""

    code = "revision_conflict"

    @property
    def revision(self) -> int | None:
        """The current revision (0: the key is absent), where the broker said it."""
        revision = self.detail.get("revision")
        return revision if isinstance(revision, int) else None


class PeerNotFound(Refused):
    code = "peer_not_found"


class ActorAmbiguous(Refused):
    """A directed message to an actor that several live processes share."""

    code = "actor_ambiguous"


class ApprovalNotFound(Refused):
    code = "approval_not_found"


class AlreadyDecided(Refused):
    code = "already_decided"


class ToolNotFound(Refused):
    """Nobody serves this tool now."""

    code = "tool_not_found"


class BlobNotFound(Refused):
    """A large value is not there any more: what referred to it was dropped from the room's log before it was fetched."""

    code = "blob_not_found"


class BlobDamaged(Refused):
    """A large value can't be read back as it was written. Nothing else of the room is harmed."""

    code = "blob_damaged"


class SubscriptionConflict(Refused):
    code = "subscription_conflict"


class StreamNotFound(Refused):
    """No such stream, or it ended so long ago that it is forgotten."""

    code = "stream_not_found"


class StreamEnded(Refused):
    """Nothing more can be written to it: `detail` says how it ended."""

    code = "stream_ended"


class Overloaded(Refused):
    """A bound was reached; nothing was accepted."""

    code = "overloaded"
    retryable = True


class Unavailable(Refused):
    code = "unavailable"
    retryable = True


class StorageFailed(Refused):
    code = "storage_failed"
    maybe_applied = True


class BrokerDefect(Refused):
    code = "internal"
    maybe_applied = True


def from_wire(error: Mapping[str, Any]) -> Refused:
    """The typed error for `err` of a response."""
    code = str(error.get("code", "internal"))
    detail = error.get("detail")
    return Refused.by_code.get(code, Refused)(
        str(error.get("message", "")),
        code=code,
        retryable=bool(error.get("retryable", False)),
        maybe_applied=bool(error.get("maybe_applied", False)),
        detail=detail if isinstance(detail, Mapping) else None,
    )


# --- how tasks and approvals end ----------------------------------------------------------------------------


class TaskFailed(NoLagError):
    """The task failed on its last attempt (it is a dead letter now).

    Attributes:
        error_type: the name of the exception in the worker.
        error_message: its text.
        task: the task's id.
    """

    code = "task_failed"

    def __init__(self, message: str = "", *, error_type: str = "", error_message: str = "", task: str = "", **kwargs: Any) -> None:
        super().__init__(message or f"{error_type}: {error_message}", **kwargs)
        self.error_type = error_type
        self.error_message = error_message
        self.task = task


class ToolFailed(TaskFailed):
    """The tool raised an error on its worker; `error_type` and `error_message` are the remote ones."""

    code = "tool_failed"


class TaskCancelled(NoLagError):
    code = "task_cancelled"


class TaskTimeout(NoLagError, TimeoutError):
    """The task's own timeout ended it (`state` is `timed_out`), or the wait for its result did (`state` is None; the
    task goes on, and `result()` may be called again)."""

    code = "task_timeout"

    def __init__(self, message: str = "", *, state: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("retryable", state is None)
        super().__init__(message, **kwargs)
        self.state = state


class DecisionTimeout(NoLagError, TimeoutError):
    """Nobody decided within the time this caller waits; the approval stays pending."""

    code = "decision_timeout"
    retryable = True


class StreamFailed(NoLagError):
    """A stream ended before it was complete; everything that was written to it has been read.

    Attributes:
        stream: its id.
        error_type, error_message: what its writer said.
    """

    code = "stream_failed"

    def __init__(self, message: str = "", *, stream: str = "", error_type: str = "", error_message: str = "", **kwargs: Any) -> None:
        super().__init__(message or f"{error_type}: {error_message}", **kwargs)
        self.stream = stream
        self.error_type = error_type
        self.error_message = error_message


class StreamAborted(StreamFailed):
    """Its writer left, fell silent for longer than its lease, or its task ended. `detail["reason"]` says which."""

    code = "stream_aborted"


# --- the connection and this process ------------------------------------------------------------------------


class RequestTimeout(NoLagError, TimeoutError):
    """No answer within the request's timeout. `maybe_applied` says whether it left this process."""

    code = "request_timeout"
    retryable = True


class Disconnected(NoLagError):
    """The connection ended for good: closed here, revoked, replaced or refused. `will_reconnect` is always False: while the
    SDK reconnects, calls wait and do not raise."""

    code = "disconnected"
    will_reconnect = False


class BrokerUnreachable(Disconnected):
    code = "broker_unreachable"
    retryable = True


class ActorMismatch(Disconnected):
    """`actor=` is not the actor of the token."""

    code = "actor_mismatch"


class BufferFull(NoLagError):
    """More is waiting for the broker than this connection may hold; nothing of this call was kept."""

    code = "buffer_full"
    retryable = True


class NotEncodable(NoLagError, TypeError):
    """A value has no MessagePack form; the message names the path to it."""

    code = "not_encodable"


class NotDecodable(NoLagError, ValueError):
    """A body is not what its content type says."""

    code = "not_decodable"


class NotSupported(NoLagError):
    """Something of LangChain or LangGraph that cannot be done from another process. The message says what to do instead."""

    code = "not_supported"


class WrongThread(NoLagError, RuntimeError):
    """A blocking call on the SDK's own I/O thread: it would wait for itself."""

    code = "wrong_thread"


class Permanent(NoLagError):
    """Raise this in a handler to fail its task for good: no further attempt."""

    code = "permanent"
