"""What leaves on a connection: requests, kept until they are answered, and notes, which have no answer. Large values go ahead of both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from nolag_broker.wire.codec import new_packer
from nolag_broker.wire.once import APPLIED_ONCE

from ..errors import BadRequest, MessageTooLarge, NoLagError
from .frames import packed
from .large import Value
from .requests import Allowance, OnAnswer, Pending, Unanswered
from .uploads import HeldNote, HeldRequest, Uploads
from .window import Window

if TYPE_CHECKING:
    import asyncio

    from .socket import Socket

Establish = Callable[[dict[str, Any], OnAnswer], None]

MAX_TRIES: Final = 5  # of a request that brings large values, where the broker says it has not got them

log = logging.getLogger("langgraph_nolag")


class Sender:
    """Of a connection, over all its sessions. Everything here runs on the I/O thread.

    Args:
        loop: the I/O thread's.
        allowance: what the bytes that wait are taken from; they go back with the answer, and with a note once it is written.
        establish: asks for something in this session only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, allowance: Allowance, establish: Establish) -> None:
        self.loop = loop
        self.establish = establish
        self.unanswered = Unanswered(loop, allowance, self._settled)
        self._allowance = allowance
        self._pack = new_packer().pack
        self._socket: Socket | None = None
        self._uploads = Uploads(self)
        self._spoken: set[str | None] = set()  # rooms that were told in this turn which answers we have
        self._window = Window(self.unanswered.oldest, self._spoken.discard)
        self._releasing = False

    def begin(self, socket: Socket) -> None:
        """A session has begun: from now on frames leave. What has no answer is sent again by `resume`."""
        self._socket = socket
        self._uploads = Uploads(self)
        self._window.begin()

    def end(self) -> None:
        """The session is over. Requests are kept for the next one."""
        self._socket = None
        self._uploads.end()
        self.unanswered.drop_restores()

    # --- requests -------------------------------------------------------------------------------------------

    def ask(
        self,
        frame: dict[str, Any],
        on_answer: OnAnswer,
        timeout: float | None,
        size: int,
        values: Sequence[Value] = (),
        *,
        patient: bool = False,
        restores: bool = False,
    ) -> None:
        """A new request; without a session it waits for one. See `Connection.ask`; its `size` is taken from the allowance already.

        Args:
            values: large ones, taken out of the frame.
            restores: it is a part of what a session begins with, and ends with it.
        """
        pending = self.unanswered.add(frame, on_answer, timeout, size, restores, values)
        pending.patient = patient
        if self._socket is not None:
            self._send_if_admitted(pending)

    def resume(self, pendings: Iterable[Pending]) -> None:
        """In a new session, send what has no answer from an earlier one, in its old order."""
        for pending in pendings:
            self._send_if_admitted(pending)

    def _send_if_admitted(self, pending: Pending) -> None:
        window = self._window  # most requests have nothing to do with it
        if not (pending.frame["op"] in APPLIED_ONCE or window.waiting) or window.admits(pending):
            self.send(pending)

    def _settled(self) -> None:
        """A request has its answer, or was given up."""
        if self._window.waiting and not self._releasing:
            self._releasing = True
            self.loop.call_soon(self._release)

    def _release(self) -> None:
        self._releasing = False
        if self._socket is not None:
            for pending in self._window.released():
                if self.unanswered.get(pending.id) is pending:
                    self.send(pending)

    def send(self, pending: Pending) -> None:
        """Send a request as soon as its values are stored; without a session nothing happens."""
        if self._socket is not None and not ((pending.values or self._uploads) and self._uploads.hold(HeldRequest(self, pending))):
            self.send_request(pending)

    def send_later(self, pending: Pending, seconds: float) -> None:
        """Send it again after a while, unless it was given up meanwhile."""

        def send() -> None:
            if self.unanswered.get(pending.id) is pending:
                self.send(pending)

        self.loop.call_later(seconds, send)

    def store_again(self, pending: Pending) -> bool:
        """The broker has not got the values of a request, perhaps another process than the one that stored them: once more. False: that
        was tried often enough, or it has none."""
        if not pending.values or pending.tries >= MAX_TRIES:
            return False
        pending.tries += 1
        self.send(pending)
        return True

    def send_request(self, pending: Pending) -> None:
        """Send a request whose values are stored."""
        socket = self._socket
        assert socket is not None
        frame = pending.frame
        if pending.sent:
            frame["resent"] = True
        if frame.get("room") not in self._spoken:  # once a turn and room, the broker hears which answers we have
            if not self._spoken:
                self.loop.call_soon(self._spoken.clear)
            self._spoken.add(frame.get("room"))
            frame["done"] = self.unanswered.oldest()
        try:
            encoded = packed(self._pack, frame)
        except BadRequest as error:
            self.unanswered.answer(pending.id, None, error)
            return
        if len(encoded) > socket.session.max_frame:
            limit = socket.session.max_frame
            reason = MessageTooLarge(f"{frame.get('op')}: {len(encoded)} bytes; the broker takes {limit}", detail={"max": limit})
            self.unanswered.answer(pending.id, None, reason)
            return
        pending.sent = True
        socket.send(encoded, patient=pending.patient)

    # --- notes ----------------------------------------------------------------------------------------------

    def tell(self, frame: dict[str, Any], size: int, values: Sequence[Value] = ()) -> None:
        """Send what has no answer as soon as its values are stored; without a session it is dropped."""
        if self._socket is None:
            self._allowance.give_back(size)
        elif not ((values or self._uploads) and self._uploads.hold(HeldNote(self, frame, values, size))):
            self.send_note(frame, size)

    def send_note(self, frame: dict[str, Any], size: int) -> None:
        """Send a note whose values are stored."""
        socket = self._socket
        assert socket is not None
        try:
            encoded = packed(self._pack, frame)
        except BadRequest as error:
            self.drop_note(frame, size, error)
            return
        if len(encoded) > socket.session.max_frame:  # sent, it would end the connection for good
            limit = socket.session.max_frame
            self.drop_note(frame, size, MessageTooLarge(f"{len(encoded)} bytes; the broker takes {limit}"))
        else:
            socket.send(encoded, size)

    def drop_note(self, frame: dict[str, Any], size: int, error: NoLagError | None = None) -> None:
        self._allowance.give_back(size)
        if error is not None:
            log.error("%s was dropped: %s", frame.get("op"), error)
