"""Graphs whose memory is a room's, in process and on workers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import LocalBroker, NoLagStore, distribute


@pytest.fixture
def worker_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """By the name that the worker process imports it by."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = importlib.util.find_spec("store_worker")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["store_worker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["store_worker"]


def embed(texts: list[str]) -> list[list[float]]:
    return [[text.count(letter) + 0.1 for letter in "aeimtc"] for text in texts]


SEEN: list[Any] = [
    True,
    ["tea", "coffee"],
    {"text": "tea", "n": 1},
    {"text": "coffee", "n": 2},
    [("users", "ana")],
]


async def test_nodes_use_the_store_of_a_room(worker_module: Any) -> None:
    """The same in this process and on a worker, which needs neither the embeddings nor a grant for the store."""
    with LocalBroker() as broker:
        index: Any = {"dims": 6, "embed": embed, "fields": ["text"]}
        store = NoLagStore(broker.room("graphs"), index=index)
        here = worker_module.builder.compile(store=store)
        assert await here.ainvoke({"user": "ana"}) == {"user": "ana", "seen": SEEN, "count": 3}
        assert store.get(("counts",), "all").value == {"n": 4}  # type: ignore[union-attr]
        store.delete(("counts",), "all")
        broker.spawn_worker("store_worker:app")
        remote = distribute(worker_module.graph, broker.room("graphs"), store=store)
        assert await remote.ainvoke({"user": "ana"}) == {"user": "ana", "seen": [*SEEN, "NotSupported"], "count": 3}
        assert store.get(("counts",), "all").value == {"n": 4}  # type: ignore[union-attr]
        assert store.get(("users", "ana"), "gone") is None
