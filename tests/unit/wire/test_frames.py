"""Frames put together from encoded parts are the frames that encoding the whole would give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolag_broker.wire.codec import pack, unpack
from nolag_broker.wire.frames import array_header, batch, log_push

frames = st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.binary(max_size=20), max_size=3)


@given(st.lists(frames, min_size=2, max_size=40))
def test_a_batch_is_the_array_of_its_frames(items: list[dict[str, Any]]) -> None:
    assert batch([pack(item) for item in items]) == pack(items)


@given(frames)
def test_a_batch_of_one_is_the_frame_itself(item: dict[str, Any]) -> None:
    assert batch([pack(item)]) == pack(item)


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536, 100_000])
def test_array_headers_at_their_borders(count: int) -> None:
    assert unpack(array_header(count) + b"\xc0" * count) == [None] * count


@given(st.integers(0, 2**32), st.lists(frames, max_size=20), st.integers(0, 2**53))
def test_a_log_push_is_the_encoded_map(sub: int, events: list[dict[str, Any]], through: int) -> None:
    push = {"push": "log", "sub": sub, "through": through, "events": events}
    assert log_push(sub, [pack(event) for event in events], through) == pack(push)
