"""Celery on Redis with late acknowledgement and an append-only file: a worker with the default pool, results in Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .base import Contender, RoundTrip, Server, missing_package
from .redis_server import missing_redis, redis_server, redis_version


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
        return missing_package("celery") or missing_redis()

    def version(self) -> str:
        return f"celery {version('celery')}, redis {redis_version()}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        with redis_server(folder, "everysec") as server:
            yield server

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
