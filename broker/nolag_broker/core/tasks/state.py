"""The tasks of a room as the log tells them, and the indexes over them.

`apply_…` fold events, and nothing else changes a task but the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ..event import Event
from .effects import effects_of
from .finished import Finished
from .lanes import Lane
from .standing import Standing
from .task import CANCELLED, COMPLETED, FAILED, FORGOTTEN, RUNNING, TIMED_OUT, WAITING, Cancelling, Holder, Task

if TYPE_CHECKING:
    from ..room import Room


class TaskState(Standing):
    """Every live task and dead letter, and what finds them. The clock moves tasks too: a delay ends without an event."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.finished = Finished(room)
        self.by_id: dict[str, Task] = {}  # live tasks and dead letters
        self.by_key: dict[tuple[str, str, str], Task] = {}
        self.by_slot: dict[str, Task] = {}
        self.held: dict[Holder, dict[str, Task]] = {}

    def folds(self) -> dict[str, Any]:
        return {
            "task.dispatched": self.apply_dispatched,
            "task.claimed": self.apply_claimed,
            "task.released": self.apply_released,
            "task.cancelling": self.apply_cancelling,
            "task.completed": lambda event: self._apply_ended(event, COMPLETED),
            "task.failed": lambda event: self._apply_ended(event, FAILED),
            "task.cancelled": lambda event: self._apply_ended(event, CANCELLED),
            "task.timed_out": lambda event: self._apply_ended(event, TIMED_OUT),
            "task.retried": self.apply_retried,
            "task.forgotten": self.apply_forgotten,
        }

    @property
    def backlog(self) -> int:
        return len(self.by_id) - len(self.by_state[FAILED])

    # -- the fold

    def apply_dispatched(self, event: Event) -> None:
        task = Task(event)
        self.by_state[WAITING][task.id] = task
        self._enter(task)
        if task.rate_key is not None:
            self.rates.name_limit(task, event.time)
        self._queue_or_delay(task)
        if task.rate_key is not None:
            self._free_rate(task)
        self._room.touch(task)

    def apply_claimed(self, event: Event) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        self._unqueue(task)
        task.due = None
        task.token = data["token"]
        task.attempt = data["attempt"]
        if task.concurrency_key is not None and len((lane := self._lanes[task.concurrency_key]).members) > 1:
            lane.turn = event.seq
            self._room.touch(lane)
        task.offer_number = data["offer"]
        if task.attempt_timeout is not None:
            task.attempt_ends = event.time + task.attempt_timeout
        if task.rate_key is not None:
            self.rates.started(task, event.time)
        self._run(task, (data["actor"], data["instance"]))
        if task.rate_key is not None:
            self._free_rate(task)
        self._room.touch(task)

    def apply_released(self, event: Event) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        holder = self._stop(task)
        if (error := data.get("error")) is not None:
            task.errors.append((task.attempt, error, holder[0]))
        task.holder = None
        task.used = data["attempts"]
        task.due = data.get("due")
        if task.require_live:
            self._unclaimed.setdefault(task.type, {})[task] = None
        self._queue_or_delay(task)
        self._room.touch(task)

    def apply_cancelling(self, event: Event) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        task.cancelling = Cancelling(data["until"], data.get("reason"), data.get("forget", False))
        if task.cancelling.forget and task.idempotency_key is not None:  # whoever comes with the key begins anew
            del self.by_key[task.kind, task.type, task.idempotency_key]
            task.idempotency_key = None
        self._await_cancelled(task)
        self._room.touch(task)

    def _apply_ended(self, event: Event, state: str) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        kept = not (data.get("forget") or (task.cancelling is not None and task.cancelling.forget))
        actor = ""
        if (lane := self._lanes.get(task.concurrency_key or "")) is not None:
            lane.leave(task)
        if task.state == RUNNING:
            actor = self._stop(task)[0]
        else:
            self._unqueue(task)
        if lane is not None:
            self._let_through(lane.line)
            if not lane.members:
                del self._lanes[lane.name]
                self._room.touch(lane)
        if task.rate_key is not None:
            self._free_rate(task)
            self.rates.leave(task, event.time)
        if task.end_timer is not None:
            self._room.wall.cancel(task.end_timer)
        if task.slot is not None and self.by_slot.get(task.slot) is task:
            del self.by_slot[task.slot]
        if (error := data.get("error")) is not None:
            task.error = error
            task.errors.append((task.attempt, error, actor))
            if actor:
                task.used += 1
        if state == CANCELLED:
            task.error = {name: data[name] for name in ("reason", "let_go") if name in data} or None
        del self.by_state[task.state][task.id]
        task.state = state
        task.ended = event.time
        task.end_seq = event.seq
        if event.body is not None:
            task.body_seq = event.seq
            task.result_ct = event.ct
        finished = self.finished
        task.period = finished.period
        if task.dead:
            self._bury(task)
        else:
            self._drop_effects(task)
            self._leave(task)
            if kept:
                finished.add(task)
        if kept and task.group is not None and (task.idempotency_key is not None or task.dead):
            finished.group(task)
        self._room.touch(task)

    def apply_retried(self, event: Event) -> None:
        task = self.by_id[event.data["task"]]
        self.finished.ungroup(task.id)
        del self.by_state[FAILED][task.id]
        self.by_state[WAITING][task.id] = task
        task.state = WAITING
        task.used = 0
        task.deadline = event.data.get("deadline")
        task.due = task.error = task.holder = task.result_ct = None
        task.end_seq = task.body_seq = task.period = 0
        task.ended = 0.0
        self._enter(task)
        self._queue_or_delay(task)
        self._room.touch(task)

    def apply_forgotten(self, event: Event) -> None:
        for id in event.data["tasks"]:
            if (task := self.by_state[FAILED].get(id)) is not None:
                self._remove_dead(task)
                self.finished.ungroup(id)
            else:
                self.finished.forget(id)

    def expire(self) -> None:
        """A new period began: what is older than the last one is not kept any more."""
        oldest = self.finished.period - 1
        for task in list(self.by_state[FAILED].values()):
            if task.period >= oldest:
                break
            self._remove_dead(task)
        self.finished.expire(oldest)

    def load(self, rows: Mapping[str, bytes], wall: float) -> None:
        """From the rows. Running tasks are their holders' own still."""
        self.finished.load(rows)
        self.rates.load(rows)
        for key, row in rows.items():
            if key.startswith("lane/"):
                lane = Lane(*msgpack.unpackb(row))
                lane.stored = True
                self._lanes[lane.name] = lane
        tasks = [Task.from_header(row) for key, row in rows.items() if key.startswith("task/")]
        for task in sorted(tasks, key=_arrival):
            task.stored = True
            self.by_state[task.state][task.id] = task
            if task.state == FAILED:
                self.by_id[task.id] = task
                self._index_key(task)
                continue
            self._enter(task)
            if task.state == RUNNING:
                assert task.holder is not None
                self._run(task, task.holder)
            else:
                self._queue_or_delay(task, wall)
        for task in self._ready:
            self.market.add(task)
        self._ready.clear()

    def _enter(self, task: Task) -> None:
        self.by_id[task.id] = task
        if task.idempotency_key is not None:
            self._index_key(task)
        if task.slot is not None:
            self.by_slot[task.slot] = task
        if task.deadline is not None:
            task.end_timer = self._room.wall.at(task.deadline, self._timed_out, task, task.seq)
        if (name := task.concurrency_key) is not None:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name)
            lane.join(task)
            self._let_through(lane.line)  # its own limit may be lower, and let nobody through
        if task.rate_key is not None:
            self.rates.enter(task)
        if task.require_live and task.state != RUNNING:
            self._unclaimed.setdefault(task.type, {})[task] = None

    def _index_key(self, task: Task) -> None:
        if task.idempotency_key is not None:
            self.by_key[task.kind, task.type, task.idempotency_key] = task

    def _leave(self, task: Task) -> None:
        del self.by_id[task.id]
        if task.idempotency_key is not None:
            del self.by_key[task.kind, task.type, task.idempotency_key]

    def _bury(self, task: Task) -> None:
        """It becomes a dead letter; beyond the bound the oldest one goes where other finished tasks are."""
        dead = self.by_state[FAILED]
        dead[task.id] = task
        if len(dead) > self._room.limits.dead_letters:
            oldest = next(iter(dead.values()))
            self.finished.keep(oldest)
            self._remove_dead(oldest)

    def _remove_dead(self, task: Task) -> None:
        del self.by_state[FAILED][task.id]
        self._leave(task)
        self._drop_effects(task)
        task.state = FORGOTTEN
        self._room.touch(task)

    def _drop_effects(self, task: Task) -> None:
        """It runs no more: nobody asks again what it did."""
        if task.effects:
            self._room.delete_records(effects_of(task.id))
            task.effects = 0

    # -- running

    def _run(self, task: Task, holder: Holder) -> None:
        if task.state != RUNNING:
            self._set_state(task, RUNNING)
        task.holder = holder
        held = self.held.get(holder)
        if held is None:
            held = self.held[holder] = {}
        held[task.id] = task
        if task.attempt_ends is not None:
            task.attempt_timer = self._room.wall.at(task.attempt_ends, self._attempt_timed_out, task, task.seq)
        self._await_cancelled(task)
        if task.concurrency_key is not None:
            lane = self._lanes[task.concurrency_key]
            lane.running += 1
            self._let_through(lane.line)

    def _await_cancelled(self, task: Task) -> None:
        if task.cancelling is not None:
            task.cancel_timer = self._room.wall.at(task.cancelling.until, self._cancel_overdue, task, task.seq)

    def _stop(self, task: Task) -> Holder:
        """The task does not run any more."""
        holder = task.holder
        assert holder is not None
        held = self.held[holder]
        del held[task.id]
        if not held:
            del self.held[holder]
        if task.attempt_timer is not None:
            self._room.wall.cancel(task.attempt_timer)
            task.attempt_timer = task.attempt_ends = None
        if task.cancelling is not None:
            self._room.wall.cancel(task.cancel_timer)
            task.cancel_timer = task.cancelling = None
        if task.concurrency_key is not None:
            lane = self._lanes[task.concurrency_key]
            lane.running -= 1
            self._let_through(lane.line)
        return holder

    # -- when the time comes

    def _timed_out(self, task: Task) -> None:
        """Decided by whoever decides: this only knows when."""
        raise NotImplementedError

    def _attempt_timed_out(self, task: Task) -> None:
        """As `_timed_out`: of the attempt that runs."""
        raise NotImplementedError

    def _cancel_overdue(self, task: Task) -> None:
        """As `_timed_out`: of the time that the holder of a cancelled task has."""
        raise NotImplementedError


def _arrival(task: Task) -> int:
    """By which those of one state stand in the order in which they came into it."""
    return task.token if task.state == RUNNING else task.end_seq or task.seq
