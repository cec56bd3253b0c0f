"""A stream that is left unfinished, and that the garbage collector finds on the I/O thread."""

from __future__ import annotations

import gc
import operator
import threading
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from langgraph_nolag import LocalBroker, NoLagSaver
from langgraph_nolag.client.io import io_thread
from langgraph_nolag.testing import Loopback


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


@pytest.fixture
def loopback(broker: LocalBroker, request: pytest.FixtureRequest) -> Iterator[Loopback]:
    with Loopback(broker.room(request.node.name)) as loopback:
        yield loopback


def test_the_collector_waits_for_no_node(broker: LocalBroker, loopback: Loopback, request: pytest.FixtureRequest, thread: Any) -> None:
    """Closing a stream waits for the nodes that run, which only the I/O thread hears of: it ends elsewhere, and nobody is held up."""
    go_on, over, collected = threading.Event(), threading.Event(), threading.Event()

    def slow(state: Log) -> Log:
        get_stream_writer()("began")
        go_on.wait(20)
        over.set()
        return {"log": ["slow"]}

    builder = StateGraph(Log).add_node(slow).add_edge(START, "slow")
    graph = loopback.distribute(builder.compile(checkpointer=NoLagSaver(broker.room(request.node.name))))

    def leave() -> None:
        stream = graph.stream({"log": []}, thread, stream_mode="custom", durability="sync")
        assert next(stream) == "began"
        cycle: list[Any] = [stream]
        cycle.append(cycle)

    def collect() -> None:
        gc.collect()
        collected.set()

    gc.disable()
    try:
        leave()
        io_thread().post(collect)
        assert collected.wait(10)
        assert not over.is_set()
    finally:
        go_on.set()
        gc.enable()
    assert over.wait(10)
    assert graph.invoke(None, thread, durability="sync") == {"log": ["slow"]}
