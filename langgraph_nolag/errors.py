"""The errors of the client and of the patterns. Those of graphs are in `graph/errors.py`; they have the same root and are drawn there.

    NoLagError
      Refused ............... the broker answered with an error; one subclass for each code of the protocol
        BadRequest, UnknownOperation, MessageTooLarge, NotAuthenticated, AccessDenied, NotAuthorized,
        RoomNotFound, NotJoined, TaskNotFound, ScheduleNotFound, TaskFinished, StaleLease, Busy, KeyConflict, RevisionConflict,
        PeerNotFound, ActorAmbiguous, ApprovalNotFound, AlreadyDecided, ToolNotFound, BlobNotFound, BlobDamaged, SubscriptionConflict,
        StreamNotFound, StreamEnded, Overloaded, Unavailable, StorageFailed, BrokerDefect
      TaskFailed ............ a task that we dispatched ended without a result
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
      NotSupported .......... something of LangChain or LangGraph that cannot work over processes
      WrongThread
      Permanent ............. raised by a handler: do not try this task again

Every one carries `code` (stable, for programs), `retryable` (the same call may succeed later, unchanged) and
`maybe_applied` (the change may have happened although this is an error). To repeat a change that may have happened, give it a `key`
from the start: the room then does it once.
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
    """Something that was asked for is missing, of the wrong type or out of range; `detail["field"]` may name it. Nothing happened."""

    code = "bad_request"


class UnknownOperation(Refused):
    """The broker is older than this SDK and does not know what was asked. Nothing happened. Update the broker."""

    code = "unknown_op"


class MessageTooLarge(Refused):
    """A value of more than the broker takes (64 MiB encoded, unless configured otherwise), or an answer that is too large as a whole."""

    code = "message_too_large"


class NotAuthenticated(Refused):
    """A request came before the connection had said who it is. The SDK never does that; a client of your own sends `auth` first."""

    code = "not_authenticated"


class AccessDenied(Refused):
    """The token was refused: forged, expired, revoked or not for this broker; or its provider gave what is none. The connection does not
    come back by itself."""

    code = "access_denied"
    will_reconnect = False


class NotAuthorized(Refused):
    """The token is good, but its grants do not cover this."""

    code = "not_authorized"


class RoomNotFound(Refused):
    """There is no such room, and this token may not open one. Check the name, or let an admin create the room."""

    code = "room_not_found"


class NotJoined(Refused):
    """This is for members of the room, and this process is none now: it has left, or it was silent for so long that it was taken for dead.

    Nothing happened. In the second case the SDK joins again by itself: ask again after that.
    """

    code = "not_joined"


class TaskNotFound(Refused):
    """The room knows no such task: there was none, or it ended and its result was acknowledged or has grown too old to be kept."""

    code = "task_not_found"


class ScheduleNotFound(Refused):
    """The room has no schedule of this name: it was never set, or it was deleted."""

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
    """Something that only one may have at a time is in use: `detail["task"]` has it. Try again when that task has ended."""

    code = "busy"
    retryable = True


class KeyConflict(Refused):
    """The same idempotency key was used with another payload."""

    code = "key_conflict"


class RevisionConflict(Refused):
    """Somebody else wrote first. Nothing was written: read it again, and decide anew."""

    code = "revision_conflict"

    @property
    def revision(self) -> int | None:
        """The current revision (0: the key is absent), where the broker said it."""
        revision = self.detail.get("revision")
        return revision if isinstance(revision, int) else None


class PeerNotFound(Refused):
    """The receiver of a message is not in the room. Nothing was sent.

    Send it with `keep=True`, and it waits for the receiver; or look in `room.presence` who is there, and try again later.
    """

    code = "peer_not_found"


class ActorAmbiguous(Refused):
    """A directed message to an actor that several live processes share."""

    code = "actor_ambiguous"


class ApprovalNotFound(Refused):
    """The room knows no such approval: there was none, or it was decided so long ago that it is forgotten."""

    code = "approval_not_found"


class AlreadyDecided(Refused):
    """Somebody else decided this approval first, or it expired or was withdrawn. This vote changed nothing, and none will.

    `detail["decision"]` is the decision that holds.
    """

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
    """A subscription's number is in use on this connection. The SDK numbers its own; a client of your own takes another one."""

    code = "subscription_conflict"


class StreamNotFound(Refused):
    """No such stream, or it ended so long ago that it is forgotten."""

    code = "stream_not_found"


class StreamEnded(Refused):
    """Nothing more can be written to it: `detail` says how it ended."""

    code = "stream_ended"


class Overloaded(Refused):
    """A bound was reached; nothing was accepted. Try again later, when some of what waits is done."""

    code = "overloaded"
    retryable = True


class Unavailable(Refused):
    """The broker is stopping or starting, or loads the room again.

    Calls of the SDK do not raise this: they ask again until their own timeout, and end with `RequestTimeout` then.
    """

    code = "unavailable"
    retryable = True


class StorageFailed(Refused):
    """The broker could not write to its disk, or what it read back is damaged, and it stops. The change may have happened.

    Asking again at once does not help. See to the disk (the broker's log says what failed) and start the broker: what it had
    acknowledged is there. Then look whether the change is, or make it again under the same `key`.
    """

    code = "storage_failed"
    maybe_applied = True


class BrokerDefect(Refused):
    """The broker met a defect of its own while it did this. The change may have happened.

    The room is loaded again from what is stored and goes on, so other calls are not harmed. Look whether the change was made before
    asking again: the same request may meet the same defect. The broker's log has the traceback; please report it.
    """

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
    """The task, call or run was cancelled before it had a result; the message gives the reason where there is one.

    It stays cancelled: nothing tries it again by itself. What it did until then is done. Where the work is still wanted, dispatch it
    anew, under another key if it had one.
    """

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
    """No broker answered within the connection's `connect_timeout`, or none is known. The next call tries again.

    Start one with `langgraph-nolag broker`, or check the address.
    """

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
