from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, Room, connect

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # workers import what they serve by the same name

Join = Callable[..., Any]


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(lease=2.0) as broker:
        yield broker


@pytest.fixture
async def agent(broker: LocalBroker) -> AsyncIterator[Join]:
    """Joins the room as somebody, until the test ends."""
    async with AsyncExitStack() as stack:

        async def join(name: str, **options: Any) -> Room:
            client = await stack.enter_async_context(connect(broker.url, token=broker.token(name)))
            return await client.join("desk", **options)

        yield join


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a graph, or a tool, in one of the two ways."""

    async def call(runnable: Any, *args: Any) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(runnable.invoke, *args)
        return await runnable.ainvoke(*args)

    return call


@pytest.fixture(params=["sync", "async"])
def stream(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Everything that a graph streams, in one of the two ways."""

    async def collect(graph: Any, given: Any, modes: list[str], config: Any = None, **options: Any) -> list[Any]:
        if request.param == "sync":
            return await asyncio.to_thread(lambda: list(graph.stream(given, config, stream_mode=modes, **options)))
        return [chunk async for chunk in graph.astream(given, config, stream_mode=modes, **options)]

    return collect
