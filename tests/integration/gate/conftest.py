from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, open_room
from langgraph_nolag.client.body import encode
from langgraph_nolag.client.link import RoomLink
from langgraph_nolag.local import WorkerProcess


class Person:
    """Somebody with a token, who looks at approvals and decides."""

    def __init__(self, link: RoomLink) -> None:
        self.link = link

    def pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.link.call("approval.list")["approvals"]
        return found

    def decide(self, type: str, approval: str | None = None, args: Any = None, **fields: Any) -> dict[str, Any]:
        chosen = approval or self.pending()[0]["approval"]
        body = None if args is None else encode(args)
        return self.link.call("approval.decide", approval=chosen, type=type, body=body, **fields)


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture
def person(broker: LocalBroker) -> Callable[..., Person]:
    def make(name: str, roles: tuple[str, ...] = (), room: str = "bank") -> Person:
        return Person(open_room(f"{broker.url}/{room}", token=broker.token(name, roles=roles)))

    return make


HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # workers import the graphs by the same name


@pytest.fixture
def worker(broker: LocalBroker) -> WorkerProcess:
    (started,) = broker.spawn_worker("gate_graphs:app")
    return started.wait_ready()
