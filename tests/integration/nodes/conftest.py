from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, NoLagSaver, Room, connect

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # workers import the graphs by the same name


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture
async def agent(broker: LocalBroker) -> AsyncIterator[Callable[..., Any]]:
    """Joins the room as somebody, until the test ends."""
    async with AsyncExitStack() as stack:

        async def join(name: str, **options: Any) -> Room:
            client = await stack.enter_async_context(connect(broker.url, token=broker.token(name)))
            return await client.join("desk", **options)

        yield join


class DyingSaver(NoLagSaver):
    """Loses its process when it should store what a node wrote, as often as told."""

    dies = 1

    def _die(self, task_path: str) -> None:
        if "__pregel_pull" in task_path and self.dies:
            self.dies -= 1
            raise ConnectionError("power cut")

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self._die(task_path)
        super().put_writes(config, writes, task_id, task_path)

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self._die(task_path)
        await super().aput_writes(config, writes, task_id, task_path)
