"""What a contender has to offer: a server, a worker and a client. What is measured, and how, is common to all (`shapes`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RoundTrip = Callable[[bytes], Awaitable[bytes]]
"""Dispatch one task with this payload and wait for its stored result."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: what clients need to reach it, and whose CPU time to read."""

    address: str
    pid: int


class Contender(ABC):
    """One way to have a task done by another process. Three processes each: server, worker, dispatcher.

    The work is the same for all: the payload is stored, a worker takes it, sends it back as the result, which is stored, and
    acknowledges; the dispatcher has the result.
    """

    name: str
    durability: str
    shapes: tuple[str, ...] = ("sequential", "in_flight", "connections")

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed here, in words; None when all is there."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def server(self, folder: Path) -> AbstractContextManager[Server]:
        """Starts on an empty folder; ends with the context."""

    @abstractmethod
    async def work(self, address: str, ready: Callable[[], None]) -> None:
        """The worker process: echo, up to 100 tasks at a time, until killed. Calls `ready` once it serves."""

    @abstractmethod
    def client(self, address: str) -> AbstractAsyncContextManager[RoundTrip]:
        """One connection of the dispatcher process."""


class Slots:
    """How many tasks a worker has in hand at most, for one that fetches as many as it has room for."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def take_all(self) -> int:
        """Wait for a free one, and take all that are free."""
        await self._free.acquire()
        taken = 1
        while not self._free.locked():
            await self._free.acquire()
            taken += 1
        return taken

    def give_back(self, count: int = 1) -> None:
        for _ in range(count):
            self._free.release()


@contextlib.contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child with its output in a file, and `environment` beside ours; it ends with the context."""
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def missing_package(name: str) -> str | None:
    """In words, where a package of Python is not installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return f"{name} (the dependency group `bench`)"
    return None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    """Until somebody listens there; see `_wait`."""

    def listening() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return True
        return False

    _wait(listening, child, log)


def wait_for_line(text: str, child: subprocess.Popen[bytes], log: Path, timeout: float = 20.0) -> None:
    """Until the child has printed a line that begins so; see `_wait`."""
    _wait(lambda: any(line.startswith(text) for line in log.read_text(errors="replace").splitlines()), child, log, timeout)


def wait_for_text(text: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Until the child has printed this somewhere; see `_wait`."""
    _wait(lambda: text in log.read_text(errors="replace"), child, log)


def _wait(done: Callable[[], bool], child: subprocess.Popen[bytes], log: Path, timeout: float = 20.0) -> None:
    """Raises with the child's output when it ends before, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{child.args} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
