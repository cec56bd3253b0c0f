"""What those ask who want work done: dispatch, follow, acknowledge, cancel, look, try again, forget."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from ...wire.codes import Refusal
from ..commands.fields import RETRY
from ..commands.tasks import (
    TaskAck,
    TaskCancel,
    TaskDispatch,
    TaskFollow,
    TaskForget,
    TaskGet,
    TaskList,
    TaskPurge,
    TaskRetry,
    TaskTell,
    TaskUnfollow,
)
from ..limits import OVERHEAD
from ..members import Session
from ..turn import Caller
from .finished import Grouped
from .live import Live
from .serving import push_progress, push_tell
from .task import ENDED, FAILED, INTERRUPTED, SUPERSEDED, Task

if TYPE_CHECKING:
    from ..room import Room

FORGOTTEN_AT_ONCE = 1000  # ids in one event


class Dispatching:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._tasks = room.tasks

    def operations(self) -> dict[type, Any]:
        return {
            TaskDispatch: self.dispatch,
            TaskFollow: self.follow,
            TaskUnfollow: self.unfollow,
            TaskAck: self.ack,
            TaskForget: self.forget,
            TaskPurge: self.purge,
            TaskCancel: self.cancel,
            TaskTell: self.tell,
            TaskGet: self.get,
            TaskList: self.list_tasks,
            TaskRetry: self.retry,
        }

    def dispatch(self, command: TaskDispatch, caller: Caller) -> dict[str, Any]:
        room, tasks = self._room, self._tasks
        self._allow(command.kind, command.type)
        tasks.check_lease(command.lease, caller)
        if command.run_at is not None and command.delay:
            raise Refusal("bad_request", "a task has run_at or delay, not both", detail={"field": "run_at"})
        check_terms(command)
        digest = digest_of(command)
        if (task := self._existing(command)) is not None:
            if task.digest != digest:
                raise Refusal("key_conflict", "this task or key was dispatched with another payload", detail={"task": task.id})
            if command.follow:
                self._follow(room.members.session(caller), task, 0)
            self._forget_of(command.group, command.forget)
            return {"task": task.id, "state": task.state, "attached": True}
        if command.require_live and not room.tools.served(command.type):
            if command.kind != "tool":
                raise Refusal("bad_request", "require_live is for tools", detail={"field": "require_live"})
            raise Refusal("tool_not_found", f"nobody serves the tool {command.type!r} now")
        tasks.check_bounds(command.rate_key)  # before anything ends for it
        if command.busy != "park":
            self._make_way(command)
        if command.slot is not None and (older := tasks.by_slot.get(command.slot)) is not None:
            tasks.cancel(older, SUPERSEDED)
        self._forget_of(command.group, command.forget)
        facts = facts_of(command, caller, digest, room.env.wall)
        room.emit("task.dispatched", command.type, facts, command.body, command.ct, command.parent)
        task = tasks.by_id[command.task]
        if command.follow:
            self._follow(room.members.session(caller), task, 0)
        tasks.settle()
        return {"task": task.id, "state": task.state, "attached": False}

    def _make_way(self, command: TaskDispatch) -> None:
        """Others have its concurrency key: it is refused, or they end."""
        others = self._tasks.sharing(command.concurrency_key)
        if others and command.busy == "refuse":
            raise Refusal("busy", f"the concurrency key {command.concurrency_key!r} is in use", detail={"task": others[0].id})
        for other in others:
            self._allow(other.kind, other.type)
        for other in others:
            self._tasks.cancel(other, INTERRUPTED)

    def _existing(self, command: TaskDispatch) -> Task | None:
        """The task that this dispatch is a repetition of: by its id, or by its key."""
        tasks = self._tasks
        task = tasks.by_id.get(command.task)
        if task is None and command.resent:
            task = tasks.finished.find(command.task)
        if task is None and command.key is not None:
            task = tasks.by_key.get((command.kind, command.type, command.key))
            if task is None:
                task = tasks.finished.find_key(command.kind, command.type, command.key)
        return task

    def follow(self, command: TaskFollow, caller: Caller) -> dict[str, Any]:
        found = [(self._tasks.find(id), id, after, attempt) for id, after, attempt in command.tasks]
        for task, *_ in found:
            if task is not None:
                self._allow(task.kind, task.type)
        session = self._room.members.session(caller)
        for task, _, after, attempt in found:
            if task is not None:
                self._follow(session, task, after if attempt in (0, task.attempt) else 0)
        return {"states": {id: None if task is None else task.state for task, id, *_ in found}}

    def _follow(self, session: Session, task: Task, after: int) -> None:
        if task.state in ENDED:
            self._room.push(session, self._tasks.result(task))
            return
        live = task.live
        if live is None:
            live = task.live = Live()
        for progress in live.ring or ():
            if progress.n > after:
                push_progress(self._room, session, task, after, progress)
                after = progress.n
        live.followers[session] = after
        session.following[task] = None

    def unfollow(self, command: TaskUnfollow, caller: Caller) -> dict[str, Any]:
        session = self._room.members.session(caller)
        for id in command.tasks:
            task = self._tasks.by_id.get(id)
            if task is not None and task in session.following:
                del session.following[task]
                assert task.live is not None
                del task.live.followers[session]
        return {}

    def ack(self, command: TaskAck, caller: Caller) -> dict[str, Any]:
        tasks = self._tasks
        if command.seqs is not None and len(command.seqs) != len(command.tasks):
            raise Refusal("bad_request", "a result's sequence for each of the tasks", detail={"field": "seqs"})
        finished = [
            task
            for id, seq in zip(command.tasks, command.seqs or repeat(None), strict=False)
            if id not in tasks.by_id and (task := tasks.finished.find(id)) is not None and seq in (None, task.end_seq)
        ]
        for task in finished:
            if task.dispatcher != caller.actor:
                raise Refusal("not_authorized", f"only {task.dispatcher}, who dispatched the task, acknowledges its result")
        for task in finished:
            tasks.finished.acknowledge(task)
        return {}

    def forget(self, command: TaskForget, caller: Caller) -> dict[str, Any]:
        self._tasks.check_lease(command.lease, caller)
        return {"forgotten": self._forget_of(command.group, command.tasks, command.keep)}

    def _forget_of(self, group: str | None, only: Collection[str] | None, keep: Collection[str] = ()) -> int:
        """How many finished tasks of a group went: all but `keep`, or the named ones; nothing where none is named."""
        if group is None or (only is not None and not only):
            return 0
        keep, only = frozenset(keep), None if only is None else frozenset(only)
        by_type: dict[str, list[str]] = {}
        forgotten = 0
        for entry in self._tasks.finished.members_of(group):
            if entry.id not in keep and (only is None or entry.id in only) and self._allows(entry):
                by_type.setdefault(entry.type, []).append(entry.id)
                forgotten += 1
        self._forget(by_type)
        return forgotten

    def purge(self, command: TaskPurge, caller: Caller) -> dict[str, Any]:
        self._tasks.check_lease(command.lease, caller)
        dead = self._tasks.by_state[FAILED]
        found = dead.values() if command.tasks is None else [dead[id] for id in dict.fromkeys(command.tasks) if id in dead]
        by_type: dict[str, list[str]] = {}
        purged = 0
        for task in found:
            if command.kind in (None, task.kind) and self._allows(task):
                by_type.setdefault(task.type, []).append(task.id)
                purged += 1
        self._forget(by_type)
        return {"purged": purged}

    def _forget(self, by_type: dict[str, list[str]]) -> None:
        for name, ids in by_type.items():
            for start in range(0, len(ids), FORGOTTEN_AT_ONCE):
                self._room.emit("task.forgotten", name, {"tasks": ids[start : start + FORGOTTEN_AT_ONCE]})

    def cancel(self, command: TaskCancel, caller: Caller) -> dict[str, Any]:
        self._tasks.check_lease(command.lease, caller)
        task = self._find(command.task)
        if task.state not in ENDED:
            self._tasks.cancel(task, command.reason, wait=command.wait, forget=command.forget)
        return {"state": task.state} if task.cancelling is None else {"state": task.state, "until": task.cancelling.until}

    def tell(self, command: TaskTell, caller: Caller) -> dict[str, Any]:
        task = self._find(command.task)
        if task.state in ENDED:
            raise Refusal("task_finished", f"the task is {task.state}", detail={"state": task.state})
        live = task.live
        if not command.keep:
            if live is not None and live.offer is not None:
                frame = {"push": "tell", "room": self._room.name, "task": task.id, "body": command.body}
                self._room.push(live.offer.session, frame)
            return {}
        if live is None:
            live = task.live = Live()
        size = OVERHEAD + len(command.body)
        if live.tell_bytes + size > self._room.limits.tells:
            raise Refusal("overloaded", f"a task is told at most {self._room.limits.tells} bytes")
        live.tell_bytes += size
        live.tells.append(command.body)
        if live.offer is not None:
            push_tell(self._room, live.offer.session, task, live, len(live.tells) - 1)
        return {}

    def get(self, command: TaskGet, caller: Caller) -> dict[str, Any]:
        return {"task": self._find(command.task).info()}

    def list_tasks(self, command: TaskList, caller: Caller) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for task in self._listed(command):
            key_fits = command.concurrency_key in (None, task.concurrency_key)
            if key_fits and command.kind in (None, task.kind) and self._allows(task):
                if len(found) == command.limit:
                    return {"tasks": found, "end": False}
                found.append(task.info())
        return {"tasks": found, "end": True}

    def _listed(self, command: TaskList) -> Iterable[Task]:
        """Tasks come into a state and leave it in any order: pages of them go by when they were dispatched."""
        by_state, after = self._tasks.by_state, command.after
        tasks = chain.from_iterable(by_state[state].values() for state in command.states or by_state if state in by_state)
        return tasks if after is None else sorted((task for task in tasks if task.seq > after), key=lambda task: task.seq)

    def retry(self, command: TaskRetry, caller: Caller) -> dict[str, Any]:
        self._tasks.check_lease(command.lease, caller)
        task = self._find(command.task)
        if self._tasks.by_state[FAILED].get(task.id) is not task:
            raise Refusal("task_finished", f"only a dead letter is tried again; this task is {task.state}", detail={"state": task.state})
        if task.slot is not None and task.slot in self._tasks.by_slot:
            raise Refusal("key_conflict", f"another task has the slot {task.slot!r} now", detail={"slot": task.slot})
        self._tasks.check_bounds(task.rate_key)
        facts: dict[str, Any] = {"task": task.id}
        if task.timeout is not None:
            facts["deadline"] = self._room.env.wall + task.timeout
        self._room.emit("task.retried", task.type, facts, parent=task.end_seq)
        self._tasks.settle()
        return {"state": task.state}

    def _find(self, id: str) -> Task:
        task = self._tasks.find(id)
        if task is None:
            raise Refusal("task_not_found", f"no task {id[:64]!r} in this room, or its result was acknowledged and is gone")
        self._allow(task.kind, task.type)
        return task

    def _allow(self, kind: str, type: str) -> None:
        self._room.allow(*verb_on(kind, type))

    def _allows(self, task: Task | Grouped) -> bool:
        verb, resource = verb_on(task.kind, task.type)
        return self._room.caller.grants.allows(verb, self._room.name, resource)


def verb_on(kind: str, type: str) -> tuple[str, str]:
    """What the grants of whoever wants such a task done must cover."""
    return "tools" if kind == "tool" else "dispatch", type


def digest_of(command: TaskDispatch) -> str:
    digest = blake2b(f"{command.kind}\0{command.type}\0".encode(), digest_size=16)
    digest.update(command.body if command.digest is None else command.digest.encode())
    return digest.hexdigest()


def facts_of(command: TaskDispatch, caller: Caller, digest: str, wall: float) -> dict[str, Any]:
    """The data of `task.dispatched`: what is not the default."""
    facts = {"task": command.task, **terms_of(command), "instance": caller.instance, "digest": digest}
    if command.key is not None:
        facts["key"] = command.key
    if command.delay:
        facts["due"] = wall + command.delay
    if command.run_at is not None and command.run_at > wall:
        facts["due"] = command.run_at
    if command.timeout is not None:
        facts["deadline"] = wall + command.timeout
    if command.slot is not None:
        facts["slot"] = command.slot
    if command.require_live:
        facts["require_live"] = True
    return facts


def check_terms(command: TaskDispatch) -> None:
    """Raises `Refusal` (`bad_request`) for fields that do not go together."""
    if command.concurrency_limit != 1 and command.concurrency_key is None:
        raise Refusal("bad_request", "concurrency_limit needs a concurrency_key", detail={"field": "concurrency_limit"})
    if command.busy != "park" and command.concurrency_key is None:
        raise Refusal("bad_request", "busy needs a concurrency_key", detail={"field": "busy"})
    if (command.rate_key is None) is not (command.rate_limit is None):
        raise Refusal("bad_request", "rate_key and rate_limit need each other", detail={"field": "rate_limit"})


def terms_of(command: TaskDispatch) -> dict[str, Any]:
    """What is the same of every task that is dispatched like this."""
    terms: dict[str, Any] = {
        "kind": command.kind,
        "capabilities": sorted(command.capabilities),
        "priority": command.priority,
        "attempts": command.max_attempts,
    }
    if command.attempt_timeout is not None:
        terms["attempt_timeout"] = command.attempt_timeout
    if command.retry != RETRY:
        terms["retry"] = command.retry
    if command.concurrency_key is not None:
        terms["concurrency_key"] = command.concurrency_key
    if command.concurrency_limit != 1:
        terms["concurrency_limit"] = command.concurrency_limit
    if command.rate_key is not None:
        terms["rate_key"], terms["rate_limit"] = command.rate_key, command.rate_limit
    if command.preferred is not None:
        terms["preferred"] = command.preferred
    if command.group is not None:
        terms["group"] = command.group
    return terms
