from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from langgraph_nolag.client.websocket import WebSocket


@asynccontextmanager
async def connected(handle: Callable[[ServerConnection], object]) -> AsyncIterator[WebSocket]:
    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None, create_connection=WebSocket, proxy=None) as websocket:
            assert isinstance(websocket, WebSocket)
            yield websocket


async def test_messages_come_whole_and_in_order_also_those_that_were_cut() -> None:
    sent: list[bytes | list[bytes]] = [b"a", [b"b", b"c", b"d"], b"", [b"e", b"f"], b"g"]

    async def handle(connection: ServerConnection) -> None:
        await connection.recv()
        for message in sent:
            await connection.send(message)

    async with connected(handle) as websocket:
        heard: list[bytes] = []
        websocket.on_message = heard.append
        websocket.write(b"go")
        await asyncio.wait_for(websocket.wait_closed(), 10)
        assert heard == [b"a", b"bcd", b"", b"ef", b"g"]


async def test_a_peer_that_does_not_read_holds_the_writer_until_it_does() -> None:
    reads, whole = asyncio.Event(), asyncio.Event()
    sizes: list[int] = []

    async def handle(connection: ServerConnection) -> None:
        await reads.wait()
        async for message in connection:
            sizes.append(len(message))
            if len(message) == 1:
                whole.set()

    async with connected(handle) as websocket:
        writable = asyncio.Event()
        websocket.on_writable = writable.set
        written = 0
        while not websocket.held:
            websocket.write(b"x" * 100_000)
            written += 1
            assert written < 1000
        assert not writable.is_set()
        reads.set()
        await asyncio.wait_for(writable.wait(), 10)
        assert not websocket.held
        websocket.write(b"!")
        await asyncio.wait_for(whole.wait(), 10)
        assert sizes == [100_000] * written + [1]


async def test_nothing_is_written_to_a_connection_that_is_closed() -> None:
    async def handle(connection: ServerConnection) -> None:
        await connection.close()

    async with connected(handle) as websocket:
        await asyncio.wait_for(websocket.wait_closed(), 10)
        websocket.write(b"x")
