"""LangGraph's `AsyncPostgresSaver` on a server of its own with PostgreSQL's own settings, over a pool of connections."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from ..contenders.base import free_port, process, wait_for_text
from .base import SaverContender

CONNECTIONS = 20  # as many as threads are written at a time


class Postgres(SaverContender):
    name = "AsyncPostgresSaver"
    durability = "fsync before every acknowledgement"

    def missing(self) -> str | None:
        try:
            version("langgraph-checkpoint-postgres")
            import psycopg  # noqa: F401 - it needs a library of the system, or its own binary
        except (PackageNotFoundError, ImportError):
            return "langgraph-checkpoint-postgres with psycopg (the dependency group `bench`)"
        return None if _programs() is not None else "PostgreSQL (initdb and postgres)"

    def version(self) -> str:
        server = subprocess.run([_program("postgres"), "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
        return f"langgraph-checkpoint-postgres {version('langgraph-checkpoint-postgres')}, PostgreSQL {server}"

    @contextmanager
    def server(self, folder: Path) -> Iterator[str]:
        # PostgreSQL refuses to run as root; its package made a user for it.
        other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        data, port, log = folder / "data", free_port(), folder / "postgres.log"
        data.mkdir(mode=0o700)
        if other:
            _let_in(folder)
            shutil.chown(data, "postgres", "postgres")
        create = [*other, _program("initdb"), "--pgdata", str(data), "--auth=trust", "--username=bench", "--encoding=UTF8", "--no-locale"]
        subprocess.run(create, check=True, capture_output=True, cwd=data)
        start = [*other, _program("postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        with process([*start, "-c", "unix_socket_directories="], log) as child:
            wait_for_text("ready to accept connections", child, log)
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"

    @asynccontextmanager
    async def saver(self, address: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool

        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(address, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=False) as pool:
            await pool.wait()
            saver = AsyncPostgresSaver(pool)
            await saver.setup()
            yield saver


def _programs() -> Path | None:
    """Where `initdb` and `postgres` are: on the path, or where Debian's packages put them; the newest."""
    found = [Path(program).resolve().parent for name in ("initdb", "postgres") if (program := shutil.which(name)) is not None]
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    return next((folder for folder in [*found, *versions] if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _program(name: str) -> str:
    folder = _programs()
    assert folder is not None
    return str(folder / name)


def _let_in(folder: Path) -> None:
    """Others may pass through the folder, and those around it that are ours."""
    for each in (folder, *folder.parents):
        if each.owner() == getpass.getuser():
            each.chmod(each.stat().st_mode | 0o011)
