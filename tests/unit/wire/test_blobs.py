"""References: what stands in a body for a large value."""

from __future__ import annotations

from hashlib import sha256

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.wire.blobs import BLOB, INLINE, PIECE, Reference, referred, referred_by_record
from nolag_broker.wire.codes import Refusal


@given(st.binary(max_size=100), st.none() | st.text(min_size=1))
def test_a_reference_is_read_as_it_was_written(value: bytes, ct: str | None) -> None:
    reference = Reference.to(value, ct)
    assert reference == Reference(sha256(value).digest(), len(value), ct)
    assert Reference.from_body(reference.body) == reference
    assert referred(reference.body, BLOB) == reference.hash
    assert Reference.from_record(reference.record) == reference
    assert referred_by_record(reference.record) == reference.hash


def test_equal_values_have_equal_references() -> None:
    assert Reference.to(b"x").body == Reference.to(b"x").body
    assert len({Reference.to(b"x").body, Reference.to(b"y").body, Reference.to(b"x", "text").body}) == 3


@pytest.mark.parametrize("body", [b"", bytes(39), bytes(40) + b"\xff", None, "text", 7])
def test_what_is_no_reference_is_refused(body: object) -> None:
    with pytest.raises(Refusal) as refused:
        Reference.from_body(body)  # type: ignore[arg-type]
    assert refused.value.code == "bad_request"


def test_other_bodies_refer_to_nothing() -> None:
    assert referred(bytes(100), None) is None
    assert referred(bytes(100), "text") is None
    assert referred(None, BLOB) is None
    assert referred_by_record(b"") is None


@given(st.recursive(st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(), st.lists))
def test_no_messagepack_is_taken_for_a_reference(value: object) -> None:
    assert referred_by_record(msgpack.packb(value)) is None


def test_a_piece_and_what_is_around_it_fit_a_frame_of_256_kib() -> None:
    assert INLINE < PIECE <= (256 << 10) - 1024
