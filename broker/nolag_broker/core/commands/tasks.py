"""What those ask who want work done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from .command import Command
from .fields import (
    EMPTY,
    RETRY,
    Body,
    Flag,
    Lease,
    Limit,
    Moment,
    Name,
    Names,
    NameSet,
    PositiveSeconds,
    Seconds,
    Sequence,
    Sequences,
    Text,
    choice,
    choices,
    integer,
    listed,
    read_followed,
    read_name,
    read_rate,
    read_retry,
    refuse,
)
from .reading import build

Kind = Annotated[str, choice("handoff", "tool", "node", "run")]
States = Annotated[tuple[str, ...], choices("waiting", "delayed", "parked", "running", "completed", "failed", "cancelled", "timed_out")]


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
    busy: Annotated[str, choice("park", "refuse", "replace")] = "park"  # what to do while its concurrency key is in use
    lease: Lease | None = None  # of the task that this one is a part of
    forget: Names = ()  # finished tasks of its group that go once this one is accepted
    follow: Flag = True
    parent: Sequence | None = None


@dataclass(slots=True)
class TaskBegin(TaskDispatch):
    op = "task.begin"
    follow: Flag = False  # whoever begins learns of its end as its holder
    take: Flag = False  # go on with the one that has begun and not ended, if there is one
    drop: Name | None = None  # a group: of those that have not begun, the ones that this makes needless


TERMS: Final = frozenset(
    {
        *("kind", "capabilities", "preferred", "priority", "timeout", "attempt_timeout", "max_attempts", "retry", "group"),
        *("concurrency_key", "concurrency_limit", "rate_key", "rate_limit"),
    }
)
"""Fields of task.dispatch that may be the same of many tasks."""
LATER: Final = TERMS | {"task", "type", "body"}
MAX_LATER: Final = 16 << 10  # bytes of the body of a task that is dispatched later: it is kept in a row


def read_terms(value: Any, field: str) -> TaskDispatch:
    if type(value) is not dict or not value.keys() <= TERMS:
        refuse(field, "a map of " + ", ".join(sorted(TERMS)))
    return build(TaskDispatch, {**value, "task": field, "type": field, "body": b""})


def read_later(value: Any, field: str) -> TaskDispatch:
    """A task that is dispatched when something else happens."""
    if type(value) is not dict or not value.keys() <= LATER:
        refuse(field, "a map of " + ", ".join(sorted(LATER)))
    job = build(TaskDispatch, value)
    if len(job.body) > MAX_LATER:
        refuse(f"{field}.body", f"at most {MAX_LATER} bytes")
    return job


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
    lease: Lease | None = None


@dataclass(slots=True)
class TaskPurge(Command):
    op = "task.purge"
    once = True
    kind: Kind | None = None
    tasks: Names | None = None  # only these
    lease: Lease | None = None


@dataclass(slots=True)
class TaskCancel(Command):
    op = "task.cancel"
    task: Name
    reason: Text | None = None
    lease: Lease | None = None
    wait: Seconds = 0.0  # that a worker has to let go of it
    forget: Flag = False  # nothing of it is kept


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
    concurrency_key: Name | None = None
    limit: Limit = 100
    after: Sequence | None = None  # only those dispatched after this sequence, in that order; None: by their states


@dataclass(slots=True)
class TaskRetry(Command):
    op = "task.retry"
    once = True
    task: Name
    lease: Lease | None = None
