"""A Redis server with an append-only file."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .base import Server, free_port, process, wait_for_port


def missing_redis() -> str | None:
    return None if shutil.which("redis-server") else "redis-server (a package of the system)"


def redis_version() -> str:
    words = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()
    return words[2].removeprefix("v=")


@contextlib.contextmanager
def redis_server(folder: Path, appendfsync: str) -> Iterator[Server]:
    """Starts on an empty folder; ends with the context."""
    port, log = free_port(), folder / "redis.log"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    with process(["redis-server", *options, "--appendfsync", appendfsync], log) as child:
        wait_for_port(port, child, log)
        yield Server(f"redis://127.0.0.1:{port}/0", child.pid)
