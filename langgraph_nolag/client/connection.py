"""One connection to a broker, for as long as it is wanted: it comes back by itself and takes up where it was.

Everything here runs on the I/O thread, but for what "An agent's side" holds, which may be called from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nolag_broker.wire.codes import Refusal

from ..errors import ActorMismatch, BadRequest, BrokerUnreachable, Disconnected, NoLagError, from_wire
from .asking import REQUEST_TIMEOUT, Asking
from .chance import CHANCE
from .credentials import Token
from .fetches import Fetches
from .io import hand_back, io_thread, settle
from .large import Place, Value, in_answer, take_out
from .reconnecting import stay_connected
from .requests import Allowance, Answer, OnAnswer, Pending, weigh
from .sender import Sender
from .socket import Socket
from .tokens import Tokens, keep_fresh

if TYPE_CHECKING:
    from .link import RoomLink
    from .numbered import Numbered

log = logging.getLogger("langgraph_nolag")

LONGEST_RETRY = 5.0  # seconds, or half a lease: however long a broker was away, its workers are back before it gives their tasks to others
OVERHEAD = 256  # bytes a request counts beside its body


class Connection(Asking):
    """A connection that reconnects for ever, with capped and jittered backoff.

    After every reconnect, in this order: authentication (with a fresh token from the provider), the rooms with their offers,
    inboxes, subscriptions and followed tasks, then every request that has no answer yet, in its old order. Until then calls wait.
    It ends, loudly, only when it is closed, when the broker says not to come back, or when the first attempt found no broker.

    Args:
        url: `ws://HOST:PORT`.
        token: a token, or a provider of fresh ones.
        actor: the actor that the token must be for; None: whichever.
        connect_timeout: seconds to try before a first connect is given up; None: for ever.
        max_buffer: bytes that may wait for the broker.
        on_disconnected: told, on the I/O thread, when the connection ended for good.

    Raises:
        BadRequest: a token or a timeout that is none.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        actor: str | None = None,
        connect_timeout: float | None = 10.0,
        max_buffer: int = 128 << 20,
        on_disconnected: Callable[[NoLagError], object] | None = None,
    ) -> None:
        if connect_timeout is not None and not (isinstance(connect_timeout, (int, float)) and 0 <= connect_timeout < math.inf):
            raise BadRequest(f"timeout is a number of seconds, or None, not {connect_timeout!r}", detail={"field": "timeout"})
        self.url = url
        self.instance = secrets.token_hex(16)
        self.actor = actor or ""  # known once connected
        self.roles: tuple[str, ...] = ()
        self.io = io_thread()
        self._tokens = Tokens(token)
        self._expected_actor = actor
        self._connect_timeout = connect_timeout
        self._on_disconnected = on_disconnected
        self._allowance = Allowance(max_buffer)
        self._sender = Sender(self.io.loop, self._allowance, self.establish)
        self._unanswered = self._sender.unanswered
        self._links: dict[str, RoomLink] = {}
        self._subscriptions: dict[int, Numbered] = {}
        self._numbers = 0
        self._socket: Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: list[Callable[[NoLagError | None], None]] = []  # who waits for the first session
        self._ended: NoLagError | None = None
        self._longest_retry = LONGEST_RETRY
        self.fetches = Fetches(self)

    # --- An agent's side: from any thread -------------------------------------------------------------------

    def frame(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"op": op, **fields}

    def ask(
        self,
        frame: dict[str, Any],
        on_answer: OnAnswer,
        timeout: float | None = REQUEST_TIMEOUT,
        size: int | None = None,
        *,
        insist: bool = False,
        patient: bool = False,
        first: Callable[[], object] | None = None,
    ) -> None:
        """Send a request; `on_answer` is told once, on the I/O thread. The frame is ours from now on.

        Args:
            frame: the request, without an id.
            on_answer: told the answer or the error.
            timeout: seconds; None: it waits as long as the connection lives.
            size: bytes of the bodies in the frame; None: they are counted.
            insist: never `BufferFull`.
            patient: another request follows as a rule: this one leaves with it, or a millisecond later at the latest.
            first: called on the I/O thread before it is sent.

        Raises:
            BufferFull: nothing was sent, nor `first` called.
        """
        cost = OVERHEAD + (weigh(frame) if size is None else size)
        self._allowance.take(cost, insist=insist)
        if self.io.is_current and self.io.idle:
            self._ask(frame, on_answer, timeout, cost, take_out(frame), patient, first)
        else:
            self.io.post(self._ask, frame, on_answer, timeout, cost, take_out(frame), patient, first)

    def tell(self, frame: dict[str, Any], *, insist: bool = False) -> None:
        """Send what has no answer. It is dropped while there is no connection.

        Args:
            frame: the request, without an id.
            insist: never `BufferFull`.

        Raises:
            BufferFull: nothing was sent.
        """
        cost = OVERHEAD + weigh(frame)
        self._allowance.take(cost, insist=insist)
        self.io.post(self._sender.tell, frame, cost, take_out(frame))

    async def aopen(self) -> None:
        """Wait for the first session. Raises `BrokerUnreachable`, `AccessDenied`, `ActorMismatch`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self.io.post(self._open, lambda error: hand_back(loop, settle, future, True if error is None else None, error))
        await future

    def open(self) -> None:
        """Block for the first session. Raises as `aopen` does, and `WrongThread`."""
        self.io.run(self.aopen())

    async def aclose(self, timeout: float = 2.0) -> None:
        """Leave the rooms and close; what has no answer after `timeout` seconds raises `Disconnected`."""
        await asyncio.wrap_future(self.io.submit(self._close(timeout)))

    def close(self, timeout: float = 2.0) -> None:
        """The blocking form of `aclose`."""
        self.io.run(self._close(timeout))

    # --- For links and what is built on them: on the I/O thread ---------------------------------------------

    @property
    def is_live(self) -> bool:
        return self._socket is not None

    @property
    def session(self) -> object:
        """Something that differs from session to session; None between them."""
        return self._socket

    @property
    def ended(self) -> NoLagError | None:
        """Why the connection is over for good; None while it is not."""
        return self._ended

    def number(self) -> int:
        """A number for an offer or a subscription, unique on this connection."""
        self._numbers += 1
        return self._numbers

    def link(self, room: str, make: Callable[[Connection, str], RoomLink]) -> RoomLink:
        """The one link to a room. From any thread."""
        link = self._links.get(room)
        return link if link is not None else self._links.setdefault(room, make(self, room))

    def route(self, number: int, subscription: Numbered | None) -> None:
        """Send the pushes of one subscription number somewhere; None: nowhere any more."""
        if subscription is None:
            self._subscriptions.pop(number, None)
        else:
            self._subscriptions[number] = subscription

    def establish(self, frame: dict[str, Any], on_answer: OnAnswer) -> None:
        """A request that is part of what each session begins with. Without a session nothing happens: the next one restores it."""
        if self._ended is not None:
            on_answer(None, self._ended)
        elif self._socket is not None:
            self._sender.ask(frame, on_answer, None, 0, restores=True)
        else:
            self._start()

    def give_up(self, frame: dict[str, Any]) -> None:
        """Give up what was established. It goes out at once, as `establish` does: whoever establishes the same again comes after it.

        It has no answer. Without a session nothing happens: the next one does not restore it.
        """
        if self._socket is not None and self._ended is None:
            cost = OVERHEAD + weigh(frame)
            self._allowance.take(cost, insist=True)
            self._sender.tell(frame, cost)

    # --- Requests -------------------------------------------------------------------------------------------

    def _ask(
        self,
        frame: dict[str, Any],
        on_answer: OnAnswer,
        timeout: float | None,
        size: int,
        values: Sequence[Value],
        patient: bool,
        first: Callable[[], object] | None,
    ) -> None:
        if first is not None:
            first()
        if self._ended is not None:
            self._allowance.give_back(size)
            on_answer(None, self._ended)
            return
        self._sender.ask(frame, on_answer, timeout, size, values, patient=patient)
        if self._socket is None:
            self._start()

    # --- What comes in --------------------------------------------------------------------------------------

    def _on_frames(self, frames: Sequence[dict[str, Any]]) -> None:
        for frame in frames:
            try:
                if "push" in frame:
                    self._on_push(frame)
                else:
                    self._on_answer(frame)
            except Exception:
                log.exception("handling a frame of the broker failed")

    def _on_answer(self, frame: dict[str, Any]) -> None:
        ok, pending = frame.get("ok"), self._unanswered.get(frame["id"])
        if pending is None:  # too late
            return
        if ok is not None:
            answer = Answer(ok, frame.get("seq", 0), frame.get("epoch", ""))
            if places := in_answer(pending.frame["op"], answer):
                self._resolve(pending, answer, places)
            else:
                self._unanswered.answer(pending.id, answer, None)
            return
        error = from_wire(frame["err"])
        if error.code == "unavailable":
            # Stopping or recovering, nothing was accepted: as if it had not been asked, until its own timeout.
            self._sender.send_later(pending, CHANCE.uniform(0.1, 0.5))
        elif error.code != "blob_not_found" or not self._sender.store_again(pending):
            self._unanswered.answer(pending.id, None, error)

    def _resolve(self, pending: Pending, answer: Answer, places: Sequence[Place]) -> None:
        """Answer, once the large values are here. Until then it counts as unanswered."""

        def done(error: NoLagError | None) -> None:
            self._unanswered.answer(pending.id, None if error else answer, error)

        self.fetches.resolve(pending.frame["room"], places, done, lambda: self._unanswered.moved(pending))

    def _on_push(self, frame: dict[str, Any]) -> None:
        number = frame.get("sub")
        if number is not None:
            subscription = self._subscriptions.get(number)
            if subscription is not None:
                subscription.on_push(frame)
            return
        link = self._links.get(frame["room"])
        if link is not None and not self.fetches.hold(frame, link.on_push, link.on_value_lost):
            link.on_push(frame)

    # --- Life -----------------------------------------------------------------------------------------------

    def _open(self, on_open: Callable[[NoLagError | None], None]) -> None:
        if self._ended is not None or self._socket is not None:
            on_open(self._ended)
            return
        self._first.append(on_open)
        self._start()

    def _start(self) -> None:
        if self._task is None:
            self._task = self.io.loop.create_task(self._live())

    async def _live(self) -> None:
        try:
            over = await stay_connected(self.url, self._connect, self._serve, self._connect_timeout, lambda: self._longest_retry)
        except Exception as error:  # a defect of ours: nobody is to wait for ever because of it
            log.exception("keeping the connection to %s failed", self.url)
            over = Disconnected(f"keeping the connection to {self.url} failed: {type(error).__name__}: {error}")
        if isinstance(over, BrokerUnreachable):  # the next call tries again
            self._task = None
            self._release(over)
        else:
            self._end(over)

    async def _connect(self) -> Socket:
        socket = await Socket.open(self.url, await self._tokens.fresh(), self.instance, self._allowance.give_back)
        if self._expected_actor is not None and socket.session.actor != self._expected_actor:
            await socket.close()
            raise ActorMismatch(f"the token is for {socket.session.actor!r}, not for actor={self._expected_actor!r}")
        return socket

    async def _serve(self, socket: Socket) -> int:
        """One session, from its restoration to its end."""
        self.actor, self.roles = socket.session.actor, socket.session.roles
        self._longest_retry = min(LONGEST_RETRY, socket.session.lease / 2)
        self._socket = socket
        self._sender.begin(socket)
        refresher = None
        try:
            if socket.session.expires is not None and self._tokens.has_provider:
                refresher = self.io.loop.create_task(keep_fresh(self, self._tokens, socket.session.expires))
            waiting = list(self._unanswered)
            for link in list(self._links.values()):
                link.restore()
            self._sender.resume(waiting)
            for on_open in self._first:
                on_open(None)
            self._first.clear()
            return await socket.run(self._on_frames)
        except Refusal:  # the broker sent what is not a frame
            log.exception("the broker broke the protocol; reconnecting")
            return 1006
        finally:
            self._socket = None
            self._sender.end()
            self.fetches.forget_held()
            socket.abort()
            if refresher is not None:
                refresher.cancel()

    def _end(self, error: NoLagError) -> None:
        """The connection is over for good: everybody who waits is told."""
        if self._ended is not None:
            return
        self._ended = error
        if not self._closed_here(error):
            log.error("connection of %s to %s ended for good: %s", self.actor or "?", self.url, error)
        self._release(error)
        self._unanswered.close()
        if self._on_disconnected is not None:
            try:
                self._on_disconnected(error)
            except Exception:
                log.exception("on_disconnected failed")

    @staticmethod
    def _closed_here(error: NoLagError) -> bool:
        return error.detail.get("closed") is True

    def _release(self, error: NoLagError) -> None:
        for on_open in self._first:
            on_open(error)
        self._first.clear()

        def explain(pending: Pending) -> NoLagError:
            kind = type(error)
            return kind(error.message, code=error.code, maybe_applied=pending.sent, detail=error.detail)

        self._unanswered.fail_all(explain)
        for link in list(self._links.values()):
            link.on_ended(error)

    async def _close(self, timeout: float) -> None:
        if self._ended is not None:
            return
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            for link in list(self._links.values()):
                link.leave()
            await asyncio.sleep(0)  # requests are handed over: they count as unanswered from the loop's next turn on
            deadline = loop.time() + timeout
            while len(self._unanswered) and self._socket is not None and loop.time() < deadline:  # noqa: ASYNC110 - at the end of a life
                await asyncio.sleep(0.005)
        socket, task = self._socket, self._task
        self._end(Disconnected("the connection was closed", detail={"closed": True}))
        if socket is not None:
            try:
                async with asyncio.timeout(timeout):
                    await socket.close()
            except Exception as error:
                log.debug("closing was not polite: %s", error)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
