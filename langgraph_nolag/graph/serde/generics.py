"""Pydantic's generic models with parameters, `Box[float]`: named by the generic and its parameters.

Such a class is made where its parameters are written. At the top level of a module it is there once the module is imported; inside a
function it is in this process only, and no other could find it under its name. But any process can make it again from its parts.
"""

from __future__ import annotations

import functools
import operator
from collections import deque
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin

from pydantic import BaseModel

from ...errors import NotDecodable, NotEncodable
from .scalars import SCALARS

_OTHERS: Final[tuple[Any, ...]] = (list, tuple, dict, set, frozenset, deque, bool, NoneType, Any, Union, UnionType)
_PLAIN: Final[dict[str, Any]] = {"...": ...} | {one.__name__: one for one in (*_OTHERS, *SCALARS)}
"""What may be a parameter, beside the graph's own classes; these have a colon in their names."""


def parts(cls: type) -> tuple[type, tuple[Any, ...]] | None:
    """The generic and its parameters, if this is one with parameters."""
    made = vars(cls).get("__pydantic_generic_metadata__") or {}
    return (made["origin"], made["args"]) if made.get("origin") else None


def describe(cls: type, name: Callable[[type], Any]) -> list[Any]:
    """The generic and its parameters by name; `name` names the graph's own classes.

    Raises:
        NotEncodable: a parameter has no name.
        NotImportable, UntrustedType: what `name` raises.
    """
    origin, args = parts(cls) or (cls, ())
    return [name(origin), [_describe(arg, cls, name) for arg in args]]


def _describe(arg: Any, cls: type, name: Callable[[type], Any]) -> Any:
    for known, one in _PLAIN.items():
        if one is arg:
            return known
    if (origin := get_origin(arg)) is not None:
        return [_describe(origin, cls, name), [_describe(inner, cls, name) for inner in get_args(arg)]]
    if isinstance(arg, type):
        return name(arg)
    raise unnamed(cls)


def unnamed(cls: type) -> NotEncodable:
    return NotEncodable(
        f"{cls.__module__}:{cls.__qualname__} is a generic model with parameters that no other process could put together: "
        f"make it at the top level of a module that workers import, Name = {cls.__qualname__}"
    )


def rebuild(plain: Any, load: Callable[[Any], type]) -> type:
    """The class that `describe` named; `load` finds the graph's own classes.

    Raises:
        NotDecodable: it is not a generic model.
        NotImportable, UntrustedType: what `load` raises.
    """
    generic, args = plain
    origin = load(generic)
    if not issubclass(origin, BaseModel):
        raise NotDecodable(f"{origin.__module__}.{origin.__qualname__} is not a generic model")
    made = origin[tuple(_rebuild(arg, load) for arg in args)]  # type: ignore[index]
    return cast("type", made)


def _rebuild(plain: Any, load: Callable[[Any], type]) -> Any:
    if isinstance(plain, str):
        return _PLAIN[plain] if plain in _PLAIN else load(plain)
    generic, args = plain
    if not isinstance(generic, str) or generic not in _PLAIN:
        return load(plain)
    found = tuple(_rebuild(arg, load) for arg in args)
    return functools.reduce(operator.or_, found) if _PLAIN[generic] is UnionType else _PLAIN[generic][found]
