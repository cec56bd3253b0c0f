"""The WebSocket library's client connection, without a task, a future and a drain for every message: those cost more than the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

from nolag_broker.wire.fragments import Fragments

if TYPE_CHECKING:
    from websockets.protocol import Event


class WebSocket(ClientConnection):
    """Gives whole messages to `on_message` as they come, and takes what is to be written at once. Flow control is the caller's.

    Attributes:
        on_message: told every message, in order; what comes before anybody is told waits for `recv`. Must not raise.
        on_writable: told when the transport takes more again.
        held: the transport's buffer is full.
    """

    on_message: Callable[[bytes], None] | None = None
    on_writable: Callable[[], None] | None = None
    held = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fragments = Fragments()

    def process_event(self, event: Event) -> None:
        if self.on_message is None or not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif (message := self._fragments.whole(bytes(event.data), event.fin)) is not None:
            self.on_message(message)

    def write(self, message: bytes) -> None:
        """Write one message; nothing happens on a connection that is closing."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_binary(message)
            self.send_data()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.held = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.held = False
        if self.on_writable is not None:
            self.on_writable()
