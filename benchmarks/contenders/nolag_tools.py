"""Ours, for tool calls: the broker on SQLite, `tools.serve` in the worker; called by name, or as LangChain tools."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from .base import RoundTrip
from .nolag import NoLag, connected


async def echo(text: str) -> str:
    """Say it again."""
    return text


class NoLagTool(NoLag):
    shapes = ("sequential", "in_flight")

    def __init__(self, name: str, *, proxy: bool) -> None:
        super().__init__(name)
        self._proxy = proxy

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        async with connected(address) as client:
            room = await client.join("bench")
            async with room.tools.serve([echo], concurrency=100):
                ready()
                await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        async with connected(address) as client:
            room = await client.join("bench")
            (tool,) = await room.tools.list()

            async def by_name(payload: bytes) -> bytes:
                answer: str = await room.tools.invoke("echo", {"text": payload.decode()})
                return answer.encode()

            async def as_tool(payload: bytes) -> bytes:
                answer: str = await tool.ainvoke({"text": payload.decode()})
                return answer.encode()

            yield as_tool if self._proxy else by_name
