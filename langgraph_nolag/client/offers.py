"""All offers of a room, on the I/O thread: made again in every session, with what is held under them."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..errors import Disconnected, NoLagError, StaleLease, from_wire
from .chance import CHANCE
from .connection import OVERHEAD
from .failure import failure
from .io import settle_blocking
from .offer import Assigned, Offer
from .requests import Answer, OnAnswer
from .standing import establish

if TYPE_CHECKING:
    from .link import RoomLink

log = logging.getLogger("langgraph_nolag")

KEPT_PROGRESS: Final = 1 << 20  # bytes a task, said again after a reconnect
_UNSTORABLE: Final = ("message_too_large", "bad_request", "not_authorized", "key_conflict", "blob_not_found", "blob_damaged")
_UNSAID: Final = {"type": "Unknown", "message": "how it failed could not be sent; the worker's log may say more"}


class Offers:
    """All offers of a room. On the I/O thread, but for `finish` and `progress`."""

    phase = 0

    def __init__(self, link: RoomLink) -> None:
        self.link = link
        self._offers: dict[int, Offer] = {}
        self._held: dict[str, Assigned] = {}
        self._own: dict[str, Callable[[str], None]] = {}  # tasks that we began ourselves, and who is told when they are not ours any more

    # --- from any thread ------------------------------------------------------------------------------------

    def finish(self, task: Assigned, op: str, fields: dict[str, Any], on_answer: OnAnswer | None) -> None:
        self.link.connection.io.post(self._finish, task, op, fields, on_answer)

    def progress(self, task: Assigned, body: bytes, ct: str | None, on_answer: OnAnswer | None) -> None:
        fields: dict[str, Any] = {"task": task.task, "token": task.token, "body": body}
        if ct is not None:
            fields["ct"] = ct
        self.link.connection.io.post(self._progress, task, fields, on_answer)

    def own(self, task: str, on_lost: Callable[[str], None]) -> None:
        self.link.connection.io.post(self._own.__setitem__, task, on_lost)

    def disown(self, task: str) -> None:
        self.link.connection.io.post(self._own.pop, task, None)

    # --- standing -------------------------------------------------------------------------------------------

    def start(self, offer: Offer) -> None:
        ended = self.link.connection.ended
        if ended is not None:
            _settle(offer.ready, ended)
            return
        offer.number = self.link.connection.number()
        self._offers[offer.number] = offer
        self.link.ensure_joined()
        self._serve(offer)

    def restore(self) -> None:
        for offer in list(self._offers.values()):
            self._serve(offer)
        for task in list(self._held.values()):
            for fields in task._kept:
                self.link.note("task.progress", **fields)

    def _serve(self, offer: Offer) -> None:
        """Stand (again), with what is held, and what still runs though it was lost: it has slots too. What this offer finished but has
        no answer for is still held."""
        if offer.closing and not offer.held:
            self._drop(offer)
            return
        holding, lingering = dict(offer.held), list(offer.lingering)
        fields = dict(offer.fields, offer=offer.number, holding=_leases(holding.values()))
        if lingering:
            fields["lingering"] = _leases(lingering)
        if offer.closing:
            fields["slots"] = len(offer.held)  # all of them taken: nothing new comes

        def served(answer: Answer) -> None:
            lost = [holding[id] for id in answer.get("lost", ())]
            for task in lost:
                if offer.held.get(task.task) is task:
                    self._lose(task)
            for task in (*lingering, *lost):
                if task not in offer.lingering:  # its end was heard before this, or is answered as before: nothing else frees its slot
                    self._release_slot(task)
            _settle(offer.ready, None)
            if offer.closing:  # slots become free while it drains
                self._give_up(offer.number)

        establish(
            self.link,
            "task.serve",
            fields,
            served,
            lambda error: self._refused(offer, error),
            wanted=lambda: self._offers.get(offer.number) is offer,
        )

    def _give_up(self, number: int) -> None:
        self.link.connection.give_up({"op": "task.unserve", "room": self.link.room, "offer": number})

    def _refused(self, offer: Offer, error: NoLagError) -> None:
        log.error("the offer of %s in room %s was refused: %s", offer.kind, self.link.room, error)
        self._offers.pop(offer.number, None)
        for task in list(offer.held.values()):
            self._lose(task, even_finishing=True)
        if not _settle(offer.ready, error):
            offer.closing = True
            self.link.shut_out.set(error)
        offer.settle_idle()

    def on_unserved(self, frame: dict[str, Any]) -> None:
        """The room gives us nothing more under an offer. What we hold of it is still ours to finish, in this session."""
        offer = self._offers.get(frame["offer"])
        if offer is None or offer.closing:
            return
        error = from_wire(frame["err"])
        log.error("the offer of %s in room %s has ended: %s", offer.kind, self.link.room, error)
        offer.closing = True
        self.link.shut_out.set(error)
        if not offer.held:
            self._drop(offer)
            offer.settle_idle()

    def stop(self, offer: Offer, drain: bool, idle: concurrent.futures.Future[None]) -> None:
        if not offer.closing:
            offer.closing = True
            if offer.number in self._offers:
                self._give_up(offer.number)
        if not drain:
            for task in list(offer.held.values()):
                if not task.finishing:
                    self._finish(task, "task.release", {}, None)
        if not offer.held:
            self._drop(offer)
        offer.wait_idle(idle)

    def _drop(self, offer: Offer) -> None:
        self._offers.pop(offer.number, None)
        _settle(offer.ready, Disconnected("the offer was closed before it stood", detail={"closed": True}))

    def on_ended(self, error: NoLagError) -> None:
        for offer in list(self._offers.values()):
            self._offers.pop(offer.number, None)
            offer.closing = True
            for task in list(offer.held.values()):
                self._lose(task, even_finishing=True)
            _settle(offer.ready, error)
            offer.settle_idle()

    # --- tasks ----------------------------------------------------------------------------------------------

    def on_task(self, frame: dict[str, Any]) -> None:
        offer = self._offers.get(frame["offer"])
        held = self._held.get(frame["task"])
        if held is not None:
            if held.token == frame["token"]:
                return  # handed out again to a returning connection: we have it
            self._lose(held, even_finishing=True)
        if offer is None or offer.closing:
            self._give_up(frame["offer"])  # else what is handed back comes again, and again
            self.link.note("task.release", task=frame["task"], token=frame["token"])
            return
        task = Assigned(offer, frame)
        offer.held[task.task] = self._held[task.task] = task
        offer.on_task(task)

    def on_cancel(self, frame: dict[str, Any]) -> None:
        if (on_lost := self._own.pop(frame["task"], None)) is not None:
            on_lost(frame.get("reason") or "cancelled")
            return
        task = self._held.get(frame["task"])
        if task is not None and task.token == frame["token"] and task.offer.on_cancel is not None:
            task.over = frame.get("ended", False)
            task.counts_until = frame.get("until")
            task.offer.on_cancel(task, frame.get("reason") or "cancelled")

    def on_tell(self, frame: dict[str, Any]) -> None:
        task = self._held.get(frame["task"])
        if task is None:
            return
        if (n := frame.get("n")) is not None:
            if n <= task._told:  # after a reconnect all that are kept come again
                return
            task._told = n
        if task.offer.on_tell is not None:
            task.offer.on_tell(task, frame["body"])

    def _progress(self, task: Assigned, fields: dict[str, Any], on_answer: OnAnswer | None) -> None:
        if task.lost or task.finishing:
            if on_answer is not None:
                on_answer(None, StaleLease(f"task {task.task} is not ours any more"))
            return
        task._n += 1
        fields["n"] = task._n
        task._kept.append(fields)
        task._kept_bytes += OVERHEAD + len(fields["body"])
        while task._kept_bytes > KEPT_PROGRESS and len(task._kept) > 1:
            task._kept_bytes -= OVERHEAD + len(task._kept.popleft()["body"])
        if on_answer is None:
            try:
                self.link.send("task.progress", **fields)
            except NoLagError as error:  # it is kept, and said again after a reconnect
                log.debug("progress of task %s waits: %s", task.task, error)
            return

        def answered(answer: Answer | None, error: NoLagError | None) -> None:
            if isinstance(error, StaleLease):
                self._lose(task)
            on_answer(answer, error)

        self.link.connection.ask({"op": "task.progress", "room": self.link.room, **fields}, answered, insist=True)

    def _finish(self, task: Assigned, op: str, fields: dict[str, Any], on_answer: OnAnswer | None) -> None:
        if task.lost or task.finishing:
            reason = StaleLease(f"task {task.task} is not ours any more")
            task.over &= not task.lost
            if task in task.offer.lingering:
                del task.offer.lingering[task]
                self._release_slot(task)
            if on_answer is not None:
                on_answer(None, reason)
            elif op != "task.release":
                log.warning("the end of task %s (%s) does not count: it is not ours any more", task.task, task.type)
            return
        task.finishing = True
        self._send_end(task, op, fields, on_answer, 0)

    def _send_end(self, task: Assigned, op: str, fields: dict[str, Any], on_answer: OnAnswer | None, tries: int) -> None:
        def answered(answer: Answer | None, error: NoLagError | None) -> None:
            if error is not None and error.code == "overloaded":
                delay = CHANCE.uniform(0.05, min(5.0, 0.1 * 2**tries))
                self.link.connection.io.loop.call_later(delay, self._send_end, task, op, fields, on_answer, tries + 1)
                return
            if error is not None and error.code in _UNSTORABLE and (instead := _instead(op, fields, error)) is not None:
                log.warning("the end of task %s (%s) can't be stored: %s", task.task, task.type, error)
                self._send_end(task, *instead, on_answer, 0)
                return
            self._forget(task)
            if error is not None:  # it was lost, or goes to another worker
                task.over = False
            if on_answer is not None:
                on_answer(answer, error)
            elif error is not None and op != "task.release":
                log.warning("the end of task %s (%s) does not count: %s: %s", task.task, task.type, error.code, error)

        frame = {"op": op, "room": self.link.room, "task": task.task, "token": task.token, **fields}
        self.link.connection.ask(frame, answered, None, len(fields.get("body") or b""), insist=True)

    def _lose(self, task: Assigned | None, *, even_finishing: bool = False) -> None:
        """The task is not ours any more. While its end is under way, the answer to that will tell."""
        if task is None or task.lost or (task.finishing and not even_finishing):
            return
        task.lost = True
        self._forget(task)
        if task.offer.on_lost is not None and not task.finishing:
            task.offer.lingering[task] = None
            task.offer.on_lost(task)

    def _release_slot(self, task: Assigned) -> None:
        """We have done with what is not ours any more."""
        self.link.connection.give_up({"op": "task.release", "room": self.link.room, "task": task.task, "token": task.token})

    def _forget(self, task: Assigned) -> None:
        task._kept.clear()
        offer = task.offer
        if offer.held.get(task.task) is task:
            del offer.held[task.task]
        if self._held.get(task.task) is task:
            del self._held[task.task]
        if offer.closing and not offer.held:
            self._drop(offer)
            offer.settle_idle()


def _instead(op: str, fields: dict[str, Any], error: NoLagError) -> tuple[str, dict[str, Any]] | None:
    """What is sent where an end was refused for what is in it, at the latest that the task is handed back: held, it would run for ever."""
    if op == "task.complete":  # the result can't be stored: that is how the task failed, and only a worker that may more could mend it
        return "task.fail", {"error": failure(error), "retry": error.code == "not_authorized"}
    if op == "task.fail":
        return ("task.release", {}) if fields["error"] == _UNSAID else ("task.fail", {"error": _UNSAID, "retry": bool(fields["retry"])})
    return None


def _leases(tasks: Iterable[Assigned]) -> list[list[Any]]:
    return [[task.task, task.token] for task in tasks]


def _settle(future: concurrent.futures.Future[None], error: NoLagError | None) -> bool:
    """False when it was settled before."""
    return not future.done() and settle_blocking(future, None, error)
