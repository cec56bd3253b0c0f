"""A tool behind MCP's streamable HTTP, called in one session, or as `langchain-mcp-adapters` does by default: in a session for each call.

There is no server between caller and tool, and nothing is stored. `python -m benchmarks.contenders.mcp_http PORT` is the tool's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from .base import Contender, RoundTrip, Server, free_port, missing_package, process, wait_for_port


class Mcp(Contender):
    name = "MCP streamable HTTP, one session"
    durability = "nothing is stored"
    shapes = ("sequential", "in_flight")
    packages: tuple[str, ...] = ("mcp",)

    def missing(self) -> str | None:
        return next(filter(None, map(missing_package, self.packages)), None)

    def version(self) -> str:
        return "; ".join(f"{package} {version(package)}" for package in self.packages)

    @contextlib.contextmanager
    def server(self, folder: Path) -> Iterator[Server]:
        port, log = free_port(), folder / "mcp.log"
        with process([sys.executable, "-m", "benchmarks.contenders.mcp_http", str(port)], log) as child:
            wait_for_port(port, child, log)
            yield Server(f"http://127.0.0.1:{port}/mcp", child.pid)

    async def work(self, address: str, ready: Callable[[], None]) -> None:
        ready()  # the server is the tool
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        async with streamable_http_client(address) as (reads, writes, _), ClientSession(reads, writes) as session:
            await session.initialize()

            async def call(payload: bytes) -> bytes:
                result = await session.call_tool("echo", {"text": payload.decode()})
                return str(result.content[0].text).encode()  # type: ignore[union-attr]

            yield call


class McpAdapters(Mcp):
    name = "langchain-mcp-adapters, default"
    packages = ("mcp", "langchain-mcp-adapters")

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[RoundTrip]:
        from langchain_mcp_adapters.client import MultiServerMCPClient

        (tool,) = await MultiServerMCPClient({"echo": {"transport": "streamable_http", "url": address}}).get_tools()

        async def call(payload: bytes) -> bytes:
            answer = await tool.ainvoke({"text": payload.decode()})
            return (answer if isinstance(answer, str) else str(answer[0]["text"])).encode()

        yield call


def main() -> None:
    from mcp.server.fastmcp import FastMCP

    server = FastMCP("bench", port=int(sys.argv[1]), log_level="WARNING")

    @server.tool()
    async def echo(text: str) -> str:
        """Say it again."""
        return text

    server.run("streamable-http")


if __name__ == "__main__":
    main()
