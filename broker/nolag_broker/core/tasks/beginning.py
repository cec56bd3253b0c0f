"""Work that its dispatcher does itself: held from the moment of its dispatch, under a lease and a token as any other.

What it is good for: whoever begins is known to the room while it works. If it dies, the task goes to a worker that serves its type; if
somebody else begins the same (the same concurrency key), the former one is told, and refused from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...wire.codes import Refusal
from ..commands.tasks import TaskBegin
from ..turn import BodyAt, Caller
from .dispatching import check_terms, digest_of, facts_of, verb_on
from .task import INTERRUPTED, RUNNING, SUPERSEDED, Task

if TYPE_CHECKING:
    from ..room import Room

OWN = 0  # the number of the offer of those that hold without one


class Beginning:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._tasks = room.tasks

    def operations(self) -> dict[type, Any]:
        return {TaskBegin: self.begin}

    def begin(self, command: TaskBegin, caller: Caller) -> dict[str, Any]:
        room, tasks = self._room, self._tasks
        member = room.members.joined(caller)
        tasks.check_lease(command.lease, caller)
        self._check(command)
        sharing = tasks.sharing(command.concurrency_key)
        begun = [task for task in sharing if task.attempt]
        if command.resent:
            for task in begun:
                if task.state == RUNNING and task.holder == member.holder and (command.take or task.id == command.task):
                    return self._answer(task, attached=task.id != command.task)
        if command.task in tasks.by_id or (command.resent and tasks.finished.find(command.task) is not None):
            raise Refusal("stale_lease", "this task is not held by whoever began it any more", detail={"task": command.task})
        # A call that needs a live server is not taken over: it ends when it is given back and no server is there.
        if command.take and (going_on := [task for task in begun if not task.require_live and task.cancelling is None]):
            task = going_on[-1]
            older = [other for other in begun if other is not task]
            tasks.take_away(task, SUPERSEDED)
            if task.state == RUNNING:
                tasks.release(task, SUPERSEDED, task.used)
        else:
            tasks.check_bounds(command.rate_key)
            facts = facts_of(command, caller, digest_of(command), room.env.wall)
            room.emit("task.dispatched", command.type, facts, command.body, command.ct, command.parent)
            older, task = begun, tasks.by_id[command.task]
        tasks.claim(task, member, OWN)  # before the others end: their end would let the next one through
        needless = [task for task in sharing if not task.attempt and command.drop is not None and task.group == command.drop]
        reason = INTERRUPTED if command.busy == "replace" else SUPERSEDED
        for other in (*older, *needless):
            tasks.cancel(other, reason)
        return self._answer(task, attached=task.id != command.task)

    def _check(self, command: TaskBegin) -> None:
        self._room.allow(*verb_on(command.kind, command.type))
        check_terms(command)
        for field in ("delay", "run_at", "require_live", "slot", "key", "rate_key", "forget", "follow"):
            if getattr(command, field):
                raise Refusal("bad_request", f"a task that is begun has no {field}", detail={"field": field})
        if command.busy == "refuse":
            raise Refusal("bad_request", "a task that is begun is not refused for others: it takes their place", detail={"field": "busy"})
        if command.concurrency_key is None:
            raise Refusal("bad_request", "task.begin needs a concurrency_key", detail={"field": "concurrency_key"})
        for other in self._tasks.sharing(command.concurrency_key):
            self._room.allow(*verb_on(other.kind, other.type))

    def _answer(self, task: Task, *, attached: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {"task": task.id, "type": task.type, "token": task.token, "attempt": task.attempt, "attached": attached}
        if attached:
            answer["dispatcher"] = task.dispatcher
            answer["body"] = BodyAt(task.payload_seq)
            if task.ct is not None:
                answer["ct"] = task.ct
        return answer
