"""The codec: whatever bytes come from outside, the answer is an object within bounds or one typed refusal."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nolag_broker.wire.codec import MAX_DEPTH, check_depth, new_packer, pack, unpack
from nolag_broker.wire.codes import Refusal

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=20
)


@given(values)
def test_what_was_packed_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value
    assert new_packer().pack(value) == pack(value)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")  # never used by MessagePack
@example(b"\x01\x02")  # two objects
@example(b"\xa1\xff")  # not UTF-8
@example(b"\x81\x01\x01")  # a key that is not a string
@example(b"\x91" * 10_000)  # nested 10,000 deep
@example(b"\x81\xa1k" * 10_000)
def test_any_bytes_are_an_object_or_a_bad_frame(data: bytes) -> None:
    refused = None
    try:
        unpack(data)
    except Refusal as refusal:
        refused = refusal
    assert refused is None or (refused.code == "bad_frame" and not refused.retryable)


@given(values, st.data())
def test_a_cut_or_a_tail_is_a_bad_frame(value: Any, data: st.DataObject) -> None:
    encoded = pack(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\xc0"):
        with pytest.raises(Refusal, match="not a MessagePack frame"):
            unpack(wrong)


@pytest.mark.parametrize("header", [b"\xc6", b"\xdb", b"\xdd", b"\xdf", b"\xc9"], ids=["bin", "str", "array", "map", "ext"])
def test_a_length_of_4_gib_takes_no_memory(header: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            unpack(header + b"\xff\xff\xff\xff" + b"\x00" * 16)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.integers(0, 127), st.binary(max_size=16))
def test_extension_types_are_refused(code: int, data: bytes) -> None:
    with pytest.raises(Refusal, match="not a MessagePack frame"):
        unpack(msgpack.packb({"body": msgpack.ExtType(code, data)}))


@pytest.mark.parametrize("seconds", [0, 2**33, 2**40], ids=["4 bytes", "8 bytes", "12 bytes"])
def test_the_timestamp_extension_is_refused_where_a_value_is_free_form(seconds: int) -> None:
    value = unpack(msgpack.packb({"when": [msgpack.Timestamp(seconds)]}))
    with pytest.raises(Refusal, match="extension type") as refused:
        check_depth(value)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("value", [{b"k": 1}, [{"a": {b"": None}}]])
def test_bytes_are_no_keys_where_a_value_is_free_form(value: Any) -> None:
    with pytest.raises(Refusal, match="a key that is no text") as refused:
        check_depth(unpack(msgpack.packb(value)))
    assert refused.value.code == "bad_request"


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: [1, {"k": v}, 2]])
def test_free_form_values_nest_to_the_limit_and_no_deeper(wrap: Any) -> None:
    levels = MAX_DEPTH // (2 if isinstance(wrap(1), list) and len(wrap(1)) == 3 else 1)
    check_depth(nested(levels, wrap))
    with pytest.raises(Refusal) as refused:
        check_depth(nested(levels + 1, wrap))
    assert refused.value.code == "bad_request"


def test_the_check_itself_can_not_overflow() -> None:
    with pytest.raises(Refusal):
        check_depth(nested(100_000, lambda v: [v]))


@given(values)
def test_what_is_within_the_limit_passes(value: Any) -> None:
    check_depth(value)
