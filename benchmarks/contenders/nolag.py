"""Ours, as the README teaches it: the broker on SQLite, `handoff.serve` in the worker, `handoff.dispatch` in the dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .base import Contender, RoundTrip, Server, process, wait_for_line

COMPILED = Path("build/compiled").resolve()


class NoLag(Contender):
    """`compiled`: with the broker that `make compiled` makes."""

    durability = "fsync before every acknowledgement"

    def __init__(self, name: str = "langgraph-nolag", compiled: bool = False) -> None:
        self.name = name
        self._compiled = compiled

    def missing(self) -> str | None:
        return "compiled broker (`make compiled`)" if self._compiled and not COMPILED.exists() else None

    def version(self) -> str:
        return f"langgraph-nolag[fast] {version('langgraph-nolag')}, uvloop {version('uvloop')}"

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        log = folder / "broker.log"
        command = [sys.executable, "-m", "nolag_broker", "--port", "0", "--path", str(folder / "data")]
        with process(command, log, **({"PYTHONPATH": str(COMPILED)} if self._compiled else {})) as child:
            wait_for_line("listening on", child, log)
            # clients get all they need from the file that the broker leaves for its own machine
            yield Server(str(folder / "data" / "credentials.json"), child.pid)

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        async def echo(task: Any) -> bytes:
            return bytes(task.payload)

        async with connected(address) as client:
            room = await client.join("bench", capabilities=["echo"], max_concurrency=100)
            async with room.handoff.serve(echo, capabilities=["echo"], concurrency=100):
                ready()
                await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        async with connected(address) as client:
            room = await client.join("bench")

            async def round_trip(payload: bytes) -> bytes:
                task = await room.handoff.dispatch("echo", payload, capabilities=["echo"])
                return bytes(await task.result())

            yield round_trip


def connected(credentials: str) -> Any:
    from langgraph_nolag import connect

    found = json.loads(Path(credentials).read_text())
    return connect(found["url"], token=found["token"])
