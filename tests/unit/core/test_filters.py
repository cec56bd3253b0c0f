"""What a search's filter admits, beside what LangGraph's in-memory store admits."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from nolag_broker.core.store.filters import Filter, read_value
from nolag_broker.wire.codes import Refusal

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -1.5, True]))
plain = st.one_of(st.none(), numbers, st.sampled_from(["", "a", "b", "3"]))
values = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(st.sampled_from(["x", "y"]), plain)),
    max_size=3,
)
comparisons = st.dictionaries(st.sampled_from(["$eq", "$ne"]), plain, min_size=1)
wanted = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.one_of(plain, comparisons, st.lists(plain, max_size=2), st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(plain, comparisons))),
    max_size=2,
)


def theirs(value: dict[str, Any], filter: dict[str, Any]) -> bool:
    store = InMemoryStore()
    store.put(("a",), "k", value)
    return bool(store.search(("a",), filter=filter))


@given(value=values, filter=wanted)
def test_equal_values_are_langgraphs_own(value: dict[str, Any], filter: dict[str, Any]) -> None:
    assert Filter(filter).admits(value) is theirs(value, filter)


@given(value=numbers, operator=st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq", "$ne"]), bound=numbers)
def test_comparisons_are_langgraphs_own(value: Any, operator: str, bound: Any) -> None:
    assert Filter({"x": {operator: bound}}).admits({"x": value}) is theirs({"x": value}, {"x": {operator: bound}})


def test_what_is_no_number_is_not_compared() -> None:
    """LangGraph's in-memory store raises here, its others do not."""
    for value in ({}, {"x": None}, {"x": "many"}, {"x": [1]}, {"x": {"y": 1}}):
        assert not Filter({"x": {"$gt": 0}}).admits(value)
    assert Filter({"x": {"$gt": 2}}).admits({"x": "3"})


@pytest.mark.parametrize(
    "filter",
    [
        None,
        7,
        [],
        {"x": {"$foo": 1}},
        {"x": {"$gt": 1, "y": 2}},
        {"x": {"$gt": "many"}},
        {"x": {"$gt": None}},
        {"$gt": 1},
        {"x": [{"y": {"$in": []}}]},
    ],
)
def test_what_is_no_filter(filter: Any) -> None:
    with pytest.raises(Refusal, match="filter must be") as raised:
        Filter(filter)
    assert raised.value.detail == {"field": "filter"}


def test_values_that_are_not_maps_are_never_admitted() -> None:
    for value in (None, 7, [], "text"):
        assert not Filter({}).admits(value)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x91" * 5000, msgpack.packb({1: 2}), msgpack.packb(msgpack.ExtType(5, b"x")), msgpack.packb(1) * 2]
)
def test_bodies_that_hold_no_value(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_value(body)
