"""The WebSocket library's server connection, as far as ours differs from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.streams import StreamReader

from ..wire.fragments import Fragments
from .inlet import Inlet

if TYPE_CHECKING:
    from websockets.protocol import Event

    from .writer import Writer

MAX_FIRST: Final = 64 << 10  # bytes of a message before anybody said who it is
HEARTBEAT: Final = b"\x82\x80"  # how an empty, masked binary frame begins (RFC 6455, 5.2); four bytes of mask follow
BETWEEN_FRAMES: Final = StreamReader.at_eof.__code__


class Connection(ServerConnection):
    """Gives its messages to an `Inlet`, tells its writer when the peer reads again, takes little from a peer until it is known who that is,
    and wakes nobody for any of it."""

    writer: Writer | None = None
    on_heartbeat: Callable[[], None] | None = None
    """Called in place of a message for a heartbeat that comes alone: idle connections send nothing else, and there are many of them."""
    on_data: Callable[[], None] | None = None
    """Called before anything else that came is read, a part of a message too: large ones take a while, and nothing else comes meanwhile."""
    held = False
    """The peer is behind: the transport's buffer is full."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.inlet = Inlet(lambda: self.transport.pause_reading(), lambda: self.transport.resume_reading())
        self._fragments = Fragments()

    def admit(self, max_message: int) -> None:
        """From now on messages may have so many bytes."""
        self.protocol.max_message_size = max_message

    # -- reading

    def data_received(self, data: bytes) -> None:
        if len(data) == 6 and data[:2] == HEARTBEAT and self.on_heartbeat is not None and self._is_between_frames():
            self.on_heartbeat()
        else:
            if self.on_data is not None:
                self.on_data()
            super().data_received(data)

    def _is_between_frames(self) -> bool:
        """Whether the library's parser stands where a frame begins. Should it ever do so in another way, heartbeats pass through it."""
        generator: Any = self.protocol.parser
        while (inner := getattr(generator, "gi_yieldfrom", None)) is not None:
            generator = inner
        return getattr(generator, "gi_code", None) is BETWEEN_FRAMES

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif (message := self._fragments.whole(bytes(event.data), event.fin)) is not None:
            self.inlet.put(message)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.inlet.end()

    # -- writing

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """As the library's, within `close_timeout` whether the peer reads or not: the library waits without a bound for what is written."""
        try:
            async with asyncio.timeout(self.close_timeout):
                await super().close(code, reason)
        except TimeoutError:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.held = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.held = False
        if self.writer is not None:
            self.writer.flush()
