from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, open_room
from langgraph_nolag.client.body import encode
from langgraph_nolag.client.link import RoomLink


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
