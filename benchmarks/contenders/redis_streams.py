"""Redis Streams as its documentation teaches it: tasks in a stream with a consumer group and acknowledgements, results in a stream for each
dispatcher, both deleted once they are dealt with, in an append-only file."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .base import Contender, RoundTrip, Server, Slots, missing_package
from .redis_server import missing_redis, redis_server, redis_version

SLOTS = 100
BLOCK = 1000  # milliseconds of one read; the client gives up a connection that says nothing for 5 s
Ask = Callable[..., Awaitable[Any]]


class RedisStreams(Contender):
    """`pipelined`: what is asked in one turn of the loop leaves together, on one connection; else each command has a connection of the
    client's pool to itself."""

    def __init__(self, name: str, appendfsync: str, pipelined: bool) -> None:
        self.name = name
        self.durability = "fsync before every acknowledgement" if appendfsync == "always" else f"appendfsync {appendfsync}"
        self._appendfsync = appendfsync
        self._pipelined = pipelined

    def missing(self) -> str | None:
        return missing_package("redis") or missing_redis()

    def version(self) -> str:
        return f"redis {redis_version()}, redis-py {version('redis')}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        with redis_server(folder, self._appendfsync) as server:
            yield server

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        from redis.asyncio import Redis

        redis = Redis.from_url(address, max_connections=2 * SLOTS)
        await redis.xgroup_create("tasks", "workers", id="0", mkstream=True)
        ask = self._ask(redis)
        slots = Slots(SLOTS)

        async def handle(id: bytes, fields: dict[bytes, bytes]) -> None:
            try:
                await ask("XADD", fields[b"reply"], "*", "task", fields[b"task"], "body", fields[b"body"])
                await asyncio.gather(ask("XACK", "tasks", "workers", id), ask("XDEL", "tasks", id))
            finally:
                slots.give_back()

        ready()
        async with asyncio.TaskGroup() as running:
            while True:
                free = await slots.take_all()
                found = await redis.xreadgroup("workers", "worker", {"tasks": ">"}, count=free, block=BLOCK)
                messages = found[0][1] if found else []
                slots.give_back(free - len(messages))
                for id, fields in messages:
                    running.create_task(handle(id, fields))

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        from redis.asyncio import Redis

        redis = Redis.from_url(address, max_connections=2 * SLOTS)
        ask = self._ask(redis)
        mine = f"results:{uuid.uuid4().hex}"
        waiting: dict[bytes, asyncio.Future[bytes]] = {}

        async def receive() -> None:
            last = b"0"
            while True:
                found = await redis.xread({mine: last}, block=BLOCK)
                for id, fields in found[0][1] if found else []:
                    last = id
                    if b"task" not in fields:
                        return
                    waiting.pop(fields[b"task"]).set_result(fields[b"body"])
                if found:
                    await ask("XDEL", mine, *(id for id, _ in found[0][1]))

        async def round_trip(payload: bytes) -> bytes:
            task = uuid.uuid4().hex
            result = waiting[task.encode()] = asyncio.get_running_loop().create_future()
            await ask("XADD", "tasks", "*", "task", task, "reply", mine, "body", payload)
            return await result

        receiving = asyncio.create_task(receive())
        try:
            yield round_trip
        finally:
            await ask("XADD", mine, "*", "the", "end")  # the client swallows a cancellation
            await receiving
            await redis.aclose()

    def _ask(self, redis: Any) -> Ask:
        if self._pipelined:
            return Pipelined(redis)
        ask: Ask = redis.execute_command
        return ask


class Pipelined:
    """One pipeline is under way at a time; what is asked meanwhile is the next one."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._asked: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, *command: Any) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            pipeline = self._redis.pipeline(transaction=False)
            for command, _ in asked:
                pipeline.execute_command(*command)
            for (_, answer), said in zip(asked, await pipeline.execute(), strict=True):
                answer.set_result(said)
        self._sending = None
