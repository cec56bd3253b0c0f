"""Ours: `NoLagSaver` in a room of a broker on SQLite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from langgraph_nolag import NoLagSaver

from ..contenders.nolag import NoLag
from .base import SaverContender


class NoLagSavers(SaverContender):
    name = "NoLagSaver"
    durability = "fsync before every acknowledgement"

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"langgraph-nolag {version('langgraph-nolag')}"

    @contextmanager
    def server(self, folder: Path) -> Iterator[str]:
        with NoLag().server(folder) as server:
            yield server.address

    @asynccontextmanager
    async def saver(self, address: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        found = json.loads(Path(address).read_text())
        saver = NoLagSaver(f"{found['url']}/checkpoints", token=found["token"])
        yield saver
        await saver.link.connection.aclose()
