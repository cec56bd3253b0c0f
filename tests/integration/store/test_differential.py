"""Random operations give what LangGraph's `InMemoryStore` gives: sync, async and in batches, on both engines.

Two things it does are not asked for: it lists namespaces whose items were all deleted, or that somebody only looked into, and it
raises where a filter compares what is no number.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from langgraph_nolag import LocalBroker, NoLagStore

LABELS = ["a", "b", "c", "ü/*"]

namespaces = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(tuple)
prefixes = st.lists(st.sampled_from(LABELS), max_size=2).map(tuple)
patterns = st.lists(st.sampled_from([*LABELS, "*"]), min_size=1, max_size=3).map(tuple)
keys = st.sampled_from(["k", "l", "m.n/o", ""])
scalars = st.one_of(st.integers(-3, 3), st.sampled_from([None, True, 1.5, "x", "y", ""]))
parts = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2), max_leaves=4
)
values = st.fixed_dictionaries({"n": st.integers(-3, 3)}, optional={"x": parts, "text": st.sampled_from(["tea", "coffee", "tea and milk"])})
numeric = st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq", "$ne"]), st.integers(-3, 3), min_size=1, max_size=2)
equal = st.one_of(parts, st.dictionaries(st.sampled_from(["$eq", "$ne"]), scalars, min_size=1))
filters = st.one_of(st.none(), st.fixed_dictionaries({}, optional={"n": numeric, "x": equal, "text": st.sampled_from(["tea", "x"])}))

limits, offsets = st.integers(0, 4), st.integers(0, 2)
conditions = st.lists(st.tuples(st.sampled_from(["prefix", "suffix"]), patterns).map(lambda parts: MatchCondition(*parts)), max_size=2)
depths = st.one_of(st.none(), st.integers(0, 3))

operations = st.one_of(
    *[st.tuples(namespaces, keys, st.one_of(values, values, st.none())).map(lambda fields: PutOp(*fields))] * 2,
    st.tuples(st.one_of(namespaces, st.just(())), keys).map(lambda fields: GetOp(*fields)),
    st.tuples(prefixes, filters, st.one_of(limits, st.just(100)), offsets).map(lambda fields: SearchOp(*fields)),
    st.tuples(conditions.map(tuple), depths, limits, offsets).map(lambda fields: ListNamespacesOp(*fields)),
)
batches = st.lists(st.lists(operations, min_size=1, max_size=5), min_size=1, max_size=8)


class Tidy(InMemoryStore):
    """LangGraph's, but for namespaces in which there is nothing."""

    def batch(self, ops: Any) -> Any:
        results = super().batch(ops)
        self._tidy()
        return results

    async def abatch(self, ops: Any) -> Any:
        results = await super().abatch(ops)
        self._tidy()
        return results

    def _prepare_ops(self, ops: Any) -> Any:
        self._tidy()
        results = []
        prepared: Any = ([], {}, {})
        for number, op in enumerate(ops):  # one by one: to look into a namespace makes one
            [result], puts, searches = super()._prepare_ops([op])
            self._tidy()
            results.append(result)
            prepared[1].update(puts)
            prepared[2].update(dict.fromkeys([number], search) if (search := searches.get(0)) else {})
        return results, prepared[1], prepared[2]

    def _tidy(self) -> None:
        for name in [name for name, items in self._data.items() if not items]:
            del self._data[name]


def plain(results: list[Any]) -> list[Any]:
    """Without what differs: moments."""

    def of(result: Any) -> Any:
        if isinstance(result, list):
            return [of(each) for each in result]
        return result if result is None or isinstance(result, tuple) else (type(result), result.namespace, result.key, result.value)

    return [of(result) for result in results]


SHORT = settings(
    max_examples=int(os.environ.get("STORE_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    print_blob=True,
)


def empty(broker: LocalBroker, **options: Any) -> NoLagStore:
    """A store of one room, with nothing in it."""
    store = NoLagStore(broker.room("store"), **options)
    store.batch([PutOp(item.namespace, item.key, None) for item in store.search((), limit=1000)])
    return store


@SHORT
@given(batches=batches)
def test_batches(broker: LocalBroker, batches: list[list[Any]]) -> None:
    ours, theirs = empty(broker), Tidy()
    for ops in batches:
        assert plain(ours.batch(ops)) == plain(theirs.batch(ops))
    everything = [SearchOp((), limit=1000), ListNamespacesOp(limit=1000)]
    assert plain(ours.batch(everything)) == plain(theirs.batch(everything))


@SHORT
@given(batches=batches)
def test_async_batches(broker: LocalBroker, batches: list[list[Any]]) -> None:
    ours, theirs = empty(broker), Tidy()

    async def play() -> None:
        for ops in batches:
            assert plain(await ours.abatch(ops)) == plain(await theirs.abatch(ops))

    asyncio.run(play())


@settings(SHORT, max_examples=SHORT.max_examples // 2)
@given(ops=st.lists(operations, min_size=1, max_size=15), asynchronous=st.booleans())
def test_methods(broker: LocalBroker, ops: list[Any], asynchronous: bool) -> None:
    """Through `get`, `put`, `delete`, `search` and `list_namespaces`, as users call them."""
    ours, theirs = empty(broker), Tidy()
    for op in ops:
        assert outcome(ours, op, asynchronous) == outcome(theirs, op, asynchronous)


def outcome(store: BaseStore, op: Any, asynchronous: bool) -> Any:
    try:
        return plain([asyncio.run(acall(store, op)) if asynchronous else call(store, op)])
    except ValueError as error:  # an invalid namespace is one
        return type(error)


def call(store: BaseStore, op: Any) -> Any:
    if isinstance(op, PutOp):
        return store.put(op.namespace, op.key, op.value) if op.value is not None else store.delete(op.namespace, op.key)
    if isinstance(op, GetOp):
        return store.get(op.namespace, op.key)
    if isinstance(op, SearchOp):
        return store.search(op.namespace_prefix, filter=op.filter, limit=op.limit, offset=op.offset)
    return store.list_namespaces(**listing(op))


async def acall(store: BaseStore, op: Any) -> Any:
    if isinstance(op, PutOp):
        return await (store.aput(op.namespace, op.key, op.value) if op.value is not None else store.adelete(op.namespace, op.key))
    if isinstance(op, GetOp):
        return await store.aget(op.namespace, op.key)
    if isinstance(op, SearchOp):
        return await store.asearch(op.namespace_prefix, filter=op.filter, limit=op.limit, offset=op.offset)
    return await store.alist_namespaces(**listing(op))


def listing(op: ListNamespacesOp) -> Any:
    conditions = {condition.match_type: condition.path for condition in op.match_conditions or ()}
    return {**conditions, "max_depth": op.max_depth, "limit": op.limit, "offset": op.offset}


# --- by meaning ---


def embed(texts: list[str]) -> list[list[float]]:
    """How often each letter is in a text: no model, and yet texts alike are near."""
    return [[float(text.lower().count(letter)) + 0.1 for letter in "aeimtc"] for text in texts]


texts = st.lists(st.sampled_from(["tea", "mate", "coffee", "camomile tea", "ice", "milk", ""]), min_size=1, max_size=3, unique=True)


@settings(SHORT, max_examples=SHORT.max_examples // 2)
@given(
    items=st.lists(st.tuples(namespaces, texts, st.booleans(), st.integers(0, 3)), min_size=1, max_size=10),
    searches=st.lists(
        st.tuples(prefixes, st.sampled_from(["tea", "coffee", "hot milk"]), st.one_of(st.none(), numeric), st.integers(0, 5)), max_size=5
    ),
)
def test_nearness(broker: LocalBroker, items: list[Any], searches: list[Any]) -> None:
    """Scores and order are those of LangGraph's store, filters and items without vectors included; of equals either may come first."""
    index: Any = {"dims": 6, "embed": embed, "fields": ["texts[*]"]}
    ours, theirs = empty(broker, index=index), InMemoryStore(index=index)
    for number, (namespace, words, indexed, n) in enumerate(items):
        for store in (ours, theirs):
            store.put(namespace, str(number), {"texts": words, "n": n}, index=None if indexed else False)
    for prefix, query, comparison, limit in searches:
        wanted = {"n": comparison} if comparison is not None else None
        found, expected = (store.search(prefix, query=query, filter=wanted, limit=limit) for store in (ours, theirs))
        assert [item.score is None for item in found] == [item.score is None for item in expected]
        assert [item.score or 0 for item in found] == pytest.approx([item.score or 0 for item in expected], abs=1e-5)
        scores = {(item.namespace, item.key): item.score for item in theirs.search(prefix, query=query, filter=wanted, limit=100)}
        assert all(scores[item.namespace, item.key] == pytest.approx(item.score, abs=1e-5) for item in found)
