"""Broker and worker processes that are killed and started again, and clients of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langgraph_nolag import connect

LEASE = 1.0
ROOM = "chaos"
PROGRAM = (sys.executable, "-m", "nolag_broker")

# Workers are forked from a process that has imported everything: they start in milliseconds, and are killed as any other.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["chaos.worker", "langgraph_nolag.graph.worker", "langgraph_nolag.graph.tools", "langchain_core.tools"])


class Broker:
    """A broker process on one folder and one port.

    Args:
        program: another command than the broker's own, with the same options.
        environment: added to ours.
    """

    def __init__(
        self, folder: Path, lease: float = LEASE, program: Sequence[str] = PROGRAM, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = dict(environment or {})
        self._lease = lease
        self._program = program
        self._errors = folder / "broker.log"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return str(json.loads((self.data / "credentials.json").read_text())["token"])

    @property
    def said(self) -> str:
        """What it wrote to stderr so far."""
        return self._errors.read_text()

    def start(self) -> float:
        """Returns the seconds until it was ready."""
        begun = time.monotonic()
        line = self.try_start()
        listening = re.match(r"listening on ws://[\d.]+:(\d+)", line)
        assert listening, f"{line!r}, and in the log: {self.said[-2000:]}"
        self.port = int(listening[1])
        return time.monotonic() - begun

    def try_start(self) -> str:
        """Its first line; empty when it ended instead."""
        options = ["--path", str(self.data), "--port", str(self.port), "--lease", str(self._lease)]
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*self._program, *options], stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **self.environment}
            )
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()  # ends, at the latest, with the process

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.wait()

    def wait(self, timeout: float = 20.0) -> int:
        """Until it has ended by itself; its exit code."""
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(timeout)
        self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Worker:
    """A process that serves the room, forked and killed."""

    def __init__(self, broker: Broker, behaviour: Callable[..., Any], *arguments: Any) -> None:
        self.pipe, theirs = _FORKS.Pipe()
        self._process = _FORKS.Process(target=behaviour, args=(broker.url, broker.token, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()

    async def says(self, timeout: float = 20.0) -> Any:
        """The next thing it sends through its pipe."""
        return await asyncio.to_thread(_receive, self.pipe, timeout)


def _receive(pipe: Connection, timeout: float) -> Any:
    if not pipe.poll(timeout):
        raise TimeoutError(f"a worker said nothing for {timeout:g} s")
    return pipe.recv()


@contextlib.asynccontextmanager
async def joined(broker: Broker, url: str | None = None, room: str = ROOM, **options: Any) -> AsyncIterator[Any]:
    """A client of its own connection, in the room."""
    async with connect(url or broker.url, token=broker.token) as client:
        yield await client.join(room, **options)


async def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> None:
    try:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {what}") from None
