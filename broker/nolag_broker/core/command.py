"""What can be asked of a room: one dataclass an operation, its fields checked before anything is decided.

The declarations are the contract: PROTOCOL.md's tables, in Python. `None` on the wire means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from ..wire.codes import Refusal
from . import stream_commands as stream_commands
from .fields import (
    MAX_INT,
    RETRY,
    Body,
    Flag,
    Limit,
    Map,
    Moment,
    Name,
    Names,
    NameSet,
    Pattern,
    PositiveSeconds,
    Seconds,
    Sequence,
    Sequences,
    Text,
    Token,
    choice,
    choices,
    integer,
    listed,
    read_cron,
    read_error,
    read_followed,
    read_lease,
    read_name,
    read_put,
    read_rate,
    read_record_key,
    read_retention,
    read_retry,
    read_scan_prefix,
    read_specs,
    refuse,
)
from .reading import Command as Command
from .reading import build

Kind = Annotated[str, choice("handoff", "tool", "node")]
States = Annotated[tuple[str, ...], choices("waiting", "delayed", "parked", "running", "completed", "failed", "cancelled", "timed_out")]
Verdict = Annotated[str, choice("approve", "edit", "reject", "respond")]
Verdicts = Annotated[tuple[str, ...], choices("approve", "edit", "reject", "respond")]
Slots = Annotated[int, integer(1, 10_000)]
RecordKey = Annotated[str, read_record_key]
EMPTY: Final[frozenset[str]] = frozenset()


# ------------------------------------------------------------------------------------------ rooms and presence


@dataclass(slots=True)
class RoomJoin(Command):
    op = "room.join"
    capabilities: NameSet = EMPTY
    max_concurrency: Slots = 1
    status: Text = "available"
    metadata: Map | None = None


@dataclass(slots=True)
class RoomLeave(Command):
    op = "room.leave"


@dataclass(slots=True)
class RoomInfo(Command):
    op = "room.info"


@dataclass(slots=True)
class RoomConfigure(Command):
    op = "room.configure"
    retention: Annotated[dict[str, Any], read_retention]


@dataclass(slots=True)
class PresenceUpdate(Command):
    op = "presence.update"
    status: Text | None = None
    metadata: Map | None = None
    capabilities: NameSet | None = None
    max_concurrency: Slots | None = None


@dataclass(slots=True)
class PresenceList(Command):
    op = "presence.list"


# ------------------------------------------------------------------------------------------ events and topics


@dataclass(slots=True)
class EventEmit(Command):
    op = "event.emit"
    once = True
    type: Name
    severity: Name = "info"
    body: Body | None = None
    ct: Name | None = None
    parent: Sequence | None = None
    key: Name | None = None  # a repeat happens once, as of topic.publish
    mid: Name | None = None


@dataclass(slots=True)
class TopicPublish(Command):
    op = "topic.publish"
    once = True
    topic: Name
    body: Body
    ct: Name | None = None
    qos: Annotated[int, integer(0, 2)] = 1
    retain: Flag = False
    key: Name | None = None
    parent: Sequence | None = None
    mid: Name | None = None


@dataclass(slots=True)
class CursorMove(Command):
    op = "cursor.move"
    cursor: Name
    seq: Sequence


@dataclass(slots=True)
class CursorDelete(Command):
    op = "cursor.delete"
    cursor: Name


@dataclass(slots=True)
class GroupAck(Command):
    op = "group.ack"
    group: Name
    messages: Sequences
    types: Pattern = "**"
    subject: Pattern = "**"


# ------------------------------------------------------------------------------------------ tasks: who wants work done


@dataclass(slots=True)
class TaskDispatch(Command):
    op = "task.dispatch"
    task: Name
    type: Name
    body: Body
    kind: Kind = "handoff"
    capabilities: NameSet = EMPTY
    preferred: Name | None = None
    ct: Name | None = None
    key: Name | None = None
    priority: Annotated[int, integer(-(2**31), 2**31)] = 0
    delay: Seconds = 0.0
    run_at: Moment | None = None
    timeout: PositiveSeconds | None = None
    attempt_timeout: PositiveSeconds | None = None
    max_attempts: Annotated[int, integer(1, 100)] = 3
    retry: Annotated[tuple[float, float, float, float], read_retry] = RETRY
    concurrency_key: Name | None = None
    concurrency_limit: Annotated[int, integer(1, 10_000)] = 1
    rate_key: Name | None = None
    rate_limit: Annotated[tuple[int, float], read_rate] | None = None
    slot: Name | None = None
    group: Name | None = None
    digest: Name | None = None  # compared where the key is used again; None: type and body are
    require_live: Flag = False
    follow: Flag = True
    parent: Sequence | None = None


@dataclass(slots=True)
class TaskFollow(Command):
    op = "task.follow"
    tasks: Annotated[tuple[tuple[str, int, int], ...], listed(read_followed)]


@dataclass(slots=True)
class TaskUnfollow(Command):
    op = "task.unfollow"
    tasks: Names


@dataclass(slots=True)
class TaskAck(Command):
    op = "task.ack"
    tasks: Names
    seqs: Sequences | None = None  # of the results; one that another followed since, of a retry, is not meant


@dataclass(slots=True)
class TaskForget(Command):
    op = "task.forget"
    once = True
    group: Name
    keep: Annotated[tuple[str, ...], listed(read_name, 10_000)] = ()
    tasks: Names | None = None  # only these


@dataclass(slots=True)
class TaskPurge(Command):
    op = "task.purge"
    once = True
    kind: Kind | None = None
    tasks: Names | None = None  # only these


@dataclass(slots=True)
class TaskCancel(Command):
    op = "task.cancel"
    task: Name
    reason: Text | None = None


@dataclass(slots=True)
class TaskTell(Command):
    op = "task.tell"
    once = True
    task: Name
    body: Body
    keep: Flag = True  # False: for whoever runs the task now, and nobody after


@dataclass(slots=True)
class TaskGet(Command):
    op = "task.get"
    task: Name


@dataclass(slots=True)
class TaskList(Command):
    op = "task.list"
    states: States | None = None
    kind: Kind | None = None
    limit: Limit = 100


@dataclass(slots=True)
class TaskRetry(Command):
    op = "task.retry"
    once = True
    task: Name


# ------------------------------------------------------------------------------------------ tasks: who does the work


@dataclass(slots=True)
class TaskServe(Command):
    op = "task.serve"
    offer: Token
    slots: Slots
    kind: Kind = "handoff"
    types: NameSet | None = None
    capabilities: NameSet = EMPTY
    holding: Annotated[tuple[tuple[str, int], ...], listed(read_lease, 10_000)] = ()
    specs: Annotated[dict[str, bytes], read_specs] | None = None


@dataclass(slots=True)
class TaskUnserve(Command):
    op = "task.unserve"
    offer: Token


@dataclass(slots=True)
class ApprovalRequest(Command):
    op = "approval.request"
    approval: Name
    action: Name
    body: Body
    allow: Verdicts
    ct: Name | None = None
    expires: PositiveSeconds | None = None
    approvers: Names | None = None
    quorum: Annotated[int, integer(1, 100)] = 1
    description: Text | None = None
    task: Name | None = None
    thread: Name | None = None
    follow: Flag = True
    parent: Sequence | None = None


def _read_approval(value: Any, field: str) -> ApprovalRequest:
    if type(value) is not dict:
        refuse(field, "a list of the fields of approval.request")
    return build(ApprovalRequest, value)


@dataclass(slots=True)
class TaskComplete(Command):
    op = "task.complete"
    task: Name
    token: Token
    body: Body
    ct: Name | None = None
    approvals: Annotated[tuple[ApprovalRequest, ...], listed(_read_approval, 100)] = ()


@dataclass(slots=True)
class TaskFail(Command):
    op = "task.fail"
    once = True
    task: Name
    token: Token
    error: Annotated[dict[str, str], read_error]
    body: Body | None = None
    ct: Name | None = None
    retry: Flag = True
    delay: Seconds | None = None


@dataclass(slots=True)
class TaskRelease(Command):
    op = "task.release"
    once = True
    task: Name
    token: Token


@dataclass(slots=True)
class EffectGet(Command):
    op = "effect.get"
    task: Name
    token: Token
    key: Name


@dataclass(slots=True)
class EffectPut(Command):
    op = "effect.put"
    task: Name
    token: Token
    key: Name
    body: Body
    ct: Name | None = None


@dataclass(slots=True)
class TaskProgress(Command):
    op = "task.progress"
    task: Name
    token: Token
    n: Annotated[int, integer(1, MAX_INT)]
    body: Body
    ct: Name | None = None


# ------------------------------------------------------------------------------------------ inbox, blackboard


@dataclass(slots=True)
class InboxSend(Command):
    op = "inbox.send"
    once = True
    to: Name
    body: Body
    ct: Name | None = None
    keep: Flag = False
    key: Name | None = None  # a repeat happens once, as of topic.publish
    parent: Sequence | None = None
    mid: Name | None = None


@dataclass(slots=True)
class InboxOpen(Command):
    op = "inbox.open"


@dataclass(slots=True)
class InboxAck(Command):
    op = "inbox.ack"
    messages: Sequences


@dataclass(slots=True)
class BlackboardGet(Command):
    op = "blackboard.get"
    key: Name


@dataclass(slots=True)
class BlackboardList(Command):
    op = "blackboard.list"
    pattern: Pattern = "**"
    bodies: Flag = True


@dataclass(slots=True)
class BlackboardSet(Command):
    op = "blackboard.set"
    once = True
    key: Name
    body: Body
    ct: Name | None = None
    expected: Sequence | None = None
    mid: Name | None = None
    parent: Sequence | None = None


@dataclass(slots=True)
class BlackboardDelete(Command):
    op = "blackboard.delete"
    once = True
    key: Name
    expected: Sequence | None = None
    mid: Name | None = None


@dataclass(slots=True)
class BlackboardHistory(Command):
    op = "blackboard.history"
    key: Name
    limit: Limit = 20


# ------------------------------------------------------------------------------------------ approvals, tools, records


@dataclass(slots=True)
class ApprovalFollow(Command):
    op = "approval.follow"
    approvals: Names


@dataclass(slots=True)
class ApprovalList(Command):
    op = "approval.list"
    states: Annotated[tuple[str, ...], choices("pending", "decided")] = ("pending",)
    limit: Limit = 100


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


@dataclass(slots=True)
class ApprovalDelegate(Command):
    op = "approval.delegate"
    once = True
    approval: Name
    to: Name  # an actor or "role:name"
    reason: Text | None = None


@dataclass(slots=True)
class ApprovalWithdraw(Command):
    op = "approval.withdraw"
    once = True
    approval: Name
    reason: Text | None = None


@dataclass(slots=True)
class ToolList(Command):
    op = "tool.list"


@dataclass(slots=True)
class RecordWrite(Command):
    op = "record.write"
    once = True
    puts: Annotated[tuple[tuple[str, bytes, bool], ...], listed(read_put)] = ()
    deletes: Annotated[tuple[str, ...], listed(read_record_key)] = ()
    delete_prefixes: Annotated[tuple[str, ...], listed(read_record_key)] = ()
    lease: Annotated[tuple[str, int], read_lease] | None = None


@dataclass(slots=True)
class RecordRead(Command):
    op = "record.read"
    keys: Annotated[tuple[str, ...], listed(read_record_key)]


@dataclass(slots=True)
class RecordScan(Command):
    op = "record.scan"
    prefix: Annotated[str, read_scan_prefix]
    after: RecordKey | None = None
    before: RecordKey | None = None
    reverse: Flag = False
    limit: Limit = 100
    bodies: Flag = True


# ------------------------------------------------------------------------------------------ schedules


TERMS: Final = frozenset(
    {
        *("kind", "capabilities", "preferred", "priority", "timeout", "attempt_timeout", "max_attempts", "retry", "group"),
        *("concurrency_key", "concurrency_limit", "rate_key", "rate_limit"),
    }
)
"""Fields of task.dispatch that may be the same of many tasks."""


def _read_terms(value: Any, field: str) -> TaskDispatch:
    if type(value) is not dict or not value.keys() <= TERMS:
        refuse(field, "a map of " + ", ".join(sorted(TERMS)))
    return build(TaskDispatch, {**value, "task": field, "type": field, "body": b""})


@dataclass(slots=True)
class ScheduleSet(Command):
    op = "schedule.set"
    schedule: Name
    cron: Annotated[str, read_cron]
    type: Name
    body: Body
    ct: Name | None = None
    terms: Annotated[TaskDispatch, _read_terms] | None = None
    tz: Name = "UTC"
    overlap: Annotated[str, choice("allow", "skip")] = "allow"

    @property
    def job(self) -> TaskDispatch:
        """As a task of it is dispatched."""
        if self.terms is None:
            return TaskDispatch("", self.type, self.body, ct=self.ct)
        return replace(self.terms, type=self.type, body=self.body, ct=self.ct)


@dataclass(slots=True)
class ScheduleGet(Command):
    op = "schedule.get"
    schedule: Name


@dataclass(slots=True)
class ScheduleList(Command):
    op = "schedule.list"


@dataclass(slots=True)
class SchedulePause(Command):
    op = "schedule.pause"
    schedule: Name


@dataclass(slots=True)
class ScheduleResume(Command):
    op = "schedule.resume"
    schedule: Name


@dataclass(slots=True)
class ScheduleDelete(Command):
    op = "schedule.delete"
    once = True
    schedule: Name


# ------------------------------------------------------------------------------------------ all of them

COMMANDS: Final[dict[str, type[Command]]] = {cls.op: cls for cls in Command.__subclasses__()}
_read_done: Final = integer(0, MAX_INT)


def parse(frame: Mapping[str, Any]) -> Command:
    """The command of a request frame; `id`, `room` and fields that are not known are left to others.

    Raises:
        Refusal: `unknown_op`; `bad_request`, which names the field.
    """
    op = frame.get("op")
    cls = COMMANDS.get(op) if type(op) is str else None
    if cls is None:
        raise Refusal("unknown_op", f"no operation {str(op)[:64]!r}")
    command = build(cls, frame)
    if frame.get("resent") is True:
        command.resent = True
    if (done := frame.get("done")) is not None:
        command.done = _read_done(done, "done")
    return command
