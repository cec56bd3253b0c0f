"""numpy's values cross exactly, or loudly not at all."""

from __future__ import annotations

import sys
from typing import Any

import msgpack
import pytest

from langgraph_nolag.errors import NotDecodable, NotEncodable
from langgraph_nolag.graph.errors import NotImportable
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.trust import Trust
from langgraph_nolag.patterns.plain import plain

numpy = pytest.importorskip("numpy")
codec = Codec(Trust())

RECORDS = numpy.dtype([("id", "<i4"), ("at", "<M8[s]"), ("box", [("w", ">f8", (2,))])])
PADDED = numpy.dtype([("flag", "i1"), ("number", "f8")], align=True)


def again(value: Any) -> Any:
    return codec.decode(codec.encode(value))


def same(value: Any, copy: Any) -> None:
    assert type(copy) is type(value)
    assert (copy.dtype, copy.dtype.str, copy.shape) == (value.dtype, value.dtype.str, value.shape)
    assert repr(copy.tolist()) == repr(value.tolist())


ARRAYS = [
    numpy.arange(6, dtype="i2").reshape(2, 3),
    numpy.arange(10)[::-3],
    numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    numpy.array([1, 2], dtype=">i2"),
    numpy.array(7),
    numpy.zeros((0, 3)),
    numpy.array(["ab", "c"]),
    numpy.array([b"ab", b"c"]),
    numpy.array([True, False]),
    numpy.array([1 + 2j]),
    numpy.array(["2026-01-01", "NaT"], dtype="M8[D]"),
    numpy.array([1, 2], dtype="m8[ns]"),
    numpy.array([(1, 0, ([1.5, 2.5],))], dtype=RECORDS),
    numpy.array([(1, 2.5)], dtype=PADDED),
    numpy.broadcast_to(numpy.array([1, 2]), (3, 2)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_keep_dtype_shape_and_order(array: Any) -> None:
    copy = again(array)
    same(array, copy)
    assert copy.flags.fnc == array.flags.fnc
    assert copy.flags.writeable
    assert copy.flags.owndata


@pytest.mark.parametrize(
    "value",
    [
        numpy.float64(1.5),
        numpy.float32(1.5),
        numpy.int64(-4),
        numpy.bool_(True),
        numpy.complex128(1 + 2j),
        numpy.str_("ab"),
        numpy.bytes_(b"ab"),
        numpy.datetime64("2026-01-01T00:00:00.000000001"),
        numpy.timedelta64(3, "ns"),
        numpy.longdouble(1) / 3,
        numpy.array([(1, 0, ([1.5, 2.5],))], dtype=RECORDS)[0],
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalars_keep_their_type(value: Any) -> None:
    same(value, again(value))


@pytest.mark.parametrize(
    "masked",
    [
        numpy.ma.MaskedArray([1, 2, 3], mask=[False, True, False]),
        numpy.ma.MaskedArray([1, 2], fill_value=7, hard_mask=True),
        numpy.ma.MaskedArray(["2026-01-01"], mask=[True], dtype="M8[D]"),
        numpy.ma.MaskedArray(ARRAYS[12], mask=[(True, False, ([False, True],))]),
    ],
    ids=lambda masked: str(masked.dtype),
)
def test_masked_arrays_keep_their_mask(masked: Any) -> None:
    copy = again(masked)
    same(masked.data, copy.data)
    assert type(copy) is numpy.ma.MaskedArray
    assert numpy.array_equal(copy.mask, masked.mask)
    assert (copy.mask is numpy.ma.nomask) == (masked.mask is numpy.ma.nomask)
    assert (str(copy.fill_value), copy.hardmask) == (str(masked.fill_value), masked.hardmask)


class Own(numpy.ndarray):  # type: ignore[misc, name-defined]
    pass


@pytest.mark.parametrize(
    "value",
    [
        numpy.array([1, "a"], dtype=object),
        numpy.array([(1, "a")], dtype=[("n", "i4"), ("o", object)]),
        numpy.ma.MaskedArray([1, "a"], dtype=object),
        numpy.ma.masked,
        numpy.array([1, 2]).view(Own),
        numpy.ma.MaskedArray(numpy.array([1, 2]).view(Own)),
        numpy.rec.array([(1, 2.0)], dtype=[("n", "i4"), ("v", "f8")]),
        numpy.array([(1, 2.0)], dtype=(numpy.record, [("n", "i4"), ("v", "f8")])),
        numpy.zeros(2, dtype="V0"),
        numpy.zeros(1, dtype={"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_lose_something_is_refused(value: Any) -> None:
    with pytest.raises(NotEncodable, match=r"state\['a'\]: "):
        codec.encode({"a": value}, where="state")
    assert isinstance(codec.decode(codec.encode(value, lax=True)), str)


def hostile(*plain: Any) -> bytes:
    return bytes(msgpack.packb(msgpack.ExtType(7, msgpack.packb(plain))))


@pytest.mark.parametrize(
    "payload",
    [
        hostile("array", "|O", [1], "C", b"12345678"),
        hostile("array", [["a", "|O"]], [1], "C", b"12345678"),
        hostile("array", "<f8", [2], "C", b"12345678"),
        hostile("array", "<f8", [-1, -1], "C", b"12345678"),
        hostile("array", "|V0", [-1], "C", b"12345678"),
        hostile("array", "os:system", [1], "C", b"12345678"),
        hostile("masked", ["array", "|O", [1], "C", b"12345678"], None, 0, False),
        hostile(),
    ],
)
def test_bytes_are_never_taken_for_objects(payload: bytes) -> None:
    with pytest.raises(NotDecodable):
        codec.decode(payload)


def test_a_process_without_numpy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode(numpy.array([1]))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(NotImportable, match="numpy"):
        codec.decode(data)


def test_a_run_gives_numbers_as_plain_ones() -> None:
    assert repr(plain({"a": numpy.float32(1.5), "b": [numpy.int64(3)], "c": numpy.float64(2)})) == "{'a': 1.5, 'b': [3], 'c': 2.0}"
