"""Frames as bytes. What the broker would end the connection for is refused here, by the name of its field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from ..errors import BadRequest

_FLAT: Final = frozenset({str, int, bytes, bool, float, type(None)})


def packed(pack: Callable[[Any], bytes], frame: dict[str, Any]) -> bytes:
    """Encode a request or a note.

    Raises:
        BadRequest: a field has no form on the wire; nothing was sent.
    """
    try:
        encoded = pack(frame)
    except Exception:  # msgpack raises a family of unrelated types
        for name, value in frame.items():
            try:
                pack(value)
            except Exception as error:
                raise _refused(frame, name, f"{type(value).__name__}: {error}") from None
        raise
    for name, value in frame.items():
        if type(value) not in _FLAT and (why := _foreign(value)) is not None:
            raise _refused(frame, name, why)
    return encoded


def _refused(frame: dict[str, Any], field: str, why: str) -> BadRequest:
    return BadRequest(f"{frame.get('op')}: {field} can't be sent: {why}", detail={"field": field})


def _foreign(value: Any) -> str | None:
    """What MessagePack has and the protocol has not. (It could be packed: so it does not hold itself.)"""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, (msgpack.ExtType, msgpack.Timestamp)):
            return f"a {type(item).__name__} in it; send numbers, texts, bytes, lists and maps"
        if isinstance(item, dict):
            if wrong := [type(key).__name__ for key in item if not isinstance(key, str)]:
                return f"a key in it is of type {wrong[0]}; keys are texts"
            left += [child for child in item.values() if type(child) not in _FLAT]
        elif isinstance(item, (list, tuple)):
            left += [child for child in item if type(child) not in _FLAT]
    return None
