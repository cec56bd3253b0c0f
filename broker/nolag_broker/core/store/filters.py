"""Which values a search is for, as LangGraph's stores understand it: equal values by key, or comparisons by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack

from ...wire.codec import check_depth
from ...wire.codes import Refusal

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
}
OPERATORS: Final = ("$eq", "$ne", *_COMPARE)


def read_value(body: bytes) -> Any:
    """What a body holds: plain values, timestamps. Raises `ValueError`."""
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True, timestamp=3, ext_hook=_no_extensions)
    except Exception as error:  # msgpack raises a family of unrelated types
        raise ValueError(type(error).__name__) from None


def _no_extensions(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


class Filter:
    """A map from keys to what their value must be: the same, or `{"$gt": 3}` and the like. All of it must hold; an absent key is None.

    Raises:
        Refusal: `bad_request`. It is not such a map.
    """

    def __init__(self, wanted: Any) -> None:
        if type(wanted) is not dict:
            raise _refusal("a map")
        check_depth(wanted)
        _check(wanted)
        self._wanted = wanted

    def admits(self, value: Any) -> bool:
        return type(value) is dict and all(_equals(value.get(key), wanted) for key, wanted in self._wanted.items())


def _check(wanted: Any) -> None:
    if isinstance(wanted, list):
        for part in wanted:
            _check(part)
    elif isinstance(wanted, dict):
        for key, part in wanted.items():
            if isinstance(part, dict) and any(name.startswith("$") for name in part):
                _check_operators(part)
            elif key.startswith("$"):
                raise _refusal("operators below a key")
            else:
                _check(part)


def _check_operators(part: Mapping[str, Any]) -> None:
    for operator, bound in part.items():
        if operator not in OPERATORS:
            raise _refusal(f"one with the operators {', '.join(OPERATORS)}, not {operator[:64]!r}")
        if operator in _COMPARE and _number(bound) is None:
            raise _refusal(f"one that compares with numbers by {operator}")


def _equals(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if any(name.startswith("$") for name in wanted):
            return all(_holds(operator, value, bound) for operator, bound in wanted.items())
        return isinstance(value, dict) and all(_equals(value.get(key), part) for key, part in wanted.items())
    if isinstance(wanted, list):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(_equals, value, wanted))
    return bool(value == wanted)


def _holds(operator: str, value: Any, bound: Any) -> bool:
    if operator == "$eq":
        return bool(value == bound)
    if operator == "$ne":
        return bool(value != bound)
    number, limit = _number(value), _number(bound)
    return number is not None and limit is not None and _COMPARE[operator](number, limit)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _refusal(expected: str) -> Refusal:
    return Refusal("bad_request", f"filter must be {expected}", detail={"field": "filter"})
