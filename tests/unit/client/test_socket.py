from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from langgraph_nolag.client.socket import BATCH, messages, next_beat
from nolag_broker.wire.codec import pack, unpack


@given(st.lists(st.integers(0, BATCH + 10), max_size=30))
def test_batches_hold_every_frame_once_in_order(sizes: list[int]) -> None:
    frames = [pack({"n": n, "b": b"x" * size}) for n, size in enumerate(sizes)]
    found: list[Any] = []
    for message in messages(frames):
        inside = unpack(message)
        found.extend(inside if isinstance(inside, list) else [inside])
    assert [frame["n"] for frame in found] == list(range(len(sizes)))


def test_small_frames_share_a_message_and_large_ones_travel_uncopied() -> None:
    small, large = pack({"id": 1}), pack({"b": b"x" * (BATCH + 1)})
    assert len(messages([small] * 1000)) == 1
    assert messages([small, large, small]) == [small, large, small]
    assert messages([large])[0] is large
    assert messages([]) == []


@given(st.floats(0, 1e9), st.floats(0.1, 10))
def test_a_heartbeat_is_due_in_time_and_with_those_of_other_connections(now: float, heartbeat: float) -> None:
    due = next_beat(now, heartbeat)
    assert -1e-6 < due - now < heartbeat
    assert next_beat((now + due) / 2, heartbeat) == due or due - now < 1e-6
