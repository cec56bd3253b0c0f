"""One connection: who is on it, what it asks, and the end of it. Never waits: `attending.py` does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..core.commands import COMMANDS, parse
from ..core.turn import Caller
from ..wire.blobs import BLOB
from ..wire.codec import pack, unpack
from ..wire.codes import Close, Closes, Refusal
from ..wire.topics import check_name
from .attending import answer, relieved
from .auth import SYSTEM, Identity
from .blob_ops import BLOB_OPERATIONS
from .connection import Connection
from .errors import failed_push
from .fanout import Subscription
from .log_ops import LOG_OPERATIONS
from .logs import get_logger, trace
from .operations import OPERATIONS
from .sharing import Seat
from .store_ops import STORE_OPERATIONS
from .writer import Writer

if TYPE_CHECKING:
    from .context import Context

log = get_logger("session")

MAX_ROOMS: Final = 1000  # in which a connection has something
ROOM_OPERATIONS: Final = {**LOG_OPERATIONS, **BLOB_OPERATIONS, **STORE_OPERATIONS}  # those that are not decided in the core


class Session:
    """A connection that said who it is."""

    def __init__(self, context: Context, connection: Connection, identity: Identity, instance: str) -> None:
        self.id = secrets.token_hex(8)
        self.context = context
        self.instance = instance
        self.rooms: set[str] = set()
        self.subscriptions: dict[int, Subscription | Seat] = {}
        self.last_heard = 0.0
        self.fetching = 0  # pieces of large values
        self.looked_at = 0  # items of the store that searches look through
        self._loop = asyncio.get_running_loop()
        self.connection = connection
        self._writer = Writer(connection, context.outbox, context.settings.max_send_queue, self._evict)
        self._max_body = context.settings.max_body
        self._last_renewed = 0.0
        self.renew_every = context.settings.lease / 10
        self.closing: asyncio.Task[None] | None = None
        self.send = self._writer.send
        self.congestion = self._writer.congestion
        self.assume(identity)

    def assume(self, identity: Identity) -> None:
        """Be this identity from now on: at the start, and when a token is refreshed."""
        self.identity = identity
        self.actor = identity.actor
        self.grants = identity.grants
        self.caller = Caller(self.id, identity.actor, self.instance, identity.grants, identity.roles)
        self._may_open: dict[str, bool] = {}  # rooms that these grants speak of, once asked for: may it open them?

    @property
    def behind(self) -> bool:
        return self.connection.held

    def begin(self) -> None:
        """Take messages from now on."""
        self.context.node.sinks[self.id] = self.send
        self.context.sessions.add(self)
        self.last_heard = self._loop.time()
        self.connection.on_heartbeat = self._beat
        self.connection.on_data = self.renew
        self.connection.inlet.open(self._take)

    def end(self) -> None:
        """Out of every table: nothing reaches this session any more, and its rooms know that it is gone."""
        self._writer.stop()
        self.context.sessions.remove(self)
        subscriptions, self.subscriptions = self.subscriptions, {}
        for subscription in subscriptions.values():
            subscription.leave()
        self.context.node.disconnected(self.id, self.rooms)
        self.rooms = set()

    # -- what it asks

    def _take(self, message: bytes) -> None:
        """A message came."""
        if self.closing is not None:
            return
        try:
            self.receive(message)
        except Refusal as refusal:
            log.info("bad frame", actor=self.actor, reason=refusal.message)
            self.close(Closes.BAD_FRAME)
        except Exception as error:
            log.error("a message broke the session", actor=self.actor, trace=trace(error))
            self.give_up()
        if self.context.node.overloaded:
            self.connection.inlet.hold()
            self.context.node.spawn(relieved(self))

    def receive(self, message: bytes) -> None:
        """Handle one WebSocket message. Raises `Refusal` (`bad_frame`) when it is not of this protocol."""
        if not message:
            self._writer.heartbeat()
            return
        self.context.node.take_in(len(message))
        frames = unpack(message)
        if type(frames) is dict:
            self._frame(frames)
        elif type(frames) is list:
            for frame in frames:
                if type(frame) is not dict:
                    raise Refusal("bad_frame", "a message is a frame or an array of frames")
                self._frame(frame)
        else:
            raise Refusal("bad_frame", "a message is a frame or an array of frames")

    def _beat(self) -> None:
        self.renew()
        self._writer.heartbeat()

    def renew(self) -> None:
        """The peer lives, and so do its leases."""
        self.last_heard = now = self._loop.time()
        if now - self._last_renewed > self.renew_every:
            self._last_renewed = now
            self.context.node.heartbeat(self.id, self.rooms)

    def _frame(self, frame: dict[str, Any]) -> None:
        request = frame.get("id")
        if request is not None and (type(request) is not int or request < 1):
            raise Refusal("bad_frame", "an id is a positive integer")
        op = frame.get("op")
        if type(op) is not str:
            raise Refusal("bad_frame", "a request names its operation")
        try:
            if op in COMMANDS:
                room = frame.get("room")
                may_open = self._may_open.get(room) if type(room) is str else None
                if may_open is None:
                    may_open = self._enter(room)
                body = frame.get("body")
                if (type(body) is bytes and len(body) > self._max_body) or "puts" in frame:
                    self._check_bodies(body, frame.get("puts"))
                if frame.get("ct") == BLOB or "approvals" in frame or "puts" in frame:
                    self.context.blobs.check(room, frame)  # type: ignore[arg-type]
                self.context.node.submit(room, parse(frame), self.caller, request, may_open)  # type: ignore[arg-type]
            elif op in ROOM_OPERATIONS:
                room = frame.get("room")
                ROOM_OPERATIONS[op](self, room, self._enter(room), request, frame)  # type: ignore[arg-type]
            elif op in OPERATIONS:
                OPERATIONS[op](self, request, frame)
            else:
                raise Refusal("unknown_op", f"no operation {op[:64]!r}")
        except Refusal as refusal:
            self.refuse(request, refusal)

    def _enter(self, room: Any) -> bool:
        """Check that this token has anything to do with the room; whether it may open it, too."""
        if type(room) is not str:
            raise Refusal("bad_request", "the request needs room, a string", detail={"field": "room"})
        check_name(room, "room")
        if room == SYSTEM or not self.grants.touches(room):
            raise Refusal("not_authorized", f"the token's grants do not cover the room {room!r}")
        if room not in self.rooms and len(self.rooms) >= MAX_ROOMS:
            self._tidy()
            if len(self.rooms) >= MAX_ROOMS:
                raise Refusal("overloaded", f"a connection can have something in {MAX_ROOMS} rooms")
        self.rooms.add(room)
        self._may_open[room] = may_open = self.context.may_open(self.identity, room)
        return may_open

    def unsubscribe(self, number: int) -> None:
        """End the subscription with this number, if there is one."""
        if (subscription := self.subscriptions.pop(number, None)) is not None:
            subscription.unsubscribe()

    def end_subscription(self, number: int, refusal: Refusal) -> None:
        """The same, from our side: whoever has it is told why."""
        self.unsubscribe(number)
        self.send(failed_push(number, refusal))

    def leave(self, room: str) -> None:
        """It has nothing in this room any more, and what it may do there is asked again."""
        self.rooms.discard(room)
        self._may_open.pop(room, None)
        self.subscriptions = {number: taken for number, taken in self.subscriptions.items() if taken.view.room != room}

    def _tidy(self) -> None:
        """Forget the rooms where it was and has nothing any more."""
        subscribed = {taken.view.room for taken in self.subscriptions.values()}
        for room in self.rooms - subscribed:
            if self.context.node.release(self.id, room):
                self.rooms.discard(room)
                self._may_open.pop(room, None)

    def _check_bodies(self, body: Any, puts: Any) -> None:
        bodies = [body, *(part for put in (puts if type(puts) is list else ()) if type(put) is list for part in put)]
        if any(type(body) is bytes and len(body) > self._max_body for body in bodies):
            raise Refusal("message_too_large", f"a body can have {self._max_body} bytes", detail={"max": self._max_body})

    # -- what it is told

    def reply(self, request: int | None, ok: dict[str, Any], **more: Any) -> None:
        if request is not None:
            self.send(pack({"id": request, "ok": ok, **more}))

    def refuse(self, request: int | None, refusal: Refusal) -> None:
        if request is not None:
            self.send(pack({"id": request, "err": refusal.to_wire()}))

    def answer_later(self, request: int | None, work: Coroutine[Any, Any, dict[str, Any] | None]) -> None:
        """Answer when `work` is done, with what it returns (None: it has answered itself) or with how it was refused."""
        self.context.node.spawn(answer(self, request, work))

    def give_up(self) -> None:
        """Something of this session broke on our side: it begins anew by coming back."""
        self.close(Closes.GOING_AWAY)

    def close(self, why: Close) -> None:
        """Say what waits, then close. Does not wait; a second close changes nothing."""
        if self.closing is None:
            self._writer.flush()
            self.end()
            self.closing = self._loop.create_task(self.connection.close(why.code, why.reason))

    def abort(self) -> None:
        """Cut the connection off: nobody is there to be told."""
        self.end()
        self.connection.transport.abort()

    def _evict(self) -> None:
        log.warning("slow consumer", actor=self.actor, session=self.id)
        self.close(Closes.SLOW_CONSUMER)
