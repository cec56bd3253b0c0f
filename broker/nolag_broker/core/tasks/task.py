"""A task: its header, how the header is stored, and what callers see of it. Its bodies are in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from ...wire.codec import pack
from ..commands.fields import RETRY
from ..entity import Entity
from ..event import Event
from ..timers import Timer

if TYPE_CHECKING:
    from .lanes import Lane
    from .lines import Line
    from .live import Live
    from .matching import Queue
    from .rates import Rate

WAITING: Final = "waiting"  # for a worker
DELAYED: Final = "delayed"
PARKED: Final = "parked"  # its concurrency key is busy, or its rate key used up
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
TIMED_OUT: Final = "timed_out"
FORGOTTEN: Final = "forgotten"  # the room keeps nothing of it: no client ever sees this state
LIVE: Final = frozenset({WAITING, DELAYED, PARKED, RUNNING})
ENDED: Final = frozenset({COMPLETED, FAILED, CANCELLED, TIMED_OUT})

SUPERSEDED: Final = "superseded"  # why it ended: another one has its slot, or its key
INTERRUPTED: Final = "interrupted"  # why those ended in whose place another one was dispatched

HEADER: Final = 44  # fields of a stored header; new ones come last, and None is what older rows have

Holder = tuple[str, str]  # actor, instance


class Cancelling(NamedTuple):
    """It was cancelled, and its holder has time to let go of it."""

    until: float
    reason: str | None
    forget: bool  # nothing of it is kept once it has ended


class Task(Entity):
    """What the room knows of one task. `seq` is the sequence of its dispatch."""

    __slots__ = (
        "attempt",  # hand-outs so far
        "attempt_ends",  # while it runs: when this attempt is given up
        "attempt_timeout",
        "attempt_timer",
        "body_seq",  # of the event that carries the result or the error's body; 0: there is none
        "cancel_timer",
        "cancelling",
        "capabilities",
        "concurrency_key",
        "concurrency_limit",
        "created",
        "ct",
        "deadline",
        "digest",
        "dispatcher",
        "due",
        "due_timer",
        "effects",  # how many of its ledger are kept
        "end_seq",
        "end_timer",
        "ended",
        "error",
        "errors",  # [attempt, error, actor] of hand-outs that failed or were lost
        "group",
        "holder",
        "id",
        "idempotency_key",
        "kind",
        "lane",
        "live",  # what is not stored: followers, offer, progress, tells
        "max_attempts",
        "moment",  # of the schedule that brought it
        "offer_number",
        "payload_seq",  # of the event that carries the payload: its dispatch, or what set its schedule
        "period",  # in which it ended; see Finished
        "preferred",
        "priority",
        "queue",
        "rate",
        "rate_key",
        "rate_limit",
        "require_live",
        "result_ct",
        "retry",
        "seq",
        "size",  # bytes of the payload
        "slot",
        "state",
        "timeout",  # seconds from the dispatch, or a task.retry, to the deadline
        "token",
        "type",
        "used",  # hand-outs that failed or were lost since the dispatch or the last task.retry
    )

    def __init__(self, event: Event | None) -> None:
        """As dispatched. None: everything is set from a row."""
        if event is None:
            return
        data = event.data
        get = data.get
        self.stored = False
        self.id: str = data["task"]
        self.seq = event.seq
        self.type = event.subject or ""
        self.kind: str = data["kind"]
        self.capabilities = frozenset(data["capabilities"])
        self.ct: str | None = get("payload_ct", event.ct)
        self.payload_seq: int = get("payload", event.seq)
        self.size = len(event.body or b"")
        self.moment: float | None = get("moment")
        self.idempotency_key: str | None = get("key")
        self.digest: str = data["digest"]
        self.priority: int = data["priority"]
        self.max_attempts: int = data["attempts"]
        self.retry: tuple[float, float, float, float] = tuple(get("retry", RETRY))
        self.dispatcher: str = get("dispatcher", event.sender)
        self.created = event.time
        self.due: float | None = get("due")
        self.deadline: float | None = get("deadline")
        self.timeout = None if self.deadline is None else self.deadline - event.time
        self.concurrency_key: str | None = get("concurrency_key")
        self.concurrency_limit: int = get("concurrency_limit", 1)
        self.rate_key: str | None = get("rate_key")
        self.rate_limit: tuple[int, float] | None = tuple(limit) if (limit := get("rate_limit")) is not None else None
        self.preferred: str | None = get("preferred")
        self.slot: str | None = get("slot")
        self.group: str | None = get("group")
        self.require_live: bool = get("require_live", False)
        self.attempt_timeout: float | None = get("attempt_timeout")
        self.attempt_ends: float | None = None
        self.effects = 0
        self.cancelling: Cancelling | None = None
        self.state = WAITING
        self.attempt = self.used = self.token = self.offer_number = 0
        self.holder: Holder | None = None
        self.errors: list[tuple[int, dict[str, Any], str]] = []
        self.error: dict[str, Any] | None = None
        self.end_seq = self.body_seq = self.period = 0
        self.ended = 0.0
        self.result_ct: str | None = None
        self.lane: Line[Lane] | None = None
        self.rate: Line[Rate] | None = None
        self.queue: Queue | None = None
        self.live: Live | None = None
        self.due_timer: Timer | None = None
        self.end_timer: Timer | None = None
        self.attempt_timer: Timer | None = None
        self.cancel_timer: Timer | None = None

    def __repr__(self) -> str:
        return f"Task({self.id!r}, {self.state})"

    @property
    def rank(self) -> tuple[int, int, int]:
        """Which waiting task goes first. No two have the same."""
        seq, lane = self.seq, self.lane
        return -self.priority, seq if lane is None or lane.of.turn < seq else lane.of.turn, seq

    @property
    def key(self) -> str:
        return "task/" + self.id

    @property
    def goes_back(self) -> bool:
        """Whether its hand-out may fail and the task does not: another one may follow, or it was cancelled."""
        return self.used + 1 < self.max_attempts or self.cancelling is not None

    @property
    def dead(self) -> bool:
        """A dead letter: it failed, and somebody may want to look into it. A failed call of a tool is an answer, nothing more."""
        return self.state == FAILED and self.kind != "tool"

    def head(self) -> bytes | None:
        return self.header() if self.state in LIVE or self.dead else None

    def header(self) -> bytes:
        """The whole header, as head or as record. How a task waits is not in it: that follows from the others and the time."""
        state = self.state
        values: bytes = pack(
            (
                self.id,
                self.seq,
                self.type,
                self.kind,
                sorted(self.capabilities),
                self.ct,
                self.idempotency_key,
                self.digest,
                self.priority,
                self.max_attempts,
                None if self.retry == RETRY else self.retry,
                self.dispatcher,
                self.created,
                self.due,
                self.deadline,
                self.concurrency_key,
                self.slot,
                self.group,
                self.require_live,
                WAITING if state in (DELAYED, PARKED) else state,
                self.attempt,
                self.used,
                self.token,
                self.offer_number,
                self.holder,
                self.errors,
                self.error,
                self.end_seq,
                self.body_seq,
                self.period,
                self.ended,
                self.result_ct,
                self.attempt_timeout,
                self.attempt_ends,
                self.effects,
                self.concurrency_limit,
                self.preferred,
                self.rate_key,
                self.rate_limit,
                None if self.payload_seq == self.seq else self.payload_seq,
                self.moment,
                self.cancelling,
                self.size,
                self.timeout,
            )
        )
        return values

    @classmethod
    def from_header(cls, header: bytes) -> Task:
        self = cls(None)
        capabilities: list[str]
        retry: list[float] | None
        holder: list[str] | None
        errors: list[list[Any]]
        effects: int | None
        limit: int | None
        rate_limit: list[Any] | None
        payload_seq: int | None
        cancelling: list[Any] | None
        size: int | None
        values: list[Any] = msgpack.unpackb(header)
        if len(values) < HEADER:
            values += [None] * (HEADER - len(values))  # written by a broker that did not know the last ones
        (
            self.id,
            self.seq,
            self.type,
            self.kind,
            capabilities,
            self.ct,
            self.idempotency_key,
            self.digest,
            self.priority,
            self.max_attempts,
            retry,
            self.dispatcher,
            self.created,
            self.due,
            self.deadline,
            self.concurrency_key,
            self.slot,
            self.group,
            self.require_live,
            self.state,
            self.attempt,
            self.used,
            self.token,
            self.offer_number,
            holder,
            errors,
            self.error,
            self.end_seq,
            self.body_seq,
            self.period,
            self.ended,
            self.result_ct,
            self.attempt_timeout,
            self.attempt_ends,
            effects,
            limit,
            self.preferred,
            self.rate_key,
            rate_limit,
            payload_seq,
            self.moment,
            cancelling,
            size,
            self.timeout,
        ) = values
        self.stored = False
        self.effects = effects or 0
        self.size = size or 0
        if self.timeout is None and self.deadline is not None:
            self.timeout = self.deadline - self.created
        self.payload_seq = payload_seq or self.seq
        self.concurrency_limit = limit or 1
        self.rate_limit = None if rate_limit is None else (rate_limit[0], rate_limit[1])
        self.capabilities = frozenset(capabilities)
        self.retry = RETRY if retry is None else (retry[0], retry[1], retry[2], retry[3])
        self.holder = None if holder is None else (holder[0], holder[1])
        self.errors = [(attempt, error, actor) for attempt, error, actor in errors]
        self.cancelling = None if cancelling is None else Cancelling(cancelling[0], cancelling[1], cancelling[2])
        self.lane = self.rate = self.queue = self.live = self.due_timer = self.end_timer = self.attempt_timer = None
        self.cancel_timer = None
        return self

    def backoff(self, random: float) -> float:
        """How long the next hand-out waits after a failure."""
        initial, factor, maximum, jitter = self.retry
        delay = min(maximum, initial * factor**self.used)
        return delay * (1 + jitter * (2 * random - 1))

    def info(self) -> dict[str, Any]:
        """As `task.get` and `task.list` show it."""
        info: dict[str, Any] = {
            "task": self.id,
            "seq": self.seq,
            "type": self.type,
            "kind": self.kind,
            "state": self.state,
            "attempt": self.attempt,
            "token": self.token,
            "dispatcher": self.dispatcher,
            "capabilities": sorted(self.capabilities),
            "priority": self.priority,
            "created": self.created,
            "errors": [{"attempt": attempt, "error": error, "actor": actor} for attempt, error, actor in self.errors],
        }
        if self.holder is not None and self.state == RUNNING:
            info["holder"] = self.holder[0]
        if self.state == PARKED:
            info["parked_by"] = "concurrency_key" if self.rate is None else "rate_key"
        if self.cancelling is not None:
            info["cancelling"] = self.cancelling.until
        optional = {
            "key": self.idempotency_key,
            "group": self.group,
            "due": self.due,
            "deadline": self.deadline,
            "attempt_timeout": self.attempt_timeout,
            "concurrency_key": self.concurrency_key,
            "rate_key": self.rate_key,
        }
        info.update((name, value) for name, value in optional.items() if value is not None)
        return info
