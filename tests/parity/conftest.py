"""One broker and two worker processes for all cases of a test process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker
from langgraph_nolag.client.link import RoomLink

if str(Path(__file__).parent.parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent.parent))  # workers import the cases by the same name


@pytest.fixture(scope="session")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def workers(broker: LocalBroker) -> list[Any]:
    return [worker.wait_ready() for worker in broker.spawn_worker("parity.worker:app", n=2)]


@pytest.fixture
def dispatched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types of the tasks that this test handed to the workers."""
    types: list[str] = []
    original = RoomLink.dispatch

    def dispatch(self: RoomLink, fields: dict[str, Any], *args: Any, **named: Any) -> Any:
        types.append(fields["type"])
        return original(self, fields, *args, **named)

    monkeypatch.setattr(RoomLink, "dispatch", dispatch)
    return types
