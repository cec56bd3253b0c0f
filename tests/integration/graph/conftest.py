"""A real broker and two real worker processes, once for all tests of remote graphs."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))  # workers import the graphs by the same name

from remote_processes import WorkerProcess


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
