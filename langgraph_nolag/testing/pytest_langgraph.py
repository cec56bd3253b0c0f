"""A plugin that runs existing tests of graphs over a broker: `pytest -p langgraph_nolag.testing.pytest_langgraph`.

In every test, `compile()` gives a graph whose nodes run on a worker behind a real broker (`loopback_worker.py`), in a room of its own.
LangGraph's own test suite is run over us with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from ..local import LocalBroker
from .loopback_worker import Loopback

_rooms = itertools.count(1)


@pytest.fixture(scope="session")
def nolag_broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture(autouse=True)
def nolag_compile(nolag_broker: LocalBroker) -> Iterator[None]:
    with Loopback(nolag_broker.room(f"test-{next(_rooms)}")) as loopback, loopback.every_graph():
        yield
