"""Writing a stream: what is not in the log yet is kept here, and sent again when the broker has lost it.

One request is under way at a time; what is written meanwhile is the next one. Its answer says what the broker has: from there it goes on.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import MessageTooLarge, NoLagError, StreamEnded
from .io import settle_blocking
from .requests import Answer, OnAnswer

if TYPE_CHECKING:
    from .link import RoomLink

UNKEPT: Final = 1 << 20  # bytes of a stream that may wait to be in the log; then writing waits
OVERHEAD: Final = 32  # bytes a chunk counts beside itself
MAX_CHUNK: Final = 1 << 20  # bytes
AT_ONCE: Final = 1000  # chunks in one request,
AT_ONCE_BYTES: Final = 256 << 10  # or so many bytes of them
RETRY: Final = 0.2  # seconds until a broker that is busy, or failed, is asked again
TRIES: Final = 20  # in a row


class Outgoing:
    """One stream that we write. Chunks are numbered in the order in which they are put here.

    Attributes:
        id: the stream's.
        token: the fencing token.
    """

    def __init__(self, streams: OutgoingStreams, id: str, token: int, n: int) -> None:
        self.id = id
        self.token = token
        self._streams = streams
        self._link = streams.link
        self._lock = threading.Lock()
        self._kept = n  # chunks in the log
        self._sent: deque[bytes] = deque()  # after those; they may have to be sent again
        self._unsent: deque[bytes] = deque()
        self._size = 0  # bytes of both
        self._waiting: list[concurrent.futures.Future[None]] = []  # to write more
        self._posted = False
        self._closing = False
        self._error: NoLagError | None = None
        # on the I/O thread
        self._asking = False
        self._tries = 0
        self._end: dict[str, Any] = {}
        self._closed: list[concurrent.futures.Future[None]] = []
        self._over = False

    # --- from any thread ------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The number of the last chunk written."""
        with self._lock:
            return self._kept + len(self._sent) + len(self._unsent)

    @property
    def is_closing(self) -> bool:
        """It was closed here, as complete or with an error."""
        return self._closing

    def put(self, chunk: bytes) -> concurrent.futures.Future[None] | None:
        """Take a chunk; or not, and give what is done when there may be room.

        Raises:
            StaleLease: somebody else writes the stream by now.
            StreamEnded: it was closed, or it is aborted.
            MessageTooLarge: over 1 MiB.
            NoLagError: why it could not go on.
        """
        if len(chunk) > MAX_CHUNK:
            raise MessageTooLarge(f"a chunk of {len(chunk)} bytes; a stream takes {MAX_CHUNK}", detail={"max": MAX_CHUNK})
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._closing:
                raise StreamEnded(f"the stream {self.id} is closed")
            if self._size and self._size + OVERHEAD + len(chunk) > UNKEPT:
                room: concurrent.futures.Future[None] = concurrent.futures.Future()
                self._waiting.append(room)
                return room
            self._unsent.append(chunk)
            self._size += OVERHEAD + len(chunk)
            if not self._posted:
                self._posted = True
                self._link.connection.io.post(self._pump)
        return None

    def close(self, error: Mapping[str, str] | None = None) -> concurrent.futures.Future[None]:
        """End it, as complete or with an error. The future is done when all of it is in the log, and holds why not otherwise.

        Raises:
            StreamEnded: an error, and it was closed: what its readers are told is settled.
        """
        closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        with self._lock:
            if self._closing and error is not None:
                raise StreamEnded(f"the stream {self.id} is closed")
            self._closing = True
        self._link.connection.io.post(self._close, error, closed)
        return closed

    def let_go(self) -> None:
        """Send what was written, and leave the end to others: to a later attempt of the task, or to the room when the task ends."""
        with self._lock:
            self._closing = True
        self._link.connection.io.post(self._forget_if_kept)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _pump(self) -> None:
        with self._lock:
            self._posted = False
            if self._asking or self._over:
                return
            chunks = self._next()
            n = self._kept + len(self._sent) + 1
            self._sent.extend(chunks)
        if chunks:
            self._asking = True
            fields = {"n": n, "chunks": chunks}
            self._streams.ask("stream.write", self, fields, self._written, sum(map(len, chunks)))
        elif self._closed:
            self._asking = True
            self._streams.ask("stream.close", self, {"n": n - 1, **self._end}, self._ended, 0)

    def _next(self) -> list[bytes]:
        chunks: list[bytes] = []
        size = 0
        while self._unsent and len(chunks) < AT_ONCE and (not chunks or size + len(self._unsent[0]) <= AT_ONCE_BYTES):
            chunks.append(self._unsent.popleft())
            size += len(chunks[-1])
        return chunks

    def _written(self, answer: Answer | None, error: NoLagError | None) -> None:
        self._asking = False
        self._tries += answer is None
        if answer is not None:
            self._tries = 0
            self.on_kept(answer["kept"])
            self._go_on(answer["n"])
        elif error is not None:
            self._refused(error)

    def _ended(self, answer: Answer | None, error: NoLagError | None) -> None:
        self._asking = False
        self._tries += answer is None
        if answer is not None and answer["closed"]:
            self._finish(None)
        elif answer is not None:
            self._go_on(answer["n"])
        elif error is not None:
            self._refused(error)

    def _go_on(self, n: int) -> None:
        """After the last chunk that the broker has."""
        if n < self._kept:  # a broker on an older copy, for example
            self._finish(StreamEnded(f"the broker has lost chunks of the stream {self.id} that it had put into the log"))
        else:
            self._has(n)
            self._pump()

    def _refused(self, error: NoLagError) -> None:
        again = error.retryable or error.maybe_applied  # numbers tell what was: to ask twice does no harm
        if again and self._tries < TRIES and self._link.connection.ended is None:
            self._has(self._kept)
            self._link.connection.io.loop.call_later(RETRY, self._pump)
        else:
            self._finish(error)

    def _has(self, n: int) -> None:
        """The broker has chunks up to this one: those after it are to be sent again."""
        with self._lock:
            while self._kept + len(self._sent) > n and self._sent:
                self._unsent.appendleft(self._sent.pop())

    def on_kept(self, n: int) -> None:
        with self._lock:
            while self._kept < n and self._sent:
                self._size -= OVERHEAD + len(self._sent.popleft())
                self._kept += 1
            waiting, self._waiting = self._waiting, []
        _release(waiting)
        self._forget_if_kept()

    def _forget_if_kept(self) -> None:
        if self._closing and not self._closed and not self._size:
            self._streams.forget(self)

    def restore(self) -> None:
        """A session has begun. A request under way is sent again by itself, and its answer says where to go on."""
        if not self._asking:
            self._has(self._kept)
            self._pump()

    def _close(self, error: Mapping[str, str] | None, closed: concurrent.futures.Future[None]) -> None:
        if self._over:
            settle_blocking(closed, None, self._error)
            return
        if not self._closed and error is not None:
            self._end = {"error": dict(error)}
        self._closed.append(closed)
        self._pump()

    def on_ended(self, error: NoLagError) -> None:
        self._finish(error)

    def _finish(self, error: NoLagError | None) -> None:
        self._over = True
        self._streams.forget(self)
        with self._lock:
            self._error = error
            waiting, self._waiting = self._waiting, []
            self._kept += len(self._sent) + len(self._unsent)  # or lost: they count as written
            self._sent.clear()
            self._unsent.clear()
            self._size = 0
        _release(waiting)
        for closed in self._closed:
            settle_blocking(closed, None, error)
        self._closed = []


class OutgoingStreams:
    """All streams that are written in a room. On the I/O thread."""

    phase = 2

    def __init__(self, link: RoomLink) -> None:
        self.link = link
        self._streams: dict[tuple[str, int], Outgoing] = {}

    def add(self, stream: Outgoing) -> None:
        ended = self.link.connection.ended
        if ended is not None:
            stream.on_ended(ended)
        else:
            self._streams[stream.id, stream.token] = stream

    def forget(self, stream: Outgoing) -> None:
        self._streams.pop((stream.id, stream.token), None)

    def ask(self, op: str, stream: Outgoing, fields: Mapping[str, Any], on_answer: OnAnswer, size: int) -> None:
        frame = {"op": op, "room": self.link.room, "stream": stream.id, "token": stream.token, **fields}
        self.link.connection.ask(frame, on_answer, None, size, insist=True)  # bounded by what a stream may hold

    def on_kept(self, frame: dict[str, Any]) -> None:
        if (stream := self._streams.get((frame["stream"], frame["token"]))) is not None:
            stream.on_kept(frame["n"])

    def restore(self) -> None:
        for stream in list(self._streams.values()):
            stream.restore()

    def on_ended(self, error: NoLagError) -> None:
        for stream in list(self._streams.values()):
            stream.on_ended(error)


def _release(waiting: list[concurrent.futures.Future[None]]) -> None:
    for room in waiting:
        settle_blocking(room, None, None)
