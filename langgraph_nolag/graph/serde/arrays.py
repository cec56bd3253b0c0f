"""numpy's arrays and scalars: with their very dtype, shape, order and mask, or not at all.

Only arrays of plain memory cross. What is more than an array (a matrix, a record array, a subclass of one's own) or holds
objects is refused: half of it would look right and compute something else. numpy is imported only where a payload needs it.
"""

from __future__ import annotations

import sys
from typing import Any

from ...errors import NotDecodable, NotEncodable
from ..errors import NotImportable

_ARRAY, _SCALAR, _MASKED = "array", "scalar", "masked"


def is_numpy(value: Any) -> bool:
    """Whether this is numpy's to describe; a process that never imported it has none."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def describe(value: Any) -> list[Any]:
    """What `rebuild` needs, in plain values.

    Raises:
        NotEncodable: it would not come out as it went in.
    """
    import numpy

    if type(value) is numpy.ndarray:
        return [_ARRAY, *_memory(value)]
    if type(value) is numpy.ma.MaskedArray:
        mask = None if value.mask is numpy.ma.nomask else value.mask
        return [_MASKED, describe(value.data), mask, describe(numpy.asarray(value.fill_value, dtype=value.dtype)), value.hardmask]
    if isinstance(value, numpy.generic) and type(value) is value.dtype.type:
        return [_SCALAR, *_memory(numpy.asarray(value))]
    cls = type(value)
    raise NotEncodable(f"a {cls.__module__}.{cls.__qualname__} is more than a plain array: make it one with numpy.array(value)")


def _memory(array: Any) -> list[Any]:
    from numpy.lib.format import descr_to_dtype, dtype_to_descr

    dtype = array.dtype
    if dtype.hasobject:
        raise NotEncodable(f"an array of dtype {dtype} holds objects, not numbers: make it a list with value.tolist()")
    try:
        described = dtype_to_descr(dtype)
        made = descr_to_dtype(described)
    except (TypeError, ValueError) as error:
        raise NotEncodable(f"an array of dtype {dtype} has no form that could cross processes: {error}") from error
    if made != dtype or made.type is not dtype.type or not dtype.itemsize:
        raise NotEncodable(f"an array of dtype {dtype} has no form that could cross processes: copy it into one of a plain dtype")
    order = "F" if array.flags.fnc else "C"
    return [described, array.shape, order, array.tobytes(order)]


def rebuild(plain: Any) -> Any:
    """The array again, writable and with memory of its own.

    Raises:
        NotImportable: this process has no numpy.
        NotDecodable: bytes that would be taken for objects.
    """
    try:
        import numpy
        from numpy.lib.format import descr_to_dtype
    except ImportError as error:
        raise NotImportable(f"a payload holds a numpy array, and numpy can't be imported in this process: {error}") from error
    kind = plain[0]
    if kind == _MASKED:
        _, data, mask, fill, hard = plain
        mask = numpy.ma.nomask if mask is None else mask
        return numpy.ma.MaskedArray(rebuild(data), mask=mask, fill_value=rebuild(fill), hard_mask=hard)
    _, described, shape, order, memory = plain
    dtype = descr_to_dtype(described)
    if dtype.hasobject:  # the bytes would be addresses
        raise NotDecodable(f"a payload holds an array of dtype {dtype}")
    array = numpy.frombuffer(memory, dtype).reshape(shape, order=order).copy(order)
    return array[()] if kind == _SCALAR else array
