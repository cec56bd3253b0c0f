"""A room as plain values: what the broker is to answer, worked out in the simplest way. It knows no restart: none is to be seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SLOTS = 2  # of the one worker


class Refused(Exception):
    """What is asked is refused with this error."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Task:
    """Ends are `completed`, `failed` and `cancelled`."""

    number: int
    type: str
    payload: Any
    key: str | None
    priority: int
    max_attempts: int
    state: str = "waiting"
    attempt: int = 0
    used: int = 0  # attempts that failed, since it was dispatched or taken back from the dead letters


@dataclass
class Approval:
    action: str
    args: Any
    quorum: int
    votes: dict[str, str] = field(default_factory=dict)
    decision: tuple[str, str] | None = None  # type and actor


class Room:
    """Each method does what the operation of its name does, and adds the events to `log`: (type, subject, value)."""

    def __init__(self, present: Iterable[str]) -> None:
        self.log: list[tuple[str, str, Any]] = []
        self.present = set(present)
        self.tasks: list[Task] = []
        self.running: list[Task] = []
        self.keys: dict[tuple[str, str], Task] = {}  # by type and key
        self.board: dict[str, list[tuple[int, Any]]] = {}  # every revision of a key; None: deleted
        self.items: dict[str, dict[str, Any]] = {}  # of the store, by namespace and key
        self.unread: dict[str, list[tuple[str, Any]]] = {}
        self.approvals: dict[str, Approval] = {}
        self.retained: dict[str, Any] = {}
        self._said: dict[str, tuple[Any, int]] = {}

    # -- tasks

    def dispatch(self, type: str, payload: Any, key: str | None, priority: int, max_attempts: int) -> Task:
        if key is not None and (there := self.keys.get((type, key))) is not None:
            if there.payload != payload:
                raise Refused("KeyConflict")
            return there
        task = Task(len(self.tasks), type, payload, key, priority, max_attempts)
        self.tasks.append(task)
        if key is not None:
            self.keys[type, key] = task
        self._task("dispatched", task, payload)
        self._hand_out()
        return task

    def complete(self, task: Task, result: Any) -> None:
        self.running.remove(task)
        task.state = "completed"
        self._task("completed", task, result)
        self._hand_out()

    def fail(self, task: Task) -> None:
        self.running.remove(task)
        task.used += 1
        task.state = "waiting" if task.used < task.max_attempts else "failed"
        self._task("released" if task.state == "waiting" else "failed", task)
        self._hand_out()

    def cancel(self, task: Task) -> None:
        if task in self.running:
            self.running.remove(task)
        task.state = "cancelled"
        self._task("cancelled", task)
        self._hand_out()

    def retry(self, task: Task) -> None:
        task.state, task.used = "waiting", 0
        self._task("retried", task)
        self._hand_out()

    def dead_letters(self) -> list[Task]:
        return [task for task in self.tasks if task.state == "failed"]

    def unfinished(self) -> list[Task]:
        return [task for task in self.tasks if task.state in ("waiting", "running")]

    def _hand_out(self) -> None:
        while len(self.running) < SLOTS:
            task = min((task for task in self.tasks if task.state == "waiting"), key=lambda t: (-t.priority, t.number), default=None)
            if task is None:
                return
            task.state = "running"
            task.attempt += 1
            self.running.append(task)
            self._task("claimed", task)

    def _task(self, what: str, task: Task, value: Any = None) -> None:
        self.log.append((f"task.{what}", task.type, value))

    # -- blackboard

    def set(self, key: str, value: Any, expected: int | None) -> int:
        """The value None deletes. Returns the revision; deleting what is not there is no revision."""
        revisions = self.board.setdefault(key, [])
        there = self.get(key)
        if expected is not None and expected != (there[0] if there else 0):
            raise Refused("RevisionConflict")
        if value is not None or there:
            revisions.append((len(revisions) + 1, value))
            self.log.append(("blackboard.deleted" if value is None else "blackboard.set", key, value))
        return len(revisions)

    def get(self, key: str) -> tuple[int, Any] | None:
        revisions = self.board.get(key)
        return revisions[-1] if revisions and revisions[-1][1] is not None else None

    # -- store

    def remember(self, space: str, key: str, value: Any) -> None:
        """The value None deletes."""
        items = self.items.setdefault(space, {})
        if value is None:
            if items.pop(key, None) is not None:
                self.log.append(("store.deleted", f"store/{space}/{key}", None))
        else:
            items[key] = value
            self.log.append(("store.put", f"store/{space}/{key}", value))
        if not items:
            del self.items[space]

    # -- messages and events

    def say(self, type: str, subject: str, value: Any, key: str | None) -> int | None:
        """The position of the event in `log`, the first one's where it was said before."""
        if key is not None and key in self._said:
            before, at = self._said[key]
            if before != value:
                raise Refused("KeyConflict")
            return at
        self.log.append((type, subject, value))
        if key is not None:
            self._said[key] = value, len(self.log) - 1
        return len(self.log) - 1

    def publish(self, topic: str, value: Any, key: str | None, retain: bool) -> int | None:
        length = len(self.log)
        at = self.say("topic.published", topic, value, key)
        if retain and len(self.log) > length:
            self.retained[topic] = value
        return at

    def send(self, sender: str, to: str, value: Any, key: str | None, keep: bool) -> int | None:
        if not keep and to not in self.present and key not in self._said:
            raise Refused("PeerNotFound")
        length = len(self.log)
        at = self.say("inbox.sent", to, value, key)
        if len(self.log) > length:
            self.unread.setdefault(to, []).append((sender, value))
        return at

    def read(self, actor: str) -> list[tuple[str, Any]]:
        return self.unread.pop(actor, [])

    # -- approvals

    def request(self, id: str, action: str, args: Any, quorum: int) -> None:
        there = self.approvals.get(id)
        if there is None:
            self.approvals[id] = Approval(action, args, quorum)
            self.log.append(("approval.requested", action, args))
        elif (there.action, there.args, there.quorum) != (action, args, quorum):
            raise Refused("KeyConflict")

    def decide(self, id: str, actor: str, type: str) -> str:
        approval = self.approvals.get(id)
        if approval is None:
            raise Refused("ApprovalNotFound")
        if approval.decision is not None:
            raise Refused("AlreadyDecided")
        approval.votes[actor] = type
        self.log.append(("approval.voted", approval.action, None))
        if type == "reject" or len(approval.votes) == approval.quorum:
            approval.decision = type, actor
            self.log.append(("approval.decided", approval.action, None))
            return "decided"
        return "pending"
