"""The port: WebSocket connections at /ws, and a little HTTP beside it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from ..settings import Settings
from ..wire.codes import Closes
from .connection import MAX_FIRST, Connection
from .errors import CannotStart
from .http import answer

CLOSE_TIMEOUT: Final = 2.0  # seconds a peer has to answer a close
BACKLOG: Final = 1024  # connections the kernel may hold while the loop is busy: a herd that comes back at once

Handler = Callable[[Connection], Awaitable[None]]


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Transport:
    """Listens, and gives every WebSocket connection to `handle`. `health` is asked for `/healthz`."""

    def __init__(self, settings: Settings, handle: Handler, health: Callable[[], dict[str, Any]]) -> None:
        self._settings = settings
        self._handle = handle
        self._health = health
        self._server: Server | None = None
        self._open = 0

    async def start(self) -> int:
        """Listen; the port.

        Raises:
            CannotStart: the port is in use, or the address is not one to listen at.
        """
        settings = self._settings
        if not is_loopback(settings.host) and not settings.insecure:
            raise CannotStart(
                f"{settings.host} can be reached from other machines, and there is no TLS here: tokens and data would cross the network in "
                "the clear. Put a TLS proxy before a broker on 127.0.0.1, or allow it with --insecure."
            )
        try:
            self._server = await serve(
                self._serve,
                settings.host,
                settings.port,
                create_connection=Connection,
                process_request=self._process_request,
                compression=None,
                max_size=MAX_FIRST,
                open_timeout=settings.auth_timeout,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=None,  # the protocol has its own heartbeats
                server_header=None,
                backlog=BACKLOG,
                logger=_quiet_logger(),
            )
        except OSError as error:
            raise CannotStart(_explain(error, settings.host, settings.port)) from None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)
        if self._open >= self._settings.max_connections:
            await connection.close(Closes.LIMIT.code, Closes.LIMIT.reason)
            return
        self._open += 1
        try:
            await self._handle(connection)
        finally:
            self._open -= 1

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        return answer(request, self._health())

    async def stop(self, deadline: float) -> None:
        """Close every connection with 1012; those that do not answer in time are cut. `deadline` is on the loop's clock."""
        if self._server is None:
            return
        self._server.close(close_connections=False)
        for connection in self._server.connections:
            if isinstance(connection, Connection) and connection.writer is not None:
                connection.writer.flush()
        why = Closes.GOING_AWAY
        closes = [asyncio.ensure_future(connection.close(why.code, why.reason)) for connection in self._server.connections]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*closes, return_exceptions=True)
                await self._server.wait_closed()
        await asyncio.sleep(0)  # what the kernel had accepted becomes a connection in the loop's next turn
        for connection in list(self._server.all_connections):
            connection.transport.abort()


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use. Stop the broker that runs there, or choose another port with --port (0 takes a free one)."
    if error.errno == errno.EACCES:
        return f"not allowed to listen on port {port}. Choose one over 1023 with --port."
    return f"cannot listen on {host}:{port}: {error.strerror or error}"


def _quiet_logger() -> logging.Logger:
    """The library logs every broken handshake with a traceback; a port scan is not an event for us."""
    logger = logging.getLogger("nolag.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
