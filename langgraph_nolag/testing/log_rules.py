"""What must hold of a room's log by itself, event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .history import Fact

ENDS = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled", "task.timed_out": "timed_out"}
ROUNDING = 1e-6  # seconds
EARLY = 0.0011  # seconds that what is due by the wall clock may come before its moment
EARLY = 0.002  # seconds that a moment may come early: a timer wakes by another clock
KEYED = ("topic.published", "inbox.sent")


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: `hole`, `task`, `token`, `completion`, `chunk`, `key`, `rate`, `schedule`, `revision`, `item`, `approval`; of the checker also
            `lost`, `phantom`, `double`, `stale`, `order`, `result`, `stream`.
        message: what happened, and where.
    """

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


class Known:
    """A task, as far as the log has come."""

    __slots__ = ("cancelling", "end", "holder", "key", "rate_key", "token")

    def __init__(self, key: tuple[str, ...] | None, rate_key: str | None) -> None:
        self.key = key
        self.rate_key = rate_key
        self.token = 0
        self.holder: str | None = None
        self.cancelling: Fact | None = None
        self.end: Fact | None = None


class LogRules:
    """Takes the events of a room from its first one on; `violations` grows with what is wrong with them."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.seq = 0
        self.ends: dict[str, list[Fact]] = {}  # of tasks: several of one that was tried again
        self.over: dict[tuple[str, int], int] = {}  # hand-outs (task, token), and where each of them ended
        self.effects: dict[tuple[str, str], Fact] = {}  # by task and key
        self.decisions: dict[str, Fact] = {}  # of approvals
        self._passed_on: set[tuple[str, str]] = set()  # approvals, and who passed its vote on them on
        self._token = 0
        self.tasks: dict[str, Known] = {}
        self._keys: dict[tuple[str, ...], str] = {}
        self._rates: dict[str, tuple[int, float]] = {}  # how many in how many seconds, as it was named last
        self._starts: dict[str, list[float]] = {}  # of each rate key
        self._time = 0.0
        self._moments: dict[str, float] = {}  # the last one of each schedule
        self._fired: Fact | None = None  # a moment whose task is to be the next event
        self._said: dict[tuple[str, str], int] = {}
        self._revisions: dict[str, int] = {}
        self._mids: dict[tuple[str, str], int] = {}
        self._places: dict[tuple[str, ...], int] = {}  # the revision of each item of the store
        self._items: dict[int, tuple[float | None, float | None]] = {}  # by revision: how long it stays, and until when
        self.approvals: dict[str, int] = {}  # and their quorum
        self._votes: dict[str, dict[str, list[Any]]] = {}  # of approvals, by actor: what the vote is for
        self.chunks: dict[str, int] = {}  # of streams that are open: how many are in the log

    def event(self, event: Fact) -> None:
        fired, self._fired = self._fired, event if event.type == "schedule.fired" else None
        brought = event.data["task"] if event.type == "task.dispatched" and "moment" in event.data else None
        if brought != (None if fired is None else fired.data["task"]):
            self._wrong("schedule", f"{event.type} at {event.seq} where the task of {fired} was to be")
        if event.seq != self.seq + 1:
            self._wrong("hole", f"{event.seq} ({event.type}) follows {self.seq}")
        self.seq = event.seq
        if event.time < self._time:
            self._starts = {key: [] for key in self._starts}  # the clock was set back: a span is one of the clock
        self._time = event.time
        if event.type.startswith("task."):
            self._of_task(event, event.data)
        elif event.type.startswith("schedule."):
            self._of_schedule(event, event.data)
        elif event.type.startswith("blackboard."):
            self._of_blackboard(event, event.data)
        elif event.type.startswith("store."):
            self._of_store(event, event.data)
        elif event.type.startswith("approval."):
            self._of_approval(event, event.data)
        elif event.type.startswith("stream."):
            self._of_stream(event, event.data)
        if (key := event.data.get("key")) is not None and not event.type.startswith(("task.", "approval.")):
            pattern = event.type if event.type in KEYED else "event"
            if (first := self._said.setdefault((pattern, key), event.seq)) != event.seq:
                self._wrong("key", f"the key {key!r} was said at {first} and again at {event.seq}")

    def _of_task(self, event: Fact, data: Any) -> None:
        if event.type == "task.dispatched":
            self._dispatched(event, data)
            return
        if event.type == "task.forgotten":
            for id in data["tasks"]:
                if (gone := self.tasks.get(id)) is not None:
                    self._free(gone)
            return
        task = self.tasks.get(data["task"])
        if task is None:
            self._wrong("task", f"{event.type} at {event.seq} of a task that was never dispatched: {data['task']}")
            return
        if event.type == "task.retried":
            task.end = None
            return
        if task.end is not None:
            self._wrong("completion", f"{event.type} at {event.seq} of {data['task']}, which ended at {task.end.seq} ({task.end.type})")
        if task.cancelling is not None and event.type in ("task.claimed", "task.released", "task.failed", "task.cancelling"):
            self._wrong("task", f"{event.type} at {event.seq} of {data['task']}, which was cancelled at {task.cancelling.seq}")
        if event.type == "task.cancelling":
            if task.holder is None or data["token"] != task.token:
                self._wrong("token", f"{data['task']} is cancelled at {event.seq} under {data['token']}, held under {task.token}")
            task.cancelling = event
            if data.get("forget"):
                self._free(task)
        elif event.type == "task.claimed":
            if task.holder is not None:
                self._wrong("token", f"{data['task']} is handed out at {event.seq} while {task.holder} holds it under {task.token}")
            if data["token"] <= self._token:
                self._wrong("token", f"the token {data['token']} at {event.seq} is not above {self._token}")
            self._token = task.token = data["token"]
            task.holder = data["actor"]
            if task.rate_key is not None:
                self._started(event, task.rate_key)
        elif event.type == "task.effect":
            if task.holder is None or data["token"] != task.token:
                self._wrong("token", f"an effect of {data['task']} at {event.seq} under {data['token']}, held under {task.token}")
            if (first := self.effects.setdefault((data["task"], data["key"]), event)) is not event:
                self._wrong("double", f"the effect {data['key']!r} of {data['task']} is at {first.seq} and again at {event.seq}")
        elif event.type == "task.released":
            if task.holder is None or data["token"] != task.token:
                self._wrong("token", f"{data['task']} is released at {event.seq} under {data['token']}, held under {task.token}")
            task.holder = None
            self.over[data["task"], task.token] = event.seq
        elif event.type in ENDS:
            if event.type == "task.completed" and (data["token"] != task.token or event.sender != task.holder):
                who = f"{event.sender} under {data['token']}, held by {task.holder} under {task.token}"
                self._wrong("token", f"{data['task']} is completed at {event.seq} by {who}")
            if task.holder is not None:
                self.over[data["task"], task.token] = event.seq
            if "let_go" in data and task.cancelling is None:
                self._wrong("task", f"{data['task']} was let go of at {event.seq}, and nobody was asked to")
            if data.get("let_go") == "overdue" and task.cancelling is not None and event.time < task.cancelling.data["until"] - EARLY:
                self._wrong("task", f"the time to let go of {data['task']} ends at {event.seq}, too early")
            if data.get("forget"):
                self._free(task)
            task.end, task.holder = event, None
            self.ends.setdefault(data["task"], []).append(event)

    def _free(self, task: Known) -> None:
        """Its key may be used for another one."""
        if task.key is not None:
            self._keys.pop(task.key, None)
            task.key = None

    def _dispatched(self, event: Fact, data: Any) -> None:
        if data["task"] in self.tasks:
            self._wrong("double", f"the task {data['task']} is dispatched again at {event.seq}")
        key = None if "key" not in data else (data["kind"], event.subject or "", data["key"])
        self.tasks[data["task"]] = Known(key, rate_key := data.get("rate_key"))
        if rate_key is not None and (limit := tuple(data["rate_limit"])) != self._rates.get(rate_key):
            self._rates[rate_key], self._starts[rate_key] = limit, []  # of an older limit, less may be known than this one counts
        if key is not None and (first := self._keys.setdefault(key, data["task"])) != data["task"]:
            self._wrong("key", f"the key {key} has the tasks {first} and {data['task']} (at {event.seq})")

    def _of_schedule(self, event: Fact, data: Any) -> None:
        name, moment = data["schedule"], data.get("moment")
        if event.type == "schedule.deleted":
            self._moments.pop(name, None)
        elif moment is not None:
            if moment <= (before := self._moments.get(name, 0.0)):
                self._wrong("schedule", f"{name} comes at {moment:.0f} (at {event.seq}) after {before:.0f}")
            if event.time < moment - EARLY:
                self._wrong("schedule", f"{name} comes at {event.time:f} (at {event.seq}), too early for {moment:.0f}")
            self._moments[name] = moment

    def _started(self, event: Fact, rate_key: str) -> None:
        limit, period = self._rates[rate_key]
        starts = self._starts[rate_key] = [start for start in self._starts[rate_key] if start + period > event.time + ROUNDING]
        starts.append(event.time)
        if len(starts) > limit:
            self._wrong("rate", f"{len(starts)} of {rate_key!r} started within {period:g} s at {event.seq}, {limit} may")

    def _of_blackboard(self, event: Fact, data: Any) -> None:
        key, revision = event.subject or "", data["revision"]
        if revision != (before := self._revisions.get(key, 0)) + 1:
            self._wrong("revision", f"{key!r} goes from revision {before} to {revision} at {event.seq}")
        self._revisions[key] = revision
        mid = getattr(event, "id", None)
        if mid is not None and mid != str(event.seq) and (first := self._mids.setdefault((key, mid), event.seq)) != event.seq:
            self._wrong("double", f"the change {mid!r} of {key!r} was applied at {first} and again at {event.seq}")

    def _of_store(self, event: Fact, data: Any) -> None:
        items = self._items
        if event.type == "store.put":
            path = tuple(data["path"])
            items.pop(self._places.get(path, 0), None)
            self._places[path], ttl = event.seq, data.get("ttl")
            items[event.seq] = ttl, None if ttl is None else event.time + ttl
        elif event.type == "store.refreshed":
            for revision in data["revisions"]:
                ttl, expires = items.get(revision, (None, None))
                if ttl is None or expires is None or event.time >= expires:
                    self._wrong("item", f"{revision} is refreshed at {event.seq}, and does not expire or has")
                else:
                    items[revision] = ttl, event.time + ttl
        elif (revision := data["revision"]) not in items:
            self._wrong("item", f"{event.type} at {event.seq} of {revision}, which is not there")
        elif event.type == "store.deleted":
            _, expires = items.pop(revision)
            if self._places.pop(tuple(data["path"]), None) != revision:
                self._wrong("item", f"{revision} is deleted at {event.seq} and lies elsewhere")
            if data.get("reason") == "expired" and (expires is None or event.time < expires - EARLY):
                self._wrong("item", f"{revision} expires at {event.seq}, before its time")

    def _of_approval(self, event: Fact, data: Any) -> None:
        id = data["approval"]
        if event.type == "approval.requested":
            if id in self.approvals:
                self._wrong("approval", f"{id} is asked for again at {event.seq}")
            self.approvals[id] = data.get("quorum", 1)
        elif id not in self.approvals:
            self._wrong("approval", f"{event.type} at {event.seq} of {id}, which nobody asked for")
        elif (first := self.decisions.get(id)) is not None:
            self._wrong("approval", f"{event.type} at {event.seq} of {id}, which was decided at {first.seq}")
        elif event.type == "approval.decided":
            self.decisions[id] = event
            agreed = list(self._votes.get(id, {}).values()).count(_outcome(data))
            if data.get("reason") == "vote" and data["type"] != "reject" and agreed < self.approvals[id]:
                self._wrong("approval", f"{id} is decided at {event.seq} by {agreed} who agree; {self.approvals[id]} had to")
        elif event.type == "approval.delegated":
            self._passed_on.add((id, event.sender))
        elif event.type == "approval.voted":
            self._votes.setdefault(id, {})[event.sender] = _outcome(data)
            if (id, event.sender) in self._passed_on:
                self._wrong("approval", f"{event.sender} votes at {event.seq} on {id} and had passed its vote on")

    def _of_stream(self, event: Fact, data: Any) -> None:
        if event.type == "stream.read":
            return
        id = data["stream"]
        if event.type == "stream.opened":
            self.chunks[id] = data["kept"]
        elif id not in self.chunks:
            self._wrong("chunk", f"{event.type} at {event.seq} of the stream {id}, which is not open")
        elif event.type == "stream.rolled":
            if not self.chunks[id] + 1 == data["first"] <= data["last"]:
                self._wrong("chunk", f"chunks {data['first']} to {data['last']} of {id} at {event.seq} follow {self.chunks[id]}")
            self.chunks[id] = data["last"]
        elif data["n"] != self.chunks.pop(id):
            self._wrong("chunk", f"the stream {id} ends at {event.seq} with {data['n']} chunks; that is not what is in the log")

    def _wrong(self, rule: str, message: str) -> None:
        self.violations.append(Violation(rule, message))


def _outcome(vote: Any) -> list[Any]:
    return [vote["type"], vote.get("digest"), vote.get("message") if vote["type"] == "respond" else None]
