"""LangGraph's `AsyncSqliteSaver` on a file, with its own settings: a write-ahead log, synced at every commit."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from .base import SaverContender


class Sqlite(SaverContender):
    name = "AsyncSqliteSaver"
    durability = "fsync before every acknowledgement"

    def missing(self) -> str | None:
        try:
            version("langgraph-checkpoint-sqlite")
        except PackageNotFoundError:
            return "langgraph-checkpoint-sqlite (the dependency group `bench`)"
        return None

    def version(self) -> str:
        return f"langgraph-checkpoint-sqlite {version('langgraph-checkpoint-sqlite')}, SQLite {sqlite3.sqlite_version}"

    @contextmanager
    def server(self, folder: Path) -> Iterator[str]:
        yield str(folder / "checkpoints.db")

    @asynccontextmanager
    async def saver(self, address: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(address) as saver:
            await saver.setup()
            yield saver
