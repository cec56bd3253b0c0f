"""Finished tasks: cold records, so that a million of them cost no memory.

The header of a task that ended goes to the record `kept/<period>/task/<id>` when rows are written, and to `kept/<period>/key/…` when it
has a key. A period is as long as things are kept. When one begins, nobody looks any more into those before the last one, and the server
sweeps their records: so nobody has to remember when each thing ends, and it is kept for one to two periods. A task without a key
goes sooner, when its dispatcher acknowledges the result (`task.ack`).

Dead letters stay among the live tasks (a bounded number): listing them and trying them again then reads nothing cold, and the
log alone says what a retry brings back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgpack

from ...wire.codec import pack
from ..entity import SEPARATOR, Entity
from .task import COMPLETED, Holder, Task

if TYPE_CHECKING:
    from ..room import Room


class Grouped(Entity):
    """A finished task that `task.forget` can still find."""

    __slots__ = ("alive", "group", "id", "idempotency_key", "kind", "period", "seq", "type")

    def __init__(self, id: str, type: str, kind: str, idempotency_key: str | None, group: str, period: int, seq: int) -> None:
        self.stored = False
        self.alive = True
        self.id = id
        self.type = type
        self.kind = kind
        self.idempotency_key = idempotency_key
        self.group = group
        self.period = period
        self.seq = seq

    @property
    def key(self) -> str:
        return "grouped/" + self.id

    def head(self) -> bytes | None:
        if not self.alive:
            return None
        row: bytes = pack((self.id, self.type, self.kind, self.idempotency_key, self.group, self.period, self.seq))
        return row

    def records(self) -> list[str]:
        keys = [f"kept/{self.period}/task/{self.id}"]
        if self.idempotency_key is not None:
            keys.append(f"kept/{self.period}/{key_name(self.kind, self.type, self.idempotency_key)}")
        return keys


def _records(task: Task) -> list[tuple[str, bytes]]:
    header = task.header()
    names = ["task/" + task.id]
    if task.idempotency_key is not None:
        names.append(key_name(task.kind, task.type, task.idempotency_key))
    return [(f"kept/{task.period}/{name}", header) for name in names]


Completion = tuple[Holder | None, int]
"""Who completed a task, under which token."""


def key_name(kind: str, type: str, key: str) -> str:
    return f"key/{kind}{SEPARATOR}{type}{SEPARATOR}{key}"


class Finished(Entity):
    """The records of finished tasks, and what of them is at hand. Its own row says which period it is."""

    key = "period"

    def __init__(self, room: Room) -> None:
        self.stored = False
        self.period = 0
        self.until = 0.0  # when the next one begins
        self._room = room
        self._unwritten: dict[str, Task] = {}  # ended since rows were written last
        self._unwritten_keys: dict[tuple[str, str, str], Task] = {}
        self._recent: dict[str, Task] = {}  # these, and a cache of records
        self._acknowledged: dict[str, Completion] = {}  # for a worker that sends a completion again
        self._acknowledged_before: dict[str, Completion] = {}
        self._grouped: dict[str, Grouped] = {}
        self._groups: dict[str, dict[str, Grouped]] = {}

    def head(self) -> bytes | None:
        row: bytes = pack(self.period)
        return row

    # -- periods

    def advance(self, time: float) -> None:
        """A new period begins with an event of this time, `until` or later. Then `expire` is to follow."""
        period = int(time // self._room.limits.keep)
        self._begin(period)
        for task in [task for task in self._recent.values() if task.period < self.oldest]:
            del self._recent[task.id]
            if task.id in self._unwritten:
                self._unwrite(task)
        self._room.touch(self)

    def _begin(self, period: int) -> None:
        self.period = period
        self.until = (period + 1) * self._room.limits.keep

    @property
    def oldest(self) -> int:
        """The first period that anything is looked for in."""
        return self.period - 1

    def expire(self, oldest: int) -> None:
        """Nothing from before this period is found any more."""
        for entry in list(self._grouped.values()):
            if entry.period >= oldest:
                break
            self._drop(entry)

    def places(self, name: str) -> tuple[str, str]:
        """Where something kept under this name may be."""
        return f"kept/{self.period}/{name}", f"kept/{self.period - 1}/{name}"

    # -- tasks that ended

    def add(self, task: Task) -> None:
        """The task ended and is no dead letter. Its records are written behind the log: most tasks are acknowledged by then."""
        self._unwritten[task.id] = self._recent[task.id] = task
        if task.idempotency_key is not None:
            self._unwritten_keys[task.kind, task.type, task.idempotency_key] = task

    def keep(self, task: Task) -> None:
        """A dead letter becomes a record."""
        for key, row in _records(task):
            self._room.put_record(key, row)

    def write(self, records: dict[str, bytes | None]) -> None:
        """Add what ended since the last time. Only here the cache is cut: what needed no reading is at hand when it is decided on."""
        for task in self._unwritten.values():
            records.update(_records(task))
        while len(self._recent) > self._room.limits.finished:
            del self._recent[next(iter(self._recent))]
        self._unwritten.clear()
        self._unwritten_keys.clear()

    def _unwrite(self, task: Task) -> None:
        del self._unwritten[task.id]
        if task.idempotency_key is not None:
            del self._unwritten_keys[task.kind, task.type, task.idempotency_key]

    def group(self, task: Task) -> None:
        """The task ended, has a group and is kept: `task.forget` is to find it."""
        assert task.group is not None
        self._enter(Grouped(task.id, task.type, task.kind, task.idempotency_key, task.group, task.period, task.end_seq))

    def members_of(self, group: str) -> list[Grouped]:
        return list(self._groups.get(group, {}).values())

    def forget(self, id: str) -> None:
        if (entry := self._grouped.get(id)) is None:
            return
        if (task := self._unwritten.get(id)) is not None:
            self._unwrite(task)
        for key in entry.records():
            self._room.put_record(key, None)
        self._recent.pop(id, None)
        self._drop(entry)

    def ungroup(self, id: str) -> None:
        if (entry := self._grouped.get(id)) is not None:
            self._drop(entry)

    def load(self, rows: Mapping[str, bytes]) -> None:
        if row := rows.get(self.key):
            self._begin(msgpack.unpackb(row))
            self.stored = True
        entries = [Grouped(*msgpack.unpackb(row)) for key, row in rows.items() if key.startswith("grouped/")]
        for entry in sorted(entries, key=lambda entry: entry.seq):
            entry.stored = True
            self._enter(entry)

    def _enter(self, entry: Grouped) -> None:
        self.ungroup(entry.id)  # an id that was used before
        self._grouped[entry.id] = entry
        self._groups.setdefault(entry.group, {})[entry.id] = entry
        if not entry.stored:
            self._room.touch(entry)
        if len(self._grouped) > self._room.limits.grouped:
            self._drop(next(iter(self._grouped.values())))

    def _drop(self, entry: Grouped) -> None:
        entry.alive = False
        del self._grouped[entry.id]
        group = self._groups[entry.group]
        del group[entry.id]
        if not group:
            del self._groups[entry.group]
        self._room.touch(entry)

    # -- finding them again

    def needs(self, id: str) -> tuple[str, ...]:
        """The records that may hold this task."""
        return () if id in self._recent else self.places("task/" + id)

    def needs_key(self, kind: str, type: str, key: str) -> tuple[str, ...]:
        return () if (kind, type, key) in self._unwritten_keys else self.places(key_name(kind, type, key))

    def find(self, id: str) -> Task | None:
        """A finished task. Its records must have been named by `needs`."""
        return self._recent.get(id) or self._read(self.needs(id))

    def find_key(self, kind: str, type: str, key: str) -> Task | None:
        return self._unwritten_keys.get((kind, type, key)) or self._read(self.needs_key(kind, type, key))

    def _read(self, keys: tuple[str, ...]) -> Task | None:
        for key in keys:
            if (header := self._room.cold(key)) is not None:
                return Task.from_header(header)
        return None

    def acknowledge(self, task: Task) -> None:
        """The dispatcher has the result. What has a key stays: somebody may ask for it again."""
        if task.idempotency_key is not None:
            return
        if task.id in self._unwritten:
            self._unwrite(task)
        else:
            self._room.put_record(f"kept/{task.period}/task/{task.id}", None)
        self._recent.pop(task.id, None)
        if task.state != COMPLETED:
            return
        # In halves: to find its oldest entry a dict steps over all that were deleted before it.
        if len(self._acknowledged) >= self._room.limits.finished // 2:
            self._acknowledged_before, self._acknowledged = self._acknowledged, {}
        # Not the task itself: its memory goes to the next one while it is still in the processor's cache.
        self._acknowledged[task.id] = task.holder, task.token

    def completed_by(self, id: str, holder: Holder, token: int) -> bool:
        """Whether exactly this hand-out completed the task, acknowledged since or not."""
        completion = self._acknowledged.get(id) or self._acknowledged_before.get(id)
        if completion is None and (task := self.find(id)) is not None and task.state == COMPLETED:
            completion = task.holder, task.token
        return completion == (holder, token)
