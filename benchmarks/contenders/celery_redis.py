"""Celery on Redis with late acknowledgement and an append-only file: a worker with the default pool, results in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .base import Contender, RoundTrip, Server, free_port, process, wait_for_port


def make_app(address: str) -> Any:
    from celery import Celery

    app = Celery("bench", broker=address, backend=address)
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, worker_redirect_stdouts=False)

    @app.task(name="echo")  # type: ignore[untyped-decorator]
    def echo(payload: str) -> str:
        return payload

    return app


class Celery(Contender):
    name = "Celery on Redis"
    durability = "appendfsync everysec"
    shapes = ("sequential", "in_flight")

    def missing(self) -> str | None:
        try:
            version("celery")
        except PackageNotFoundError:
            return "celery (the dependency group `bench`)"
        return None if shutil.which("redis-server") else "redis-server (a package of the system)"

    def version(self) -> str:
        words = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()
        return f"celery {version('celery')}, redis {words[2].removeprefix('v=')}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        port, log = free_port(), folder / "redis.log"
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        with process(["redis-server", *options, "--appendfsync", "everysec"], log) as child:
            wait_for_port(port, child, log)
            yield Server(f"redis://127.0.0.1:{port}/0", child.pid)

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        from celery.signals import worker_ready

        worker_ready.connect(lambda **_: ready(), weak=False)
        # its default pool, a process a core: with tasks in flight its fastest, although no other contender has two workers
        make_app(address).worker_main(["worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"])

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        """Celery is synchronous and its results belong to one thread, so it blocks the loop; nothing else runs there. All that may
        be in flight is sent first, then the oldest result is awaited, and the next task sent."""
        echo = make_app(address).tasks["echo"]

        async def round_trip(payload: bytes) -> bytes:
            sent = echo.delay(payload.decode())
            await asyncio.sleep(0)
            return str(sent.get()).encode()

        yield round_trip
