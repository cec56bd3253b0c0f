"""Real brokers over real sockets, and ways to disturb them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import Client, LocalBroker, Room, connect

Join = Callable[..., Awaitable[Room]]


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    with LocalBroker(path=None if request.param == "memory" else tmp_path / "data", lease=2.0, disconnect_grace=0.5) as broker:
        yield broker


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def enter(stack: AsyncExitStack, url: str, token: Any, actor: str, **options: Any) -> Client:
    client: Client = await stack.enter_async_context(connect(url, token=token, actor=actor, **options))
    return client


@pytest.fixture
def join(broker: LocalBroker, stack: AsyncExitStack) -> Join:
    """`await join("writer", capabilities=["draft"])`: an actor of its own connection, in the room `demo`."""

    async def joined(actor: str, room: str = "demo", *, grants: Any = None, roles: Any = (), **options: Any) -> Room:
        client = await enter(stack, broker.url, broker.token(actor, grants, roles), actor)
        return await client.join(room, **options)

    return joined


class Proxy:
    """A TCP proxy before a broker: what the broker says can be held back, and every connection cut."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.refuses = False  # new connections
        self._answers = asyncio.Event()
        self._answers.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, target: str) -> None:
        self._host, port = target.removeprefix("ws://").split(":")
        self._port = int(port)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hold_answers(self) -> None:
        self._answers.clear()

    def cut(self) -> None:
        """Break every connection; what was held back is lost. New ones work."""
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        self._answers.set()

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, far_writer}
        for source, sink, gate in ((reader, far_writer, None), (far_reader, writer, self._answers)):
            task = asyncio.create_task(self._pump(source, sink, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event | None) -> None:
        try:
            while data := await source.read(1 << 16):
                if gate is not None:
                    await gate.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.transport.abort()
            self._writers.discard(sink)


@pytest.fixture
async def proxy(broker: LocalBroker) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    await proxy.start(broker.url)
    yield proxy
    await proxy.stop()


class Restarting:
    """A broker that can be stopped and started again at the same address, with the same data."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._port = 0
        self.broker: LocalBroker | None = None
        self.start()

    def start(self) -> None:
        self.broker = LocalBroker(self._path, port=self._port, lease=3.0)
        self._port = int(self.broker.url.rpartition(":")[2])

    def stop(self) -> None:
        broker, self.broker = self.broker, None  # first: a token of it would end a client for good that meets a forgetful successor
        if broker is not None:
            broker.close()

    async def restart(self) -> None:
        await asyncio.to_thread(self.stop)
        await asyncio.to_thread(self.start)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    def token(self, actor: str, **more: Any) -> str:
        if self.broker is None:
            raise ConnectionError("no broker")
        return self.broker.token(actor, **more)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Restarting]:
    restarting = Restarting(tmp_path / "data")
    yield restarting
    restarting.stop()


@pytest.fixture
def forgetful() -> Iterator[Restarting]:
    restarting = Restarting(None)
    yield restarting
    restarting.stop()
