"""RabbitMQ with quorum queues: persistent messages, confirms, acknowledgements by hand, a queue of results for each dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from .base import Contender, RoundTrip, Server, free_port, missing_package, process, wait_for_port

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's; the one on the path starts as another user
QUORUM = {"x-queue-type": "quorum"}


class RabbitMQ(Contender):
    name = "RabbitMQ, quorum queues"
    durability = "fsync before every acknowledgement"
    shapes = ("sequential", "in_flight")

    def missing(self) -> str | None:
        return missing_package("aio-pika") or (None if SERVER.exists() else "rabbitmq-server (a package of the system)")

    def version(self) -> str:
        show = ["dpkg-query", "--show", "--showformat", "${Version}", "rabbitmq-server"]
        found = subprocess.run(show, capture_output=True, text=True, check=True).stdout if shutil.which("dpkg-query") else "?"
        return f"rabbitmq-server {found}, aio-pika {version('aio-pika')}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        port, log, pid = free_port(), folder / "rabbitmq.log", folder / "pid"
        plugins = folder / "plugins"
        plugins.write_text("[].\n")
        # its own name, folders and cookie: another one on this machine is left alone
        settings = {
            "NODENAME": f"bench{port}@localhost",
            "NODE_IP_ADDRESS": "127.0.0.1",
            "NODE_PORT": str(port),
            "DIST_PORT": str(free_port()),
            "MNESIA_BASE": str(folder),
            "LOG_BASE": str(folder),
            "ENABLED_PLUGINS_FILE": str(plugins),
            "PID_FILE": str(pid),
        }
        environment = {f"RABBITMQ_{name}": value for name, value in settings.items()}
        names = str(free_port())  # where Erlang's own name server listens: it outlives the node
        with process([str(SERVER)], log, HOME=str(folder), ERL_EPMD_PORT=names, **environment) as child:
            wait_for_port(port, child, log)
            yield Server(f"amqp://guest:guest@127.0.0.1:{port}/", int(pid.read_text()) if pid.exists() else child.pid)
        subprocess.run(["epmd", "-port", names, "-kill"], capture_output=True, check=False)

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        import aio_pika

        connection = await aio_pika.connect(address)
        channel = await connection.channel()  # with confirms
        await channel.set_qos(prefetch_count=100)
        tasks = await channel.declare_queue("tasks", durable=True, arguments=QUORUM)

        async def handle(message: AbstractIncomingMessage) -> None:
            result = aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(result, routing_key=message.reply_to or "")
            await message.ack()

        await tasks.consume(handle)
        ready()
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        import aio_pika

        connection = await aio_pika.connect(address)
        channel = await connection.channel()
        mine = f"results-{uuid.uuid4().hex}"
        results = await channel.declare_queue(mine, durable=True, arguments=QUORUM)
        waiting: dict[str, asyncio.Future[bytes]] = {}

        async def receive(message: AbstractIncomingMessage) -> None:
            waiting.pop(message.correlation_id or "").set_result(message.body)
            await message.ack()

        await results.consume(receive)

        async def round_trip(payload: bytes) -> bytes:
            task = uuid.uuid4().hex
            result = waiting[task] = asyncio.get_running_loop().create_future()
            persistent = aio_pika.DeliveryMode.PERSISTENT
            message = aio_pika.Message(payload, delivery_mode=persistent, correlation_id=task, reply_to=mine)
            await channel.default_exchange.publish(message, routing_key="tasks")
            return await result

        try:
            yield round_trip
        finally:
            await connection.close()
