"""What leaves on one connection: a queue, bounded in bytes, and one WebSocket message for what a turn has to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.protocol import State

from ..wire.frames import batch
from .connection import Connection

MESSAGE: Final = 1 << 20  # bytes of a WebSocket message that holds several frames
REPLAY: Final = 1 << 20  # bytes waiting, up to which a replay may add more; at most a quarter of the queue


class Outbox:
    """The writers that have something to say in this turn of the event loop: written to the transports at its end, last come, first served.

    A reply comes before what its request brings about for others, and these are whom somebody waits for: the worker that gets a task, the
    dispatcher that gets a result. Whoever is woken first has a core to itself where there are few.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writers: list[Writer] = []

    def add(self, writer: Writer) -> None:
        """Have it flushed, once."""
        if not self._writers:
            self._loop.call_soon(self._flush)
        self._writers.append(writer)

    def _flush(self) -> None:
        try:
            while self._writers:
                self._writers.pop().flush()
        finally:
            if self._writers:  # one failed; the others go on
                self._loop.call_soon(self._flush)


class Writer:
    """The queue of one connection.

    `send` never waits: it is called while a turn is carried out. What is sent in one turn of the event loop leaves as one
    message. While the peer does not read, frames wait here; past `limit` bytes everything waiting is dropped and `evict` is called
    (one frame alone may be larger).

    The library's `send` costs a task, a context manager and a drain for each message (8 of the 22 µs of an echo, measured);
    here the message goes to the transport directly, as in the library's own `broadcast`, but flow control is obeyed.
    """

    def __init__(self, connection: Connection, outbox: Outbox, limit: int, evict: Callable[[], None]) -> None:
        self._connection = connection
        self._outbox = outbox
        self._limit = limit
        self._replay_limit = min(REPLAY, limit // 4)
        self._evict = evict
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._bytes = 0
        self._flushing = False
        self._caught_up: asyncio.Future[None] | None = None
        self._stopped = False
        connection.writer = self

    def send(self, frame: bytes) -> None:
        """Queue one encoded frame; nothing happens once the writer is stopped."""
        if self._stopped:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if not self._flushing:
            self._flushing = True
            self._outbox.add(self)
        elif self._connection.held:
            self._check()

    def flush(self) -> None:
        """Write what waits, as far as the peer reads."""
        self._flushing = False
        if self._frames and not self._connection.held:
            if self._bytes <= MESSAGE:
                frames, self._frames, self._bytes = self._frames, [], 0
                self._write(batch(frames))
            else:
                self._write_in_parts()
        self._check()
        if self._caught_up is not None and self._bytes <= self._replay_limit:
            self._caught_up.set_result(None)
            self._caught_up = None

    def _check(self) -> None:
        if self._bytes > self._limit and len(self._frames) > 1:
            self.stop()
            self._loop.call_soon(self._evict)  # not while somebody says something to one reader after the other

    def _write_in_parts(self) -> None:
        start = 0
        while start < len(self._frames) and not self._connection.held:
            end, size = start + 1, len(self._frames[start])
            while end < len(self._frames) and size + len(self._frames[end]) <= MESSAGE:
                size += len(self._frames[end])
                end += 1
            self._write(batch(self._frames[start:end]))
            self._bytes -= size
            start = end
        del self._frames[:start]

    def congestion(self) -> asyncio.Future[None] | None:
        """What a replay waits for until the peer has read more: catching up must not evict itself. None: it may go on."""
        if self._bytes <= self._replay_limit or self._stopped:
            return None
        if self._caught_up is None:
            self._caught_up = self._loop.create_future()
        return asyncio.shield(self._caught_up)

    def heartbeat(self) -> None:
        """Answer a heartbeat with one. A peer that does not read gets none: it is not waiting for ours."""
        if not self._connection.held:
            self._write(b"")

    def stop(self) -> None:
        """Take nothing more and drop what waits."""
        self._stopped = True
        self._frames, self._bytes = [], 0
        self._connection.writer = None
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None

    def _write(self, payload: bytes) -> None:
        """One unmasked binary frame (RFC 6455, 5.2). No extension is negotiated here, so this is all there is to it."""
        if self._connection.protocol.state is not State.OPEN:
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x82, size))
        elif size < 65536:
            head = b"\x82\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x82\x7f" + size.to_bytes(8, "big")
        self._connection.transport.write(head + payload)
