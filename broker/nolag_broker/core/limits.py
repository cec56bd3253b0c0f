"""The bounds and spans of a room. The server fills them from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..wire.once import ANSWERS

OVERHEAD: Final = 200  # bytes that a message, a piece of progress or a tell counts beside its body: many empty ones take memory too


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of a room's log is kept, beside what is still referred to; None: no bound of this kind."""

    age: float | None = 30 * 86400.0
    count: int | None = None
    bytes: int | None = 10 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes. What would go over a bound is refused with `overloaded`, unless it says otherwise."""

    lease: float = 10.0  # how long the tasks of a silent process stay its own
    disconnect_grace: float = 3.0  # the same, once its connection is closed
    log: Policy = Policy()  # of rooms that have none of their own
    keep: float = 7 * 86400.0  # finished tasks with a key, dead letters, published keys: kept at least so long

    backlog: int = 100_000  # tasks that have not ended
    dead_letters: int = 10_000  # the oldest is no longer listed
    grouped: int = 100_000  # finished tasks that `task.forget` can still find; the oldest is left to time
    finished: int = 4096  # finished tasks whose header stays at hand, so that an acknowledgement reads nothing
    rates: int = 10_000  # rate keys in use, or used within their span
    members: int = 10_000
    keys: int = 100_000  # of the blackboard, deleted ones included
    history: int = 100  # revisions of a key
    items: int = 100_000  # of the store
    cursors: int = 10_000
    groups: int = 1_000
    schedules: int = 1_000
    unread: int = 10_000  # messages of an inbox
    approvals: int = 10_000  # pending
    decided: int = 1_000  # approvals that can still be listed; all can be read by their id
    retained: int = 100_000  # topics
    clients: int = 4096  # processes whose answers are kept for a request that comes again; the oldest is dropped
    answers: int = ANSWERS  # of one process; the oldest is dropped
    progress: int = 1 << 20  # of a running task; the oldest is dropped, and said to be gone
    tells: int = 1 << 20  # of a task
    effects: int = 1_000  # of a task

    streams: int = 10_000  # open
    ended_streams: int = 1_000  # that can still be read; the oldest is forgotten
    ended_stream_bytes: int = 64 << 20  # of all of them
    stream_pieces: int = 1_000  # of a stream; the oldest is dropped, and said to be gone
    stream_bytes: int = 64 << 20  # of its pieces; the same, but for the last one
    roll_after: float = 1.0  # chunks of a stream are put into the log after so long,
    roll_bytes: int = 64 << 10  # or when there are so many,
    stream_buffers: int = 16 << 20  # or when those of all streams are
