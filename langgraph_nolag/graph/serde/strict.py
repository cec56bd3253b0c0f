"""What a checkpoint may bring back to life: data, never code.

LangGraph's serializer stores an object as the name of its class and its fields. Left alone it imports whatever name the
bytes hold and calls it. Ours never unpickles, imports nothing, and rebuilds only LangGraph's own safe types, the types it
was told of, and data types (pydantic models, dataclasses, enums, named tuples) of modules this process already imported.
A saver serves many graphs, so there is no one schema to take an allow-list from; hence the rule.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import threading
from collections.abc import Iterable
from typing import Any

import pydantic
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .._compat import msgpack_ext_hook
from ..errors import UntrustedType


class StrictSerializer(JsonPlusSerializer):
    """`JsonPlusSerializer` that refuses loudly: an untrusted type is an error, not a dict in the object's place.

    Args:
        types: further classes, or (module, name), that may be rebuilt.
    """

    def __init__(self, types: Iterable[type | tuple[str, ...]] = ()) -> None:
        self._trusted = _Trusted(types)
        super().__init__(pickle_fallback=False, allowed_msgpack_modules=None, __unpack_ext_hook__=msgpack_ext_hook(self._trusted))

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> StrictSerializer:
        """LangGraph calls this with what it found in a graph's schema."""
        return StrictSerializer([*self._trusted.named, *extra_allowlist])

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value.

        Raises:
            UntrustedType: the bytes name a class that is not trusted; nothing of it was imported or run.
            NotImplementedError: an encoding that is not trusted, pickle for one.
        """
        self._trusted.refused.name = None
        value = super().loads_typed(data)
        if (name := self._trusted.refused.name) is not None:
            raise UntrustedType(
                f"a stored value names {name}, which is not a data type that this process has imported; if it is yours, import its module "
                "before reading, or pass serde=StrictSerializer(types=[...])"
            )
        return value


class _Refused(threading.local):
    name: str | None = None


class _Trusted(set[Any]):
    """A set of (module, name) for LangGraph's check, with a rule in place of a list."""

    def __init__(self, types: Iterable[type | tuple[str, ...]]) -> None:
        super().__init__((item.__module__, item.__name__) if isinstance(item, type) else tuple(item) for item in types)
        self.named = frozenset(self)
        self.refused = _Refused()

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        module, name = key if isinstance(key, tuple) else ("", str(key))
        if _is_data_type(getattr(sys.modules.get(module), name, None)):
            return True
        self.refused.name = f"{module}.{name}"
        return False


def _is_data_type(candidate: object) -> bool:
    if not isinstance(candidate, type):
        return False
    return (
        issubclass(candidate, (pydantic.BaseModel, pydantic.SecretStr, pydantic.SecretBytes, enum.Enum))
        or dataclasses.is_dataclass(candidate)
        or (issubclass(candidate, tuple) and hasattr(candidate, "_fields"))
    )
