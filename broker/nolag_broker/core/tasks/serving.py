"""What workers ask: to be given tasks, and to say how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...wire.codes import Refusal
from ..commands.serving import TaskComplete, TaskFail, TaskProgress, TaskRelease, TaskServe, TaskUnserve
from ..members import Member, Session
from ..turn import Caller
from .live import Live, Progress
from .matching import Offer
from .task import COMPLETED, Task

if TYPE_CHECKING:
    from ..room import Room

MAX_OFFERS = 256  # of one connection


class Serving:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._tasks = room.tasks

    def operations(self) -> dict[type, Any]:
        return {
            TaskServe: self.serve,
            TaskUnserve: self.unserve,
            TaskComplete: self.complete,
            TaskFail: self.fail,
            TaskRelease: self.release,
            TaskProgress: self.progress,
        }

    def serve(self, command: TaskServe, caller: Caller) -> dict[str, Any]:
        room = self._room
        member = room.members.joined(caller)
        for name in command.types or ("**",):
            room.allow("claim", name)
        if command.kind == "tool" and not command.types:
            raise Refusal("bad_request", "a tool server names its tools in types", detail={"field": "types"})
        if command.specs and not command.specs.keys() <= (command.types or frozenset()):
            raise Refusal("bad_request", "specs describes tools that types does not name", detail={"field": "specs"})
        session = room.members.session(caller)
        if (before := session.offers.pop(command.offer, None)) is not None:
            self._tasks.close(before)
        elif len(session.offers) >= MAX_OFFERS:
            raise Refusal("overloaded", f"a connection makes at most {MAX_OFFERS} offers")
        profile = self._tasks.market.profile(command.kind, command.types, command.capabilities)
        offer = Offer(session, command.offer, member, profile, command.slots)
        holding = dict(command.holding)
        lost = self._reconcile(offer, member, holding)
        for lease in dict.fromkeys((*command.lingering, *[(id, holding[id]) for id in lost])):
            offer.take(0)
            offer.linger(*lease)
        session.offers[command.offer] = offer
        self._tasks.open(offer)
        tools = command.types if command.kind == "tool" else None
        room.tools.register(member, offer.number, tools or frozenset(), command.specs or {})
        return {"lost": lost}

    def _reconcile(self, offer: Offer, member: Member, holding: dict[str, int]) -> list[str]:
        """Bring both sides to one view: what the worker still holds, what it never got, what is not its own any more."""
        tasks = self._tasks
        held = tasks.held.get(member.holder, {})
        for task in list(held.values()):
            live = task.live
            if live is None:
                live = task.live = Live()
            if live.offer is not None:
                continue
            if holding.get(task.id) == task.token:
                live.offer = offer
                offer.take(task.size)
                for n in range(len(live.tells)):
                    push_tell(self._room, offer.session, task, live, n)
                if task.cancelling is not None:
                    tasks.ask_to_let_go(task, offer.session)
            elif task.offer_number != offer.number:
                continue
            elif task.cancelling is None and offer.profile.admits(task):
                live.offer = offer
                offer.take(task.size)
                tasks.push_task(task, offer)
            else:
                tasks.release(task, "handed_back", task.used)
        return [id for id, token in holding.items() if (mine := held.get(id)) is None or mine.token != token]

    def unserve(self, command: TaskUnserve, caller: Caller) -> dict[str, Any]:
        members = self._room.members
        self._withdraw(members.joined(caller), members.session(caller), command.offer)
        return {}

    def refreshed(self, session: Session, caller: Caller) -> None:
        """The caller has other grants than before: offers of what it may not claim any more end. What it holds, it may finish."""
        for offer in list(session.offers.values()):
            refused = [name for name in offer.profile.types or ("**",) if not caller.grants.allows("claim", self._room.name, name)]
            if refused:
                self._withdraw(offer.member, session, offer.number)
                refusal = Refusal("not_authorized", f"the token's grants do not cover 'claim' on {refused[0]!r} any more")
                self._room.push(session, {"push": "unserved", "room": self._room.name, "offer": offer.number, "err": refusal.to_wire()})

    def _withdraw(self, member: Member, session: Session, number: int) -> None:
        if (offer := session.offers.pop(number, None)) is not None:
            self._tasks.market.close(offer)
        self._room.tools.register(member, number, frozenset(), {})

    def complete(self, command: TaskComplete, caller: Caller) -> dict[str, Any]:
        tasks = self._tasks
        try:
            task = self._done_with(command, caller)
        except Refusal:
            if tasks.finished.completed_by(command.task, (caller.actor, caller.instance), command.token):
                return {"state": COMPLETED}  # sent again: it was applied
            raise
        if command.approvals:
            self._room.approvals.check(command.approvals, ending=1)
            for request in command.approvals:
                self._room.approvals.open(request)
        tasks.end(task, "task.completed", {"task": task.id, "token": task.token}, command.body, command.ct)
        return {"state": COMPLETED}

    def fail(self, command: TaskFail, caller: Caller) -> dict[str, Any]:
        tasks, env = self._tasks, self._room.env
        task = self._done_with(command, caller)
        if task.goes_back and (command.retry or task.cancelling is not None):
            delay = task.backoff(env.random()) if command.delay is None else command.delay
            due = env.wall + delay if delay else None
            tasks.release(task, "failed", task.used + 1, command.error, due, command.body, command.ct)
        else:
            data = {"task": task.id, "error": command.error, "dead": task.kind != "tool"}
            tasks.end(task, "task.failed", data, command.body, command.ct)
        return {"state": task.state, "attempt": task.attempt}

    def release(self, command: TaskRelease, caller: Caller) -> dict[str, Any]:
        task = self._done_with(command, caller)
        self._tasks.release(task, "handed_back", task.used)
        return {}

    def _done_with(self, command: TaskComplete | TaskFail | TaskRelease, caller: Caller) -> Task:
        """The running task that ends. Raises `Refusal` as `Tasks.holding` does; what lingered in its slot is gone then, too."""
        try:
            return self._tasks.holding(command.task, (caller.actor, caller.instance), command.token)
        except Refusal:
            self._tasks.done_with(self._room.members.session(caller), command.task, command.token)
            raise

    def progress(self, command: TaskProgress, caller: Caller) -> dict[str, Any]:
        task = self._tasks.holding(command.task, (caller.actor, caller.instance), command.token)
        live = task.live
        if live is None:
            live = task.live = Live()
        if command.n > live.n:  # otherwise sent again after a reconnect
            progress = Progress(command.n, command.body, command.ct)
            live.remember(progress, self._room.limits.progress)
            for session, last in live.followers.items():
                if command.n > last:
                    push_progress(self._room, session, task, last, progress)
                    live.followers[session] = command.n
        return {}


def push_progress(room: Room, session: Session, task: Task, last: int, progress: Progress) -> None:
    """One progress to one follower whose last one is `last`; what lies between is gone, and that is said."""
    frame: dict[str, Any] = {"push": "progress", "room": room.name, "task": task.id, "attempt": task.attempt}
    if progress.n > last + 1:
        room.push(session, {**frame, "gap": [last + 1, progress.n - 1]})
    frame["n"] = progress.n
    frame["body"] = progress.body
    if progress.ct is not None:
        frame["ct"] = progress.ct
    room.push(session, frame)


def push_tell(room: Room, session: Session, task: Task, live: Live, index: int) -> None:
    room.push(session, {"push": "tell", "room": room.name, "task": task.id, "n": index + 1, "body": live.tells[index]})
