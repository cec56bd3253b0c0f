"""The effect ledger: what an attempt did to the world outside, so that no later attempt does it again.

A record for each effect, kept while the task may still run: until it ends, or as long as it is a dead letter. Reading and
writing need the current fencing token, so that a worker that lost its task learns it before the effect and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ...wire.blobs import BLOB
from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.serving import EffectGet, EffectPut
from ..entity import SEPARATOR
from ..event import Event
from ..turn import Caller
from .task import Task

if TYPE_CHECKING:
    from ..room import Room


def effects_of(task: str) -> str:
    """The prefix of a task's records."""
    return f"effect/{task}{SEPARATOR}"


def referring_event(row: bytes) -> int:
    """The sequence of the event that an effect's large value lives by; 0: its result is in the row."""
    _, ct, *seq = msgpack.unpackb(row)
    return seq[0] if ct == BLOB else 0


class Effects:
    def __init__(self, room: Room) -> None:
        self._room = room

    def operations(self) -> dict[type, Any]:
        return {EffectGet: self.get, EffectPut: self.put}

    def folds(self) -> dict[str, Any]:
        return {"task.effect": self.apply_effect}

    def apply_effect(self, event: Event) -> None:
        data = event.data
        task = self._room.tasks.by_id[data["task"]]
        task.effects += 1
        self._room.touch(task)
        self._room.put_record(effects_of(task.id) + data["key"], pack((event.body, event.ct, event.seq)))

    def get(self, command: EffectGet, caller: Caller) -> dict[str, Any]:
        task = self._held(command, caller)
        found = self._find(task, command.key)
        return {"found": False} if found is None else {"found": True, **found}

    def put(self, command: EffectPut, caller: Caller) -> dict[str, Any]:
        room = self._room
        task = self._held(command, caller)
        if (found := self._find(task, command.key)) is not None:  # sent again, or two of one attempt did it at once
            return {"recorded": False, **found}
        if task.effects >= room.limits.effects:
            raise Refusal("overloaded", f"a task records at most {room.limits.effects} effects", detail={"max": room.limits.effects})
        data = {"task": task.id, "token": task.token, "key": command.key}
        room.emit("task.effect", task.type, data, command.body, command.ct, task.token)
        return {"recorded": True}

    def _held(self, command: EffectGet | EffectPut, caller: Caller) -> Task:
        return self._room.tasks.holding(command.task, (caller.actor, caller.instance), command.token)

    def _find(self, task: Task, key: str) -> dict[str, Any] | None:
        row = self._room.cold(effects_of(task.id) + key)
        if row is None:
            return None
        body, ct, *_ = msgpack.unpackb(row)
        return {"body": body} if ct is None else {"body": body, "ct": ct}
