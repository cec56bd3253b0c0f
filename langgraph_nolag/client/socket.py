"""One live WebSocket: authenticated, heartbeating, one message a turn. It knows frames, not what they mean."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nolag_broker.wire.codec import DIALECT, pack, unpack
from nolag_broker.wire.frames import batch

from ..errors import AccessDenied, Disconnected, from_wire

if TYPE_CHECKING:
    from .websocket import WebSocket

log = logging.getLogger("langgraph_nolag")

BATCH = 256 << 10  # bytes of frames that share a message; a larger frame travels alone, uncopied
MAX_MESSAGE = 128 << 20
PATIENCE = 0.001  # seconds that a frame waits for company, where its sender says that some is coming
CONNECT_TIMEOUT = 10.0  # seconds, for TCP, WebSocket and authentication together
CLIENT = "langgraph-nolag"
PHASE = random.random()  # noqa: S311 - of this process: its connections heartbeat at the same moments, other processes at others


@dataclass(frozen=True, slots=True)
class Session:
    """What the broker said at authentication. Times in seconds, sizes in bytes; `expires` counts from 1970."""

    actor: str
    roles: tuple[str, ...]
    heartbeat: float
    lease: float
    max_frame: int
    expires: float | None


class Socket:
    """An authenticated connection. All of it runs on the I/O thread.

    Our own heartbeats tell both ends that the other lives (the library's pings are off: they would say it twice, and the
    broker renews leases by ours).
    """

    def __init__(self, websocket: WebSocket, session: Session, on_written: Callable[[int], None]) -> None:
        self.session = session
        self._websocket = websocket
        self._on_written = on_written
        self._loop = asyncio.get_running_loop()
        self._on_frames: Callable[[Sequence[dict[str, Any]]], None]
        self._broken: Exception | None = None  # what came can't be read
        self._out: list[bytes] = []  # frames of this turn,
        self._messages: deque[bytes] = deque()  # and of earlier ones, which the transport did not take
        self._owed = 0  # bytes of both that were taken from the allowance and go back once written
        self._flushing = False
        self._beat_due = False
        self._last_heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, url: str, token: str, instance: str, on_written: Callable[[int], None]) -> Socket:
        """Connect and authenticate.

        Raises:
            AccessDenied: the token was refused.
            Refused: another refusal, for example `unavailable`.
            OSError, TimeoutError, websockets.WebSocketException: not reachable, or not a broker.
        """
        from websockets.asyncio.client import connect

        from .websocket import WebSocket

        async with asyncio.timeout(CONNECT_TIMEOUT):
            websocket = await connect(
                url + "/ws",
                compression=None,
                ping_interval=None,
                close_timeout=2,
                max_size=MAX_MESSAGE,
                write_limit=1 << 20,
                open_timeout=None,
                user_agent_header=CLIENT,
                proxy=None if _is_loopback(url) else True,
                create_connection=WebSocket,
            )
            assert isinstance(websocket, WebSocket)
            try:
                await websocket.send(pack({"type": "auth", "dialect": DIALECT, "token": token, "instance": instance, "client": CLIENT}))
                answer = unpack(await websocket.recv(decode=False))
                return cls(websocket, _session(answer), on_written)
            except BaseException:
                websocket.transport.abort()
                raise

    def send(self, frame: bytes, owed: int = 0, *, patient: bool = False) -> None:
        """Queue a frame; what is queued in a turn of the loop leaves as one message.

        Args:
            frame: encoded.
            owed: bytes of it that go back to the allowance.
            patient: it leaves with the next one, or after `PATIENCE`.
        """
        self._out.append(frame)
        self._owed += owed
        if not patient:
            self._flush_soon()
        elif not self._flushing:
            self._loop.call_later(PATIENCE, self._flush)

    async def run(self, on_frames: Callable[[Sequence[dict[str, Any]]], None]) -> int:
        """Read until the connection ends.

        Returns:
            The close code; 1006 when it broke without one.

        Raises:
            Refusal: the broker sent what is not a frame.
        """
        self._on_frames = on_frames
        self._websocket.on_writable = self._flush
        self._websocket.on_message = self._on_message
        self._beat_at(next_beat(self._loop.time(), self.session.heartbeat))
        try:
            await self._websocket.wait_closed()
        finally:
            self._websocket.on_message = self._websocket.on_writable = None
            if self._timer is not None:
                self._timer.cancel()
            self._websocket.transport.abort()
            self._on_written(self._owed)
            self._owed = 0
        if self._broken is not None:
            raise self._broken
        return self._websocket.close_code or 1006

    def _on_message(self, message: bytes) -> None:
        self._last_heard = self._loop.time()
        if not message or self._broken is not None:
            return
        try:
            frames = unpack(message)
            self._on_frames(frames if isinstance(frames, list) else (frames,))
        except Exception as error:
            self._broken = error
            self._websocket.transport.abort()

    async def close(self) -> None:
        """Write what is queued and close politely, within a bound."""
        self._messages.extend(messages(self._out))
        self._out = []
        for message in self._messages:
            self._websocket.write(message)
        self._messages.clear()
        await self._websocket.close()

    def abort(self) -> None:
        self._websocket.transport.abort()

    # --- writing --------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what waits, as far as the transport takes it."""
        self._flushing = False
        websocket = self._websocket
        if not websocket.held and self._out:
            frames, self._out = self._out, []
            self._messages.extend(messages(frames))
        while self._messages and not websocket.held:
            websocket.write(self._messages.popleft())
        if websocket.held:
            return
        if self._beat_due:
            self._beat_due = False
            websocket.write(b"")
        if self._owed:
            owed, self._owed = self._owed, 0
            self._on_written(owed)

    # --- heartbeats -----------------------------------------------------------------------------------------

    def _beat_at(self, due: float) -> None:
        """Heartbeat then, unless the broker is to be given up before."""
        give_up = self._last_heard + 2 * self.session.heartbeat + 5
        self._timer = self._loop.call_at(min(due, give_up), self._beat, due)

    def _beat(self, due: float) -> None:
        now = self._loop.time()
        silence = now - self._last_heard
        if silence >= 2 * self.session.heartbeat + 5:
            log.warning("the broker has been silent for %.1f s; reconnecting", silence)
            self._websocket.transport.abort()
            return
        if now >= due:
            self._beat_due = True
            self._flush_soon()
            due = next_beat(now, self.session.heartbeat)
        self._beat_at(due)


def next_beat(now: float, heartbeat: float) -> float:
    """When a heartbeat is due, in less than `heartbeat` seconds: for all connections of this process at the same moments."""
    interval = heartbeat * 0.9
    return (math.floor(now / interval - PHASE) + 1 + PHASE) * interval


def messages(frames: Sequence[bytes]) -> list[bytes]:
    """The WebSocket messages that carry these frames: batches up to `BATCH` bytes, in order."""
    result: list[bytes] = []
    start = size = 0
    for index, frame in enumerate(frames):
        if size and size + len(frame) > BATCH:
            result.append(batch(frames[start:index]))
            start, size = index, 0
        size += len(frame)
    if start < len(frames):
        result.append(batch(frames[start:]))
    return result


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _session(answer: Any) -> Session:
    if not isinstance(answer, dict) or answer.get("type") != "auth":
        raise Disconnected("the other end does not speak our protocol")
    if not answer.get("success"):
        raise from_wire({"code": answer.get("error", AccessDenied.code), "message": answer.get("message", "the broker refused the token")})
    return Session(
        answer["actor"],
        tuple(answer.get("roles", ())),
        float(answer["heartbeat"]),
        float(answer["lease"]),
        int(answer["max_frame"]),
        answer.get("expires"),
    )
