"""What this process knows of the latest checkpoints of threads: what it has need not be sent to it, if the room says that it still holds.

Nothing is believed without the room. It says with every write and read when the thread was written; what is known is of a sequence, holds
until the thread's next write, and moves on with a write of our own only if nobody else's came between. A read names that sequence, and is
answered with "the same", or with what there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from langgraph.checkpoint.base import ChannelVersions

from ...client.requests import Answer
from . import keys
from .record import Stored

THREADS: Final = 1000
LARGEST: Final = 1 << 20  # bytes of one checkpoint that is kept
BYTES: Final = 32 << 20  # of all of them

Guess = tuple[str, ChannelVersions]
"""The id of a checkpoint, and the channels that have a value in it."""


@dataclass(slots=True)
class State:
    """All that the latest checkpoint of a namespace is made of. Not changed once made (`frozen` would triple what making costs).

    Attributes:
        id: the checkpoint's.
        stored: its record.
        values: the records of its channels' values, by their keys, in the order of `stored.channels`.
        writes: the records of its pending writes; None: not known.
        ahead: ids of later checkpoints, not stored yet, that have pending writes.
    """

    id: str
    stored: Stored
    values: dict[str, bytes]
    writes: tuple[bytes, ...] | None
    ahead: frozenset[str]
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        stored = self.stored
        self.size = (
            sum(map(len, self.values.values())) + len(stored.checkpoint[1]) + len(stored.metadata[1]) + sum(map(len, self.writes or ()))
        )

    def followed_by(self, id: str, stored: Stored, keys: Iterable[str], values: Mapping[str, bytes]) -> State | None:
        """The state once this process has stored a checkpoint, with these new values; None: not all of it is known."""
        if id < self.id:
            return self
        every = {key: value for key in keys if (value := values.get(key) or self.values.get(key)) is not None}
        if id == self.id or len(every) < len(stored.channels):
            return None
        ahead = self.ahead
        return State(id, stored, every, None if id in ahead else (), frozenset(other for other in ahead if other > id) if ahead else ahead)


@dataclass(slots=True)
class _Thread:
    """What is known of a thread: `states`, by namespace, are those at this sequence. Guesses may be wrong."""

    epoch: str
    seq: int = -1
    states: dict[str, State] = field(default_factory=dict)
    guesses: dict[str, Guess] = field(default_factory=dict)

    def advance(self, to: int, last: int | None) -> None:
        """It is known up to a later sequence. States hold if the last write that is not known is not after what was known until now."""
        if last is None or last > self.seq:
            self.states.clear()
        self.seq = to


class Latest:
    """What this process stored or read last, of the threads that it was busy with lately. From any thread."""

    def __init__(self) -> None:
        self._threads: dict[str, _Thread] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def guess(self, thread: str, ns: str) -> Guess | None:
        """What is likely the latest checkpoint."""
        with self._lock:
            known = self._threads.get(thread)
            return None if known is None else known.guesses.get(ns)

    def state(self, thread: str, ns: str) -> tuple[State, int, str] | None:
        """What was the latest checkpoint, whole, and the sequence and epoch of which it is."""
        with self._lock:
            known = self._threads.get(thread)
            state = None if known is None else known.states.get(ns)
            return None if known is None or state is None or state.writes is None else (state, known.seq, known.epoch)

    def same(self, thread: str, since: int, answer: Answer) -> None:
        """The room said that it still is."""
        with self._lock:
            known = self._threads.get(thread)
            if known is not None and known.epoch == answer.epoch and known.seq >= since:
                known.seq = max(known.seq, answer.seq)

    def read(self, thread: str, ns: str, answer: Answer, state: State) -> None:
        """This is the latest checkpoint: `answer` named it, and its parts were read then or later."""
        with self._lock:
            known = self._known(thread, answer.epoch)
            if known.seq > answer.seq:
                return
            known.advance(answer.seq, answer.get("last"))
            known.guesses[ns] = state.id, state.stored.channels
            known.states[ns] = state
            self._weigh(thread, known)

    def put(self, thread: str, ns: str, answer: Answer, id: str, stored: Stored, values: Mapping[str, bytes]) -> None:
        """This process stored a checkpoint, with these new values."""
        with self._lock:
            if (known := self._written(thread, answer)) is not None:
                known.guesses[ns] = id, stored.channels
                needed = keys.values_of(thread, ns, stored.channels)
                if (before := known.states.pop(ns, None)) is not None and (
                    state := before.followed_by(id, stored, needed, values)
                ) is not None:
                    known.states[ns] = state
                self._weigh(thread, known)

    def put_writes(self, thread: str, answer: Answer, touched: Iterable[tuple[str, str]]) -> None:
        """This process stored or deleted pending writes of checkpoints (namespace and id)."""
        with self._lock:
            if (known := self._written(thread, answer)) is not None:
                for ns, id in touched:
                    if (state := known.states.get(ns)) is not None and id >= state.id:
                        known.states[ns] = replace(state, writes=None) if id == state.id else replace(state, ahead=state.ahead | {id})
                self._weigh(thread, known)

    def _written(self, thread: str, answer: Answer) -> _Thread | None:
        """What is known now; None: what was read holds this write already."""
        known = self._known(thread, answer.epoch)
        at = answer.get("at", answer.seq)
        if known.seq >= at:
            return None
        known.advance(at, answer.get("before"))
        return known

    def _known(self, thread: str, epoch: str) -> _Thread:
        known = self._threads.pop(thread, None)
        if known is None or known.epoch != epoch:
            known = _Thread(epoch)
        self._threads[thread] = known  # the last one
        return known

    def _weigh(self, thread: str, known: _Thread) -> None:
        for ns in [ns for ns, state in known.states.items() if state.size > LARGEST]:
            del known.states[ns]
        size = sum(state.size for state in known.states.values())
        self._bytes += size - self._sizes.get(thread, 0)
        self._sizes[thread] = size
        while len(self._threads) > THREADS or (self._bytes > BYTES and len(self._threads) > 1):
            oldest = next(iter(self._threads))
            del self._threads[oldest]
            self._bytes -= self._sizes.pop(oldest, 0)
