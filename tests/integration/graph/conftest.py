"""A real broker and two real worker processes, once for all tests of remote graphs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker

HERE = Path(__file__).parent
ROOM = "graphs"

if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # workers import the graphs by the same name


class WorkerProcess:
    """One worker process; its output is read all the time, so that it can't block on it."""

    def __init__(self, broker: LocalBroker, actor: str, capabilities: tuple[str, ...] = ()) -> None:
        env = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token(actor), "PYTHONPATH": str(HERE)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "remote_worker.py"), *capabilities],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("worker ready"):
                self._ready.set()
        self._ready.set()

    def wait_ready(self) -> WorkerProcess:
        assert self._ready.wait(30), "no worker after 30 s"
        assert self.process.poll() is None, "".join(self.output)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture(scope="session")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(disconnect_grace=0.3) as broker:  # a killed worker's tasks need not wait long
        yield broker


@pytest.fixture(scope="session")
def workers(broker: LocalBroker) -> Iterator[list[WorkerProcess]]:
    started = [WorkerProcess(broker, f"worker-{number}") for number in (1, 2)]
    try:
        yield [worker.wait_ready() for worker in started]
    finally:
        for worker in started:
            worker.kill()
        unexpected = [line for worker in started for line in worker.output if "in langgraph-nolag itself" in line]
        assert not unexpected, unexpected


@pytest.fixture
def new_worker(broker: LocalBroker) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts further workers, which end with the test."""
    started: list[WorkerProcess] = []

    def start(*capabilities: str) -> WorkerProcess:
        started.append(WorkerProcess(broker, f"extra-{uuid.uuid4().hex[:6]}", capabilities))
        return started[-1].wait_ready()

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def thread() -> dict[str, Any]:
    """The config of a new thread."""
    return {"configurable": {"thread_id": uuid.uuid4().hex}}
