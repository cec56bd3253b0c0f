"""What a frame may hold: the broker ends the connection for what is no frame, so it is found before."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest

from langgraph_nolag.client.frames import packed
from langgraph_nolag.errors import BadRequest
from nolag_broker.wire.codec import new_packer, unpack

pack = new_packer().pack
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    "value", [{}, {"a": [{"b": 1}]}, OrderedDict(a=1), [1, "x", b"y", None, (1.5, True)], {"": {"": {}}}, 2**64 - 1, "é"], ids=repr
)
def test_what_the_protocol_has_is_sent_as_it_is(value: Any) -> None:
    frame = {"op": "task.dispatch", "id": 1, "metadata": value}
    assert packed(pack, frame) == msgpack.packb(frame)
    unpack(packed(pack, frame))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1: 2}, "key in it is of type int"),
        ({None: 2}, "key in it is of type NoneType"),
        ({b"a": 2}, "key in it is of type bytes"),
        ({"a": [{"b": {(1, 2): 3}}]}, "key in it is of type tuple"),
        ([({1.5: 0},)], "key in it is of type float"),
        ({"a": msgpack.ExtType(5, b"")}, "ExtType"),
        ([msgpack.Timestamp(0)], "Timestamp"),
        (msgpack.ExtType(5, b""), "ExtType"),
        (ITSELF, "recursion"),
        pytest.param(object(), "object", id="object"),
        ({"a": {1, 2}}, "set"),
        (timedelta(seconds=1), "timedelta"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime"),
        (10**30, "too large|out of range|big"),
        ("\ud800", "surrogates"),
    ],
    ids=str,
)
def test_what_it_has_not_is_refused_by_its_field(value: Any, why: str) -> None:
    with pytest.raises(BadRequest, match=f"task.dispatch: metadata can't be sent: .*({why})") as caught:
        packed(pack, {"op": "task.dispatch", "id": 1, "metadata": value, "type": "t"})
    assert caught.value.detail == {"field": "metadata"}
    assert packed(pack, {"op": "ping"}) == msgpack.packb({"op": "ping"})  # the packer is as new
