"""What those ask who do the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .approvals import ApprovalRequest, read_request
from .command import Command
from .fields import EMPTY, MAX_INT, Body, Flag, Name, NameSet, Seconds, Slots, Token, integer, listed, read_error, read_lease, read_specs
from .tasks import Kind


@dataclass(slots=True)
class TaskServe(Command):
    op = "task.serve"
    offer: Token
    slots: Slots
    kind: Kind = "handoff"
    types: NameSet | None = None
    capabilities: NameSet = EMPTY
    holding: Annotated[tuple[tuple[str, int], ...], listed(read_lease, 10_000)] = ()
    lingering: Annotated[tuple[tuple[str, int], ...], listed(read_lease, 10_000)] = ()  # lost, as it knows, and not done with
    specs: Annotated[dict[str, bytes], read_specs] | None = None


@dataclass(slots=True)
class TaskUnserve(Command):
    op = "task.unserve"
    offer: Token


@dataclass(slots=True)
class TaskComplete(Command):
    op = "task.complete"
    task: Name
    token: Token
    body: Body
    ct: Name | None = None
    approvals: Annotated[tuple[ApprovalRequest, ...], listed(read_request, 100)] = ()


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
