"""A process that uses a room: it comes back for ever, and sends again what was not answered, as PROTOCOL.md says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from nolag_broker.server.broker import PATIENCE
from nolag_broker.wire.codec import DIALECT, pack, unpack

from ..history import Operation
from .network import Link

if TYPE_CHECKING:
    from .world import World

ROOM: Final = "room"
Then = Callable[[dict[str, Any]], None]


class Refused(Exception):
    """The room said no; with `maybe_applied` its broker failed."""

    def __init__(self, err: dict[str, Any]) -> None:
        super().__init__(f"{err['code']}: {err['message']}")
        self.code: str = err["code"]
        self.detail: dict[str, Any] = err["detail"]
        self.maybe_applied: bool = err["maybe_applied"]


class _Pending:
    __slots__ = ("answer", "frame", "operation", "sent", "then")

    def __init__(self, frame: dict[str, Any], answer: asyncio.Future[dict[str, Any]], operation: Operation, then: Then) -> None:
        self.frame = frame
        self.then = then
        self.answer = answer
        self.operation = operation
        self.sent = False


class Client:
    """One process of an actor, with the tasks that it runs.

    A role fills `connected` (called on each connection; what is unanswered is sent again after it) and `pushed` (by kind).
    """

    def __init__(self, world: World, actor: str, instance: str) -> None:
        self.actor = actor
        self.instance = instance
        self.name = f"{actor}/{instance}"
        self.world = world
        self.connected: list[Callable[[], None]] = []
        self.pushed: dict[str, Then] = {}
        self.provide: Callable[[dict[str, Any]], Coroutine[Any, Any, None]] | None = None  # the large value that a request refers to
        self.alive = True
        self.paused = False
        self.link: Link | None = None
        self._loop = asyncio.get_running_loop()
        self._welcome = False  # the broker has let this connection in
        self._last_heard = 0.0
        self._last_id = 0
        self._tries = 0
        self._pending: dict[int, _Pending] = {}
        self._of_link: dict[int, Then] = {}  # what is asked on this connection, and asked anew on the next
        self._held: list[Callable[[], None]] = []  # what came while the process was paused
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.call_soon(self._connect)
        self._loop.call_later(world.settings.heartbeat, self._beat)

    # -- what roles use

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A coroutine of this process; it ends with the process."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def ask(self, op: str, then: Then = lambda ok: None, /, **fields: Any) -> dict[str, Any]:
        """The content of the answer, however many connections it takes. `then` has it before anything else that comes is looked at.

        Raises:
            Refused: the room said no, or its broker failed.
        """
        operation = self.world.history.invoke(self.name, op, **fields)
        pending = _Pending({"id": self._next_id(), "op": op, "room": ROOM, **fields}, self._loop.create_future(), operation, then)
        if self.world.chance.random() < 0.3:
            pending.frame["done"] = min(self._pending, default=pending.frame["id"])
        self._pending[pending.frame["id"]] = pending
        self._send(pending)
        response = await pending.answer
        if (err := response.get("err")) is not None:
            raise Refused(err)
        ok: dict[str, Any] = response["ok"]
        return ok

    def ask_here(self, op: str, then: Then = lambda ok: None, /, **fields: Any) -> None:
        """Of this connection only; for `connected`."""
        id = self._next_id()
        self._of_link[id] = then
        self._write({"id": id, "op": op, "room": ROOM, **fields})

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return len(self._pending)

    # -- what faults use

    def kill(self) -> None:
        """Nothing of it goes on; what it asked stays unanswered."""
        self.alive = False
        for task in self._tasks:
            task.cancel()
        if self.link is not None:
            self.link.reset()

    def pause(self, seconds: float) -> None:
        """The process stands still: it hears nothing, says nothing, and does not know."""
        self.paused = True
        self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self.paused = False
        held, self._held = self._held, []
        for event in held:
            event()
        self._send_all(again=False)

    # -- requests

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _send_all(self, *, again: bool) -> None:
        for pending in list(self._pending.values()):
            if again or not pending.sent:
                self._send(pending)

    def _send(self, pending: _Pending) -> None:
        if self._welcome and not self.paused:
            if pending.sent:
                pending.frame["resent"] = True
                self.world.hit("resent")
            pending.sent = True
            self._write(pending.frame)

    def _write(self, frame: dict[str, Any]) -> None:
        if self.link is not None:
            self.link.to_server(pack(frame))

    # -- the connection

    def _connect(self) -> None:
        if not self.alive or self.link is not None:
            return
        if self.paused:
            self._held.append(self._connect)
            return
        link = Link(self.world.network, self)
        if not self.world.host.accept(link):
            self._come_back()
            return
        self.link = link
        self._last_heard = self._loop.time()
        self._write({"type": "auth", "dialect": DIALECT, "token": self.actor, "instance": self.instance})

    def _come_back(self) -> None:
        self._tries = min(self._tries + 1, 5)
        self._loop.call_later(self.world.chance.uniform(0, 0.05 * 2**self._tries), self._connect)

    def broke(self, link: Link) -> None:
        if link is not self.link:
            return
        if self.paused:
            self._held.append(lambda: self.broke(link))
            return
        self.link, self._welcome = None, False
        self._of_link.clear()
        self._come_back()

    def _beat(self) -> None:
        if not self.alive:
            return
        heartbeat = self.world.settings.heartbeat
        if self.link is not None and not self.paused:
            if self._loop.time() - self._last_heard > 2 * heartbeat + PATIENCE:
                self.link.go_silent()
                self.broke(self.link)
            else:
                self.link.to_server(b"")
        self._loop.call_later(heartbeat, self._beat)

    def received(self, link: Link, message: bytes) -> None:
        if link is not self.link or not self.alive:
            return
        if self.paused:
            self._held.append(lambda: self.received(link, message))
            return
        self._last_heard = self._loop.time()
        if message:
            frames = unpack(message)
            for frame in frames if isinstance(frames, list) else [frames]:
                self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if (kind := frame.get("push")) is not None:
            if (pushed := self.pushed.get(kind)) is not None:
                pushed(frame)
        elif "id" in frame:
            self._answered(frame)
        elif frame.get("success"):
            self._welcome, self._tries = True, 0
            for connected in self.connected:
                connected()
            self._send_all(again=True)

    def _answered(self, frame: dict[str, Any]) -> None:
        if (then := self._of_link.pop(frame["id"], None)) is not None:
            if "ok" in frame:
                then(frame["ok"])
            return
        err = frame.get("err")
        if err is not None and err["code"] == "blob_not_found" and self.provide is not None and frame["id"] in self._pending:
            self.run(self._provide(self._pending[frame["id"]], self.provide))
            return
        if (pending := self._pending.pop(frame["id"], None)) is None:
            return  # to what an earlier connection asked
        history, operation = self.world.history, pending.operation
        self.world.said(frame.get("seq", 0), f"the answer to {operation}")
        if err is None:
            history.ok(operation, frame["ok"], frame.get("seq"))
            pending.then(frame["ok"])
        else:
            # The room may have forgotten that it took this completion before: see PROTOCOL.md on holders.
            forgotten = err["code"] == "stale_lease" and "resent" in pending.frame
            history.fail(operation, err["code"], err["detail"], maybe_applied=err["maybe_applied"] or forgotten)
        if not pending.answer.done():
            pending.answer.set_result(frame)

    async def _provide(self, pending: _Pending, provide: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> None:
        """Another broker than the one that was given it: it is given it, and asked again, under the same id."""
        await provide(pending.frame)
        if pending.frame["id"] in self._pending:
            self._send(pending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.broke(error)
