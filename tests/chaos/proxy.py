"""A TCP proxy that cuts connections in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self


class Cutting:
    """Passes bytes on to a port. Each connection is cut, both ways at once, after a random number of bytes from the server.

    Args:
        port: gives the server's port when a connection comes.
        cuts: how many connections are cut; those after them are left alone.
        reach: no connection gets more bytes than this before its cut.
    """

    def __init__(self, chance: random.Random, port: int, cuts: int, reach: int) -> None:
        self.cuts = 0
        self.port = 0
        self._chance = chance
        self._to = port
        self._most = cuts
        self._reach = reach
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accepted(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        to_server: asyncio.StreamWriter | None = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
            # The handshake of the WebSocket and of the session are some 600 bytes; a cut within them is a rare one.
            left = self._chance.randrange(self._reach) if self.cuts < self._most else None
            up = asyncio.create_task(_pass(client, to_server, None))
            down = asyncio.create_task(_pass(server, to_client, left))
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if down.done() and not down.cancelled() and down.exception() is None and down.result():
                self.cuts += 1
            for way in (up, down):
                way.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass  # the server is away, which its client will see by the end of this connection
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.transport.abort()
            self._passing.discard(task)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> bool:
    """True: it was cut."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            if left is not None:
                data, left = data[:left], left - len(data)
            writer.write(data)
            await writer.drain()
            if left is not None and left <= 0:
                return True
    return False
