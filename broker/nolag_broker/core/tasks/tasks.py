"""What is decided about tasks for whoever asks: how they end, who gets which, and what their followers and workers are told.

What gives work out (`settle`) runs after each decision: a task is assigned in the turn that dispatches it, when somebody is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...wire.codes import Refusal
from ..turn import BodyAt, Caller
from .live import Live
from .matching import Offer
from .state import TaskState
from .task import CANCELLED, ENDED, INTERRUPTED, RUNNING, SUPERSEDED, WAITING, Holder, Task

if TYPE_CHECKING:
    from ..members import Member, Session

LOST: Final = {"type": "lease_expired", "message": "the worker fell silent for longer than its lease"}
SLOW: Final = {"type": "attempt_timeout", "message": "the attempt took longer than it may"}
NOBODY: Final[Holder] = ("", "")
OVERDUE: Final = "overdue"  # it did not let go in time
LET_GO: Final = frozenset({"handed_back", "failed"})  # it said so itself
UNSERVED: Final = {"type": "tool_not_found", "message": "the last worker that serves this tool left"}


class Tasks(TaskState):
    """The tasks of a room. All parts that decide about tasks do so through this one."""

    def _timed_out(self, task: Task) -> None:
        self.end(task, "task.timed_out", {"task": task.id}, notify="timed_out")

    def _attempt_timed_out(self, task: Task) -> None:
        if (offer := self._detach(task)) is not None:
            offer.linger(task.id, task.token, task.size)
            self._tell_off(offer.session, task, SLOW["type"])
        if task.goes_back:
            env = self._room.env
            delay = task.backoff(env.random())
            self.release(task, SLOW["type"], task.used + 1, SLOW, env.wall + delay if delay else None)
        else:
            self.end(task, "task.failed", {"task": task.id, "error": SLOW, "dead": task.kind != "tool"})

    def _cancel_overdue(self, task: Task) -> None:
        self._let_go(task, OVERDUE)

    def _tell_off(self, session: Session, task: Task, reason: str, until: float | None = None) -> None:
        """The worker is to stop: nothing of this hand-out counts any more, or will after `until`."""
        room = self._room
        frame: dict[str, Any] = {"push": "cancel", "room": room.name, "task": task.id, "token": task.token, "reason": reason}
        if until is not None:
            frame["until"] = until
        elif task.state in ENDED and reason not in (SUPERSEDED, INTERRUPTED) and "let_go" not in (task.error or ()):
            frame["ended"] = True
        room.push(session, frame)

    def take_away(self, task: Task, reason: str) -> None:
        """The worker that has the task is told that it has it no more."""
        if (session := self._leave_holder(task, lingers=True)) is not None:
            self._tell_off(session, task, reason)

    def _leave_holder(self, task: Task, *, lingers: bool) -> Session | None:
        """The task leaves its worker, which may have to be told and `lingers` in it until then. Returns the connection to tell."""
        session = self._holder_at(task)
        if not lingers:
            self.vacate(task)
        elif (offer := self._detach(task)) is not None:
            offer.linger(task.id, task.token, task.size)
        return session

    def _holder_at(self, task: Task) -> Session | None:
        """The connection of whoever holds the task, if there is one."""
        if (live := task.live) is not None and live.offer is not None:
            return live.offer.session
        if task.state != RUNNING or task.offer_number:
            return None
        member = self._room.members.by_holder.get(task.holder or NOBODY)  # it holds the task without an offer
        return None if member is None else member.session

    def end(
        self, task: Task, type: str, data: dict[str, Any], body: bytes | None = None, ct: str | None = None, notify: str | None = None
    ) -> None:
        """The task ends: followers get the result; `notify` is the reason that its worker is given."""
        room, live = self._room, task.live
        session = self._leave_holder(task, lingers=notify is not None)
        room.emit(type, task.type, data, body, ct, task.token or task.seq)
        if notify is not None and session is not None:
            self._tell_off(session, task, notify)
        if live is not None:
            task.live = None
            if live.followers:
                frame = self.result(task)
                for session in live.followers:
                    session.following.pop(task, None)
                    room.push(session, frame)
        room.streams.task_ended(task)

    def cancel(self, task: Task, reason: str | None, *, wait: float = 0.0, forget: bool = False) -> None:
        """The task ends without a result; its worker is told why. With `wait`, a worker that is there has so many seconds to let go of it
        first: until then its hand-out counts, and may still complete the task. With `forget`, nothing of it is kept then."""
        session = self._holder_at(task) if wait else None
        data: dict[str, Any] = {"task": task.id}
        if reason is not None:
            data["reason"] = reason
        if forget:
            data["forget"] = True
        if task.cancelling is not None:
            if not wait:
                self._let_go(task, reason or CANCELLED)
        elif session is None:
            self.end(task, "task.cancelled", data, notify=reason or CANCELLED)
        else:
            data["token"], data["until"] = task.token, self._room.env.wall + wait
            self._room.emit("task.cancelling", task.type, data, parent=task.token)
            self.ask_to_let_go(task, session)

    def ask_to_let_go(self, task: Task, session: Session) -> None:
        """Tell the worker of a task that is being cancelled."""
        cancelling = task.cancelling
        assert cancelling is not None
        self._tell_off(session, task, cancelling.reason or CANCELLED, cancelling.until)

    def _let_go(self, task: Task, how: str) -> None:
        """The cancelled task ends: its hand-out is over, or counts no more from here on."""
        cancelling = task.cancelling
        assert cancelling is not None
        data: dict[str, Any] = {"task": task.id, "let_go": how}
        if cancelling.reason is not None:
            data["reason"] = cancelling.reason
        self.end(task, "task.cancelled", data, notify=None if how in LET_GO else how)

    def cut_off(self, holder: Holder) -> None:
        """The worker's connection is gone: nobody hears any more whether it lets go of what was cancelled."""
        for task in list(self.held.get(holder, {}).values()):
            if task.cancelling is not None:
                self._let_go(task, "disconnected")

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
        """The hand-out ended without a result; the task goes back, unless it was cancelled."""
        if task.cancelling is not None:
            self._let_go(task, reason)
            return
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
            elif task.goes_back:
                self.release(task, "lease_expired", task.used + 1, LOST)
            else:
                self.end(task, "task.failed", {"task": task.id, "error": LOST, "dead": task.kind != "tool"})

    def unserved(self, tool: str) -> None:
        """Nobody serves this tool any more: calls that nobody took end at once."""
        for task in sorted(self._unclaimed.get(tool, ()), key=lambda task: task.seq):
            self.end(task, "task.failed", {"task": task.id, "error": UNSERVED, "dead": False})

    def claim(self, task: Task, member: Member, offer: int) -> Live:
        """The member holds the task from now on, under a new token."""
        data = {
            "task": task.id,
            "token": self._room.seq + 1,
            "attempt": task.attempt + 1,
            "actor": member.actor,
            "instance": member.instance,
            "offer": offer,
        }
        self._room.emit("task.claimed", task.type, data, parent=task.seq)
        live = task.live
        if live is None:
            live = task.live = Live()
        elif task.attempt > 1:
            live.restart()
        return live

    def _hand_out(self, task: Task, offer: Offer) -> None:
        """The offer has the task from now on, unless the wall clock was set since its rate key let it go on, and would not now: then it
        stands back in its line."""
        if (line := task.rate) is not None and not line.of.free(self._room.env.wall):
            self._free_rate(task)
            return
        live = self.claim(task, offer.member, offer.number)
        live.offer = offer
        self.market.occupy(offer, task.size)
        self.push_task(task, offer)

    def vacate(self, task: Task) -> None:
        """The task leaves the offer that held it, if that is still there, and its slot is free."""
        if (offer := self._detach(task)) is not None:
            self._free(offer, task.size)

    def done_with(self, session: Session, id: str, token: int) -> None:
        """The worker has done with a hand-out, whether that was over before or not."""
        for offer in session.offers.values():
            if (size := offer.lingering.pop((id, token), None)) is not None:
                self._free(offer, size)

    def _detach(self, task: Task) -> Offer | None:
        """The task leaves the offer that held it, which is returned: what becomes of the slot is the caller's to say."""
        live = task.live
        if live is None or (offer := live.offer) is None:
            return None
        live.offer = None
        return offer

    def _free(self, offer: Offer, size: int) -> None:
        self.market.vacate(offer, size)
        self._freed.append(offer)

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
            "body": BodyAt(task.payload_seq),
            "dispatcher": task.dispatcher,
            "tells": list(live.tells) if live is not None else [],
        }
        if task.deadline is not None:
            frame["deadline"] = task.deadline
        if task.moment is not None:
            frame["moment"] = task.moment
        if task.attempt_ends is not None:
            frame["attempt_ends"] = task.attempt_ends
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
                    self._hand_out(best, self._preferred(best) or free)
                for task in self._ready:  # let through by that: it competes with the others for the next slot
                    market.add(task)
                    ready[task] = None
                self._ready.clear()
            for task in ready if len(ready) < 2 else sorted(ready, key=lambda task: task.rank):
                if task.queue is None if freed else task.state != WAITING or task in self._ready:
                    continue  # handed out, or its rate was used up by one before it
                if (offer := self._preferred(task) or market.find(task)) is not None:
                    self._hand_out(task, offer)
                elif not freed:
                    market.add(task)

    def _preferred(self, task: Task) -> Offer | None:
        """A free offer of the worker that the task would rather go to."""
        if task.preferred is not None:
            for member in self._room.members.of_actor(task.preferred):
                for offer in () if member.session is None else member.session.offers.values():
                    if offer.used < offer.slots and offer.profile.admits(task):
                        return offer
        return None

    def check_bounds(self, rate_key: str | None, more: int = 1) -> None:
        """Whether there is room for one more, or so many, beside those that decisions will bring. Raises `Refusal` (`overloaded`)."""
        room, bound = self._room, self._room.limits.backlog
        if self.backlog + room.approvals.waking + more > bound:
            raise Refusal("overloaded", f"{bound} tasks wait or run in this room already; nothing was accepted", detail={"max": bound})
        if rate_key is not None and self.rates.full(rate_key, bound := room.limits.rates, room.env.wall):
            raise Refusal("overloaded", f"{bound} rate keys are in use in this room already; nothing was accepted", detail={"max": bound})

    # -- looking tasks up

    def held_by(self, holder: Holder, id: str, token: int) -> Task | None:
        """The task, if it runs and this worker holds it under this token."""
        task = self.by_id.get(id)
        return task if task is not None and task.token == token and task.state == RUNNING and task.holder == holder else None

    def check_lease(self, lease: tuple[str, int] | None, caller: Caller) -> None:
        """Whether the caller holds this task under this token, if it names one. Raises `Refusal` (`stale_lease`): nothing is done then."""
        if lease is None:
            return
        id, token = lease
        if self.held_by((caller.actor, caller.instance), id, token) is None:
            raise Refusal("stale_lease", "the task is not held under this token any more: nothing was done", detail={"task": id})

    def holding(self, id: str, holder: Holder, token: int) -> Task:
        """The running task that this worker holds under this token.

        Raises:
            Refusal: `task_finished`, `stale_lease`. A task that is not known any more was finished by others long ago.
        """
        if (task := self.held_by(holder, id, token)) is not None:
            return task
        task = self.find(id)
        if task is not None and task.state in ENDED and task.token == token and task.holder == holder:
            raise Refusal("task_finished", f"the task is {task.state} already", detail={"state": task.state})
        raise Refusal("stale_lease", "another attempt owns this task, or it is over: stop working on it")

    def find(self, id: str) -> Task | None:
        return self.by_id.get(id) or self.finished.find(id)
