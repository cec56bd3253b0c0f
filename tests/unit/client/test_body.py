from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_nolag.client.body import decode, encode
from langgraph_nolag.errors import NotDecodable, NotEncodable

keys = st.recursive(st.text() | st.integers(-5, 5), lambda inner: st.tuples(inner, inner), max_leaves=4)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_as_they_went(value: Any) -> None:
    assert decode(encode(value)) == value


def test_datetimes_travel_and_tuples_become_lists() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    assert decode(encode({"at": moment, "pair": (1, 2)})) == {"at": moment, "pair": [1, 2]}


def test_tuples_that_are_keys_stay_tuples() -> None:
    value = {(0, 1): [{("a", (2, b"b")): (3, 4)}], "at": datetime(2026, 2, 3, tzinfo=UTC)}
    assert decode(encode(value)) == value | {(0, 1): [{("a", (2, b"b")): [3, 4]}]}


@dataclass
class Plan:
    steps: int = 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"plan": {"steps": [1, {"run": Plan()}]}}, "Plan at .plan.steps[1].run"),
        (Plan(), "Plan at the top"),
        ([1, {2, 3}], "set at [1]"),
        ({"n": 2**64}, "int at .n: integers have at most 64 bits"),
        ({"at": datetime(2026, 1, 1)}, "datetime at .at: a datetime needs a time zone"),
        ({Plan: 1}, "type at  (a key)"),
        ({"text": "\ud800"}, "str at .text"),
    ],
)
def test_what_has_no_form_is_named_with_its_path(value: Any, words: str) -> None:
    with pytest.raises(NotEncodable) as caught:
        encode(value)
    assert words in str(caught.value)
    assert caught.value.code == "not_encodable"


def test_what_nests_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotEncodable):
        encode(value)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\x01", encode(1) + b"x", b"\x81\x80\xc0", b"\x81" * 600 + b"\x90\xc0"])
def test_bytes_that_are_no_body_are_a_typed_error(body: bytes) -> None:
    with pytest.raises(NotDecodable):
        decode(body)


def test_another_content_type_stays_bytes_and_nothing_stays_none() -> None:
    assert decode(b"\xff\xd8", "image/jpeg") == b"\xff\xd8"
    assert decode(None) is None
