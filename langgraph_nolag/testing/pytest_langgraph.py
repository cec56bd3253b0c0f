"""A plugin that runs existing tests of graphs over a broker: `pytest -p langgraph_nolag.testing.pytest_langgraph`.

In every test, `compile()` gives a graph whose nodes run on a worker behind a real broker (`loopback_worker.py`), in a room of its own.
LangGraph's own test suite is run over us with it. What was really run that way is said at the end: a graph that is not made by
`StateGraph.compile()`, or outside of a test, is not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from ..local import LocalBroker
from .loopback_worker import Loopback

_rooms = itertools.count(1)
_ran: Counter[str] = Counter()


@pytest.fixture(scope="session")
def nolag_broker() -> Iterator[LocalBroker]:
    with LocalBroker() as broker:
        yield broker


@pytest.fixture(autouse=True)
def nolag_compile(nolag_broker: LocalBroker) -> Iterator[None]:
    with Loopback(nolag_broker.room(f"test-{next(_rooms)}")) as loopback, loopback.every_graph():
        yield
    _ran.update(tests=int(loopback.bodies_run > 0), graphs=loopback.graphs, bodies=loopback.bodies_run)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_sep("-", "over langgraph-nolag")
    terminalreporter.write_line(
        f"{_ran['graphs']} graphs were distributed; a worker ran {_ran['bodies']} bodies of their nodes, in {_ran['tests']} tests"
    )
