"""Searching by meaning, with embeddings of the user's own."""

from __future__ import annotations

import asyncio
import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp

from langgraph_nolag import BadRequest, LocalBroker, NoLagStore

LETTERS = "aeimtc"


def embed(texts: list[str]) -> list[list[float]]:
    return [[text.lower().count(letter) + 0.1 for letter in LETTERS] for text in texts]


async def aembed(texts: list[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return embed(texts)


class Letters(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return embed([text])[0]


def index(how: Any = embed, **more: Any) -> Any:
    return {"dims": len(LETTERS), "embed": how, **more}


async def fill(store: NoLagStore) -> None:
    for number, text in enumerate(["iced tea", "coffee", "milk", "mate", "tea"]):
        await store.aput(("drinks",), str(number), {"text": text, "n": number})


@pytest.mark.parametrize("how", [embed, aembed, Letters()], ids=["function", "async function", "embeddings"])
async def test_any_embeddings(broker: LocalBroker, how: Any) -> None:
    store = NoLagStore(broker.room("r"), index=index(how, fields=["text"]))
    await fill(store)
    found = await store.asearch(("drinks",), query="tea", limit=2)
    assert [item.value["text"] for item in found] == ["tea", "mate"]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    if how is not aembed:
        assert store.search(("drinks",), query="tea", limit=2) == found


async def test_what_was_overwritten_or_deleted_is_not_found(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), index=index(fields=["text"]))
    await fill(store)
    assert [item.key for item in store.search((), query="tea", limit=1)] == ["4"]
    store.put(("drinks",), "4", {"text": "coffee"})
    store.delete(("drinks",), "3")
    assert [item.key for item in store.search((), query="tea", limit=10)] == ["0", "1", "4", "2"]
    for _ in range(3):  # many more are read than stay
        store.batch([PutOp(("many",), str(n), {"text": "tea"}) for n in range(300)])
        assert len(store.search(("many",), query="tea", limit=500)) == 300
    store.batch([PutOp(("many",), str(n), None) for n in range(300)])
    for text in ("ice", "tea"):
        store.put(("drinks",), "again", {"text": text})
    store.put(("drinks",), "plain", {"text": "tea"}, index=False)
    found = store.search((), query="tea", limit=10)
    assert [item.key for item in found] == ["again", "0", "1", "4", "2", "plain"]
    assert [item.score is None for item in found] == [False] * 5 + [True]


def test_fields(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), index=index())
    store.put(("a",), "whole", {"x": "milk and tea"})
    store.put(("a",), "parts", {"notes": [{"text": "coffee"}, {"text": "tea"}]}, index=["notes[*].text"])
    store.put(("a",), "missing", {"x": 1}, index=["text"])
    found = {item.key: item.score for item in store.search(("a",), query="tea")}
    assert found["parts"] == pytest.approx(1.0, abs=1e-6)  # the nearest of its vectors counts
    assert found["missing"] is None
    assert 0 < (found["whole"] or 0) < 1


async def test_pages_and_filters(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), index=index(fields=["text"]))
    for n in range(60):
        await store.aput(("n", str(n % 3)), str(n), {"text": "tea" * (n % 7) + "milk" * (n % 5), "n": n}, index=None if n % 10 else False)
    everything = await store.asearch((), query="tea", limit=100)
    assert len(everything) == 60
    pages = [item for offset in range(0, 60, 7) for item in await store.asearch((), query="tea", limit=7, offset=offset)]
    assert pages == everything
    assert await store.asearch((), query="tea", filter={"n": {"$lt": 20}}, limit=100) == [
        item for item in everything if item.value["n"] < 20
    ]
    assert await store.asearch(("n", "1"), query="tea", limit=100) == [item for item in everything if item.namespace == ("n", "1")]


async def test_update_embeds_too(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), index=index(fields=["text"]))
    await fill(store)
    store.update(("drinks",), "1", lambda value: {"text": "tea", "n": 1})
    assert {item.key for item in store.search((), query="tea", limit=2)} == {"1", "4"}
    await store.aupdate(("drinks",), "1", lambda value: {"text": "coffee", "n": 1})
    assert [item.key for item in store.search((), query="tea", limit=1)] == ["4"]


def test_an_index_outlives_the_broker(tmp_path: Path) -> None:
    with LocalBroker(tmp_path) as broker:
        asyncio.run(fill(NoLagStore(broker.room("r"), index=index(fields=["text"]))))
    with LocalBroker(tmp_path) as broker:
        store = NoLagStore(broker.room("r"), index=index(fields=["text"]))
        assert [item.value["text"] for item in store.search(("drinks",), query="tea", limit=2)] == ["tea", "mate"]


def test_queries_of_a_store_without_an_index_are_not_ranked(broker: LocalBroker) -> None:
    asyncio.run(fill(NoLagStore(broker.room("r"), index=index(fields=["text"]))))
    found = NoLagStore(broker.room("r")).search(("drinks",), query="tea")
    assert [(item.key, item.score) for item in found] == [(str(n), None) for n in range(5)]


@pytest.mark.parametrize("config", [{"dims": 3}, {"embed": embed}, {"dims": 0, "embed": embed}])
def test_what_is_no_index(broker: LocalBroker, config: Any) -> None:
    with pytest.raises(ValueError, match="dims"):
        NoLagStore(broker.room("r"), index=config)


def test_embeddings_of_another_length(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), index={"dims": 2, "embed": embed})
    with pytest.raises(ValueError, match="dims=2"):
        store.put(("a",), "k", {"text": "tea"})
    assert store.get(("a",), "k") is None


async def test_a_broker_without_the_library(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    store = NoLagStore(broker.room("r"), index=index(fields=["text"]))
    await fill(store)
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("usearch"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("usearch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(BadRequest, match=r"langgraph-nolag\[vectors\]"):
        await store.asearch(("drinks",), query="tea")
    assert len(await store.asearch(("drinks",))) == 5
