"""What worker processes do. Each is given the broker's address, a token, and its end of a pipe."""

from __future__ import annotations

import asyncio
import os
from multiprocessing.connection import Connection
from typing import Any

from langgraph_nolag import connect
from langgraph_nolag.errors import NoLagError

ROOM = "chaos"
IN_HAND = 2  # messages of a member of a group


def echo(url: str, token: str, pipe: Connection, seconds: float) -> None:
    """Four tasks at a time; each takes so long, and its result says who did it under which token."""

    async def handler(task: Any) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"number": task.payload["number"], "token": task.fencing_token, "pid": os.getpid()}

    asyncio.run(_serve(url, token, pipe, handler, 4))


def late(url: str, token: str, pipe: Connection) -> None:
    """One task at a time: says that it has it, holds it until told, and completes it whatever anybody says meanwhile."""

    completing: list[asyncio.Task[None]] = []

    async def run() -> None:
        async with connect(url, token=token) as client:
            room = await client.join(ROOM, capabilities=["work"])

            async def complete(task: Any) -> None:
                await asyncio.to_thread(pipe.recv)
                try:
                    await room.link.acall("task.complete", task=task.id, token=task.fencing_token, body=b"\xc0")
                except NoLagError as error:
                    pipe.send(error.code)
                else:
                    pipe.send("completed")

            async def handler(task: Any) -> None:
                pipe.send(task.id)
                completing.append(asyncio.create_task(complete(task)))
                await asyncio.shield(completing[-1])  # to be cancelled does not stop it

            async with room.handoff.serve(handler, capabilities=["work"], concurrency=1):
                pipe.send("serving")
                await asyncio.Event().wait()

    asyncio.run(run())


def blocked(url: str, token: str, pipe: Connection, seconds: float, holds_interpreter: bool) -> None:
    """A sync handler that blocks its thread, or, the first time a task is handed out, the whole interpreter."""
    import ctypes
    import time

    sleep = ctypes.PyDLL(None).usleep if holds_interpreter else None  # PyDLL keeps the interpreter lock

    def handler(task: Any) -> int:
        pipe.send(task.id)
        if sleep is None:
            time.sleep(seconds)
        elif task.attempt == 1:
            sleep(int(seconds * 1e6))
        return os.getpid()

    asyncio.run(_serve(url, token, pipe, handler, 1))


async def _serve(url: str, token: str, pipe: Connection, handler: Any, concurrency: int) -> None:
    async with connect(url, token=token) as client:
        room = await client.join(ROOM, capabilities=["work"], max_concurrency=concurrency)
        async with room.handoff.serve(handler, capabilities=["work"], concurrency=concurrency):
            pipe.send("serving")
            await asyncio.Event().wait()


def share(url: str, token: str, pipe: Connection) -> None:
    """A member of a group, with few messages in hand; says what it sees, and what it has acknowledged."""

    async def run() -> None:
        async with connect(url, token=token) as client:
            room = await client.join(ROOM)
            stream = room.subscribe("work", group="members", since=0, max_in_flight=IN_HAND)
            await room.observe.emit("member.subscribed")
            pipe.send("subscribed")
            async for message in stream:
                pipe.send(("seen", message.body))
                await message.ack()
                pipe.send(("acknowledged", message.body))

    asyncio.run(run())
