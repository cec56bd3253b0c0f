"""A real broker, a worker that serves nodes, and processes that the tests start and kill."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, NoLagSaver, distribute, open_room
from langgraph_nolag.client.link import RoomLink

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from runs_graphs import GRAPHS  # noqa: E402
from runs_helpers import Process, Start  # noqa: E402


@pytest.fixture(scope="session")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(disconnect_grace=0.3) as broker:  # what a killed process held need not wait long
        yield broker


@pytest.fixture(scope="session")
def nodes(broker: LocalBroker) -> Iterator[Process]:
    """A worker that serves nodes, and runs nothing as a whole."""
    process = Process(broker, "nodes", "worker")
    yield process.wait_for("worker ready")
    process.kill()
    assert not [line for line in process.output if "in langgraph-nolag itself" in line]


@pytest.fixture
def start(broker: LocalBroker) -> Iterator[Start]:
    """Starts processes, which end with the test."""
    started: list[Process] = []

    def begin(*words: str) -> Process:
        process = Process(broker, f"{words[0]}-{uuid.uuid4().hex[:6]}", *words)
        started.append(process)
        return process.wait_for("worker ready" if words[0] == "worker" else "invoking")

    yield begin
    for process in started:
        process.kill()


@pytest.fixture
def link(broker: LocalBroker) -> RoomLink:
    return open_room(broker.room("runs"))


@pytest.fixture
def thread() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def graph(broker: LocalBroker) -> Callable[[str], Any]:
    """A graph of the tests, distributed from here."""

    def made(name: str) -> Any:
        room = broker.room("runs")
        return distribute(GRAPHS[name], room, name=name, checkpointer=NoLagSaver(room))

    return made
