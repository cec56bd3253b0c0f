"""What happens while the orchestrator is still about to begin with something."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import remote_graphs as graphs
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langgraph_nolag import LocalBroker, distribute
from langgraph_nolag.client.link import RoomLink


@pytest.mark.usefixtures("workers")
def test_a_body_asks_before_its_dispatch_has_returned(broker: LocalBroker, thread: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that dispatches may pause for as long as the whole body takes."""
    real = RoomLink.dispatch
    waited: list[bool] = []

    def slow(self: RoomLink, fields: Any, body: bytes, *, on_end: Any, **options: Any) -> Any:
        over = threading.Event()

        def ended(result: Any) -> None:
            over.set()
            on_end(result)

        followed = real(self, fields, body, on_end=ended, **options)
        waited.append(over.wait(15))
        return followed

    remote = distribute(graphs.asking, broker.room("graphs"), name="asking", checkpointer=InMemorySaver())
    remote.invoke({"x": 1}, thread)
    monkeypatch.setattr(RoomLink, "dispatch", slow)
    remote.invoke(Command(resume="A"), thread)  # who takes this answer, the body asks
    assert waited == [True]
