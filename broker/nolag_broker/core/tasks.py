"""The tasks of a room: their life as the log tells it, the indexes over them, and who gets which.

`apply_…` fold events and nothing else changes a task. What gives work out (`settle`) runs after each decision: a task is
assigned in the turn that dispatches it, when somebody is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..wire.codes import Refusal
from .event import Event
from .finished import Finished
from .lanes import Lane
from .live import Live
from .matching import Market, Offer
from .task import CANCELLED, COMPLETED, DELAYED, ENDED, FAILED, FORGOTTEN, PARKED, RUNNING, TIMED_OUT, WAITING, Holder, Task
from .turn import BodyAt

if TYPE_CHECKING:
    from .room import Room

LOST: Final = {"type": "lease_expired", "message": "the worker fell silent for longer than its lease"}
UNSERVED: Final = {"type": "tool_not_found", "message": "the last worker that serves this tool left"}


class Tasks:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.finished = Finished(room)
        self.market = Market()
        self.by_id: dict[str, Task] = {}  # live tasks and dead letters
        self.by_state: dict[str, dict[str, Task]] = {state: {} for state in (WAITING, DELAYED, PARKED, RUNNING, FAILED)}
        self.by_key: dict[tuple[str, str, str], Task] = {}
        self.by_slot: dict[str, Task] = {}
        self.held: dict[Holder, dict[str, Task]] = {}
        self._lanes: dict[str, Lane] = {}
        self._unclaimed: dict[str, dict[Task, None]] = {}  # those that need a live server, by type, until one has them
        self._ready: dict[Task, None] = {}  # began to wait since the last `settle`; not in the market yet
        self._freed: list[Offer] = []  # have a free slot since the last `settle`

    def folds(self) -> dict[str, Any]:
        return {
            "task.dispatched": self.apply_dispatched,
            "task.claimed": self.apply_claimed,
            "task.released": self.apply_released,
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
        self._queue_or_delay(task)
        self._room.touch(task)

    def apply_claimed(self, event: Event) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        self._unqueue(task)
        task.due = None
        task.token = data["token"]
        task.attempt = data["attempt"]
        task.offer_number = data["offer"]
        self._run(task, (data["actor"], data["instance"]))
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

    def _apply_ended(self, event: Event, state: str) -> None:
        data = event.data
        task = self.by_id[data["task"]]
        actor = ""
        if task.state == RUNNING:
            actor = self._stop(task)[0]
        elif (lane := self._unqueue(task)) is not None:
            self._let_through(lane)
        self._room.wall.cancel(task.end_timer)
        if task.slot is not None and self.by_slot.get(task.slot) is task:
            del self.by_slot[task.slot]
        if (error := data.get("error")) is not None:
            task.error = error
            task.errors.append((task.attempt, error, actor))
            if actor:
                task.used += 1
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
            self._leave(task)
            finished.add(task)
        if task.group is not None and (task.idempotency_key is not None or task.dead):
            finished.group(task)
        self._room.touch(task)

    def apply_retried(self, event: Event) -> None:
        task = self.by_id[event.data["task"]]
        self.finished.ungroup(task.id)
        del self.by_state[FAILED][task.id]
        self.by_state[WAITING][task.id] = task
        task.state = WAITING
        task.used = 0
        task.due = task.deadline = task.error = task.holder = task.result_ct = None
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
        tasks = [Task.from_header(row) for key, row in rows.items() if key.startswith("task/")]
        for task in sorted(tasks, key=lambda task: task.end_seq or task.seq):
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
            self.finished.keep(oldest, oldest.header())
            self._remove_dead(oldest)

    def _remove_dead(self, task: Task) -> None:
        del self.by_state[FAILED][task.id]
        self._leave(task)
        task.state = FORGOTTEN
        self._room.touch(task)

    def _set_state(self, task: Task, state: str) -> None:
        by_state = self.by_state
        del by_state[task.state][task.id]
        task.state = state
        by_state[state][task.id] = task

    # -- waiting, delayed, parked

    def _queue_or_delay(self, task: Task, wall: float | None = None) -> None:
        if task.due is not None and (wall is None or task.due > wall):
            self._set_state(task, DELAYED)
            task.due_timer = self._room.wall.at(task.due, self._came_due, task, task.seq)
        else:
            self._queue(task)

    def _queue(self, task: Task) -> None:
        if task.concurrency_key is None:
            self._wait(task)
            return
        lane = self._lanes.get(task.concurrency_key)
        if lane is None:
            lane = self._lanes[task.concurrency_key] = Lane(task.concurrency_key)
        self._set_state(task, PARKED)
        lane.add(task)
        self._let_through(lane)

    def _wait(self, task: Task) -> None:
        self._set_state(task, WAITING)
        self._ready[task] = None

    def _wait_no_more(self, task: Task) -> None:
        if task.queue is not None:
            self.market.remove(task)
        else:
            self._ready.pop(task, None)

    def _let_through(self, lane: Lane) -> None:
        """Let the one task of the lane wait for a worker whose turn it is."""
        following = lane.next()
        if following is not lane.admitted:
            if lane.admitted is not None:
                self._wait_no_more(lane.admitted)
                self._set_state(lane.admitted, PARKED)
            lane.admitted = following
            if following is not None:
                self._wait(following)
        elif following is None and lane.empty:
            del self._lanes[lane.key]

    def _unqueue(self, task: Task) -> Lane | None:
        """The task neither waits nor is delayed or parked any more; the lane it stood in has to let another through."""
        self._wait_no_more(task)
        if task.due_timer is not None:
            self._room.wall.cancel(task.due_timer)
            task.due_timer = None
        if task.require_live and (unclaimed := self._unclaimed.get(task.type)) is not None:
            unclaimed.pop(task, None)
            if not unclaimed:
                del self._unclaimed[task.type]
        if (lane := task.lane) is not None:
            lane.remove(task)
        return lane

    def _run(self, task: Task, holder: Holder) -> None:
        if task.state != RUNNING:
            self._set_state(task, RUNNING)
        task.holder = holder
        held = self.held.get(holder)
        if held is None:
            held = self.held[holder] = {}
        held[task.id] = task
        if (key := task.concurrency_key) is not None:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(key)
            lane.running = task
            self._let_through(lane)

    def _stop(self, task: Task) -> Holder:
        """The task does not run any more."""
        holder = task.holder
        assert holder is not None
        held = self.held[holder]
        del held[task.id]
        if not held:
            del self.held[holder]
        if task.concurrency_key is not None:
            lane = self._lanes[task.concurrency_key]
            lane.running = None
            self._let_through(lane)
        return holder

    # -- when the time comes

    def _came_due(self, task: Task) -> None:
        task.due_timer = None
        self._queue(task)

    def _timed_out(self, task: Task) -> None:
        self.end(task, "task.timed_out", {"task": task.id}, notify="timed_out")

    # -- decided here, for whoever asks

    def end(
        self, task: Task, type: str, data: dict[str, Any], body: bytes | None = None, ct: str | None = None, notify: str | None = None
    ) -> None:
        """The task ends: followers get the result; `notify` is the reason that its worker is given."""
        room, live = self._room, task.live
        holder = self.vacate(task)
        room.emit(type, task.type, data, body, ct, task.token or task.seq)
        if notify is not None and holder is not None:
            room.push(holder.session, {"push": "cancel", "room": room.name, "task": task.id, "token": task.token, "reason": notify})
        if live is not None:
            task.live = None
            if live.followers:
                frame = self.result(task)
                for session in live.followers:
                    session.following.pop(task, None)
                    room.push(session, frame)

    def release(
        self,
        task: Task,
        reason: str,
        attempts: int,
        error: dict[str, Any] | None = None,
        due: float | None = None,
        body: bytes | None = None,
        ct: str | None = None,
    ) -> None:
        """The hand-out ended without a result; the task goes back."""
        self.vacate(task)
        data: dict[str, Any] = {"task": task.id, "token": task.token, "reason": reason, "attempts": attempts}
        if error is not None:
            data["error"] = error
        if due is not None:
            data["due"] = due
        self._room.emit("task.released", task.type, data, body, ct, task.token)
        if task.require_live and not self._room.tools.served(task.type):
            self.end(task, "task.failed", {"task": task.id, "error": UNSERVED, "dead": False})

    def abandon(self, holder: Holder, *, lost: bool) -> None:
        """A worker is gone for good: what it held goes to others, or becomes a dead letter when its attempts are used up."""
        for task in list(self.held.get(holder, {}).values()):
            if not lost:
                self.release(task, "handed_back", task.used)
            elif task.used + 1 < task.max_attempts:
                self.release(task, "lease_expired", task.used + 1, LOST)
            else:
                self.end(task, "task.failed", {"task": task.id, "error": LOST, "dead": task.kind != "tool"})

    def unserved(self, tool: str) -> None:
        """Nobody serves this tool any more: calls that nobody took end at once."""
        for task in list(self._unclaimed.get(tool, ())):
            self.end(task, "task.failed", {"task": task.id, "error": UNSERVED, "dead": False})

    def hand_out(self, task: Task, offer: Offer) -> None:
        room, member = self._room, offer.member
        data = {
            "task": task.id,
            "token": room.seq + 1,
            "attempt": task.attempt + 1,
            "actor": member.actor,
            "instance": member.instance,
            "offer": offer.number,
        }
        room.emit("task.claimed", task.type, data, parent=task.seq)
        live = task.live
        if live is None:
            live = task.live = Live()
        elif task.attempt > 1:
            live.restart()
        live.offer = offer
        self.market.occupy(offer)
        self.push_task(task, offer)

    def vacate(self, task: Task) -> Offer | None:
        """The task leaves the offer that held it, if that is still there."""
        live = task.live
        if live is None or (offer := live.offer) is None:
            return None
        live.offer = None
        self.market.vacate(offer)
        self._freed.append(offer)
        return offer

    def push_task(self, task: Task, offer: Offer) -> None:
        room, live = self._room, task.live
        frame: dict[str, Any] = {
            "push": "task",
            "room": room.name,
            "offer": offer.number,
            "task": task.id,
            "type": task.type,
            "kind": task.kind,
            "attempt": task.attempt,
            "token": task.token,
            "seq": task.seq,
            "body": BodyAt(task.seq),
            "dispatcher": task.dispatcher,
            "tells": list(live.tells) if live is not None else [],
        }
        if task.deadline is not None:
            frame["deadline"] = task.deadline
        if task.ct is not None:
            frame["ct"] = task.ct
        room.push(offer.session, frame)

    def result(self, task: Task) -> dict[str, Any]:
        """The push for those who follow a task that ended."""
        frame: dict[str, Any] = {
            "push": "result",
            "room": self._room.name,
            "task": task.id,
            "state": task.state,
            "seq": task.end_seq,
            "attempt": task.attempt,
        }
        if task.body_seq:
            frame["body"] = BodyAt(task.body_seq)
            if task.result_ct is not None:
                frame["ct"] = task.result_ct
        if task.error is not None:
            frame["error"] = task.error
        return frame

    def open(self, offer: Offer) -> None:
        """The offer takes tasks from now on."""
        self.market.open(offer)
        self._freed.append(offer)

    def close(self, offer: Offer) -> None:
        """The offer is replaced by another one, which says anew what it holds."""
        self.market.close(offer)
        for task in self.held.get(offer.member.holder, {}).values():
            if task.live is not None and task.live.offer is offer:
                task.live.offer = None

    def settle(self) -> None:
        """Give out what can be given out. Freed offers come first: they choose among all that wait; then no task that began to
        wait passes a better one. A task that finds an offer at once never enters the market: nothing in there matches a free
        offer between two calls."""
        market = self.market
        while self._ready or self._freed:
            freed, self._freed = self._freed, []
            ready, self._ready = self._ready, {}
            if freed:
                for task in ready:
                    market.add(task)
            for free in freed:
                while free.used < free.slots and (best := market.best(free.profile)) is not None:
                    self.hand_out(best, free)
            for task in ready if len(ready) < 2 else sorted(ready, key=lambda task: task.rank):
                if freed and task.queue is None:
                    continue
                if (offer := market.find(task)) is not None:
                    self.hand_out(task, offer)
                elif not freed:
                    market.add(task)

    # -- looking tasks up

    def holding(self, id: str, holder: Holder, token: int) -> Task:
        """The running task that this worker holds under this token.

        Raises:
            Refusal: `task_finished`, `stale_lease`. A task that is not known any more was finished by others long ago.
        """
        task = self.by_id.get(id)
        if task is not None and task.token == token and task.state == RUNNING and task.holder == holder:
            return task
        if task is None:
            task = self.finished.find(id)
        if task is not None and task.state in ENDED and task.token == token and task.holder == holder:
            raise Refusal("task_finished", f"the task is {task.state} already", detail={"state": task.state})
        raise Refusal("stale_lease", "another attempt owns this task, or it is over: stop working on it")

    def find(self, id: str) -> Task | None:
        return self.by_id.get(id) or self.finished.find(id)
