"""Which cold records a command may have to look at: named before it is decided, so that deciding reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .commands.approvals import (
    ApprovalDecide,
    ApprovalDelegate,
    ApprovalFollow,
    ApprovalGet,
    ApprovalList,
    ApprovalRequest,
    ApprovalWithdraw,
)
from .commands.command import Command
from .commands.keyed import RecordWrite
from .commands.messages import EventEmit, InboxSend, TopicPublish
from .commands.serving import EffectGet, EffectPut, TaskComplete, TaskFail, TaskProgress, TaskRelease
from .commands.tasks import TaskAck, TaskBegin, TaskCancel, TaskDispatch, TaskFollow, TaskGet, TaskRetry, TaskTell
from .tasks.effects import effects_of

if TYPE_CHECKING:
    from .room import Room


class Wanted:
    def __init__(self, room: Room) -> None:
        self._tasks = room.tasks
        self._approvals = room.approvals
        self._once = room.once
        one_task = (TaskCancel, TaskTell, TaskGet, TaskRetry, TaskFail, TaskRelease, TaskProgress)
        one_approval = (ApprovalGet, ApprovalDecide, ApprovalDelegate, ApprovalWithdraw, ApprovalRequest)
        self._by: dict[type[Command], Callable[[Any], Iterable[str]]] = {
            **dict.fromkeys(one_task, lambda command: self._task(command.task)),
            **dict.fromkeys(one_approval, lambda command: self._approvals.needs(command.approval)),
            TaskDispatch: self._dispatch,
            TaskBegin: self._dispatch,
            TaskFollow: lambda command: [key for id, *_ in command.tasks for key in self._task(id)],
            TaskAck: lambda command: [key for id in command.tasks for key in self._task(id)],
            TaskComplete: self._complete,
            ApprovalFollow: lambda command: [key for id in command.approvals for key in self._approvals.needs(id)],
            ApprovalList: lambda command: self._approvals.needs_listed(command),
            TopicPublish: lambda command: self._once.needs("topic", command.key),
            EventEmit: lambda command: self._once.needs("event", command.key),
            InboxSend: lambda command: self._once.needs("inbox", command.key),
            EffectGet: self._effect,
            EffectPut: self._effect,
            RecordWrite: lambda command: [key for key, _, if_absent in command.puts if if_absent],
        }

    def clear(self) -> None:
        """No longer refer to itself."""
        self._by.clear()

    def by(self, command: Command) -> list[str]:
        wanted = self._by.get(type(command))
        return [] if wanted is None else list(wanted(command))

    def _task(self, id: str) -> tuple[str, ...]:
        return () if id in self._tasks.by_id else self._tasks.finished.needs(id)

    def _dispatch(self, command: TaskDispatch) -> list[str]:
        keys: list[str] = []
        if command.task in self._tasks.by_id:
            return keys
        if command.resent:
            keys += self._tasks.finished.needs(command.task)
        if command.key is not None and (command.kind, command.type, command.key) not in self._tasks.by_key:
            keys += self._tasks.finished.needs_key(command.kind, command.type, command.key)
        return keys

    def _effect(self, command: EffectGet | EffectPut) -> list[str]:
        return [*self._task(command.task), effects_of(command.task) + command.key]

    def _complete(self, command: TaskComplete) -> list[str]:
        keys = list(self._task(command.task))
        for request in command.approvals:
            keys += self._approvals.needs(request.approval)
        return keys
