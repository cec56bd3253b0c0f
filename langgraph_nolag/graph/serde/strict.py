"""What a checkpoint may bring back to life: data, never code.

LangGraph's serializer stores an object as the name of its class and its fields. Left alone it imports whatever name the
bytes hold and calls it. Ours never unpickles, imports nothing, and rebuilds only LangGraph's own safe types, the types it
was told of, and data types (pydantic models, dataclasses, enums, named tuples) of modules this process already imported.
A saver serves many graphs, so there is no one schema to take an allow-list from; hence the rule. Where there is a schema, in a
distributed graph and where LangGraph asks for strictness, what it does not name is refused too.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import pydantic
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...errors import NotDecodable, NotEncodable
from .._compat import msgpack_ext_hook
from ..errors import UntrustedType

ENCODINGS: Final = ("msgpack", "null", "bytes", "bytearray")
SECRETS: Final = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
"""Pydantic's own covers around a value: as inert as the times and numbers that LangGraph always reads, so no schema need name them."""


class StrictSerializer(JsonPlusSerializer):
    """`JsonPlusSerializer` that refuses loudly: an untrusted type is an error, not a dict in the object's place.

    Args:
        types: further classes, or (module, name), that may be rebuilt.
        allows: which data types beyond these, by `module:name`; default: all that were imported.
    """

    def __init__(self, types: Iterable[type | tuple[str, ...]] = (), *, allows: Callable[[str], bool] = lambda reference: True) -> None:
        self._trusted = _Trusted(types, allows)
        super().__init__(pickle_fallback=False, allowed_msgpack_modules=None, __unpack_ext_hook__=msgpack_ext_hook(self._trusted))

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> StrictSerializer:
        """Trusts what a graph's schema names, and nothing else that was imported. LangGraph calls this where the environment's
        `LANGGRAPH_STRICT_MSGPACK` asks for it."""
        return StrictSerializer([*self._trusted.named, *extra_allowlist], allows=lambda reference: False)

    def within(self, allows: Callable[[str], bool]) -> StrictSerializer:
        """The same, but of the data types that were imported only those that `allows` says, by `module:name`."""
        return StrictSerializer(self._trusted.named, allows=allows)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The value as bytes.

        Raises:
            NotEncodable: it, or something in it, has no form in a checkpoint.
        """
        try:
            return super().dumps_typed(obj)
        except (TypeError, RecursionError) as error:  # ormsgpack's own is a TypeError
            raise NotEncodable(f"{error}; a checkpoint holds data: keep what is not out of the state") from None

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value.

        Raises:
            UntrustedType: the bytes name a class that is not trusted, or an encoding that is not (pickle; LangChain's JSON, which
                names constructors); nothing of it was imported or run.
            NotDecodable: the bytes are damaged.
        """
        if data[0] not in ENCODINGS:
            raise UntrustedType(f"a stored value is encoded as {str(data[0])[:64]!r}; only {', '.join(ENCODINGS)} are read")
        self._trusted.refused.name = None
        try:
            value = super().loads_typed(data)
        except (ValueError, RecursionError) as error:  # ormsgpack's own is a ValueError
            raise NotDecodable(f"a stored value of {len(data[1])} bytes is not MessagePack: {error}") from None
        if "[" in (name := self._trusted.refused.name or ""):
            raise UntrustedType(
                f"a stored value names {name}, a generic model with parameters, which a checkpoint knows by that name only: make it at the "
                "top level of a module that is imported, Name = Model[...], and name it in the state or in allow=[...] of distribute()"
            )
        if name:
            raise UntrustedType(
                f"a stored value names {name}, not a data type that this process has imported, or not one that this graph names; if it is "
                "yours, import its module, name it in allow=[...] of distribute(), or pass serde=StrictSerializer(types=[...])"
            )
        return value


class _Refused(threading.local):
    name: str | None = None


class _Trusted(set[Any]):
    """A set of (module, name) for LangGraph's check, with a rule in place of a list."""

    def __init__(self, types: Iterable[type | tuple[str, ...]], allows: Callable[[str], bool]) -> None:
        super().__init__((item.__module__, item.__name__) if isinstance(item, type) else tuple(item) for item in types)
        self.named = frozenset(self)
        self._allows = allows
        self.refused = _Refused()

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        module, name = key if isinstance(key, tuple) else ("", str(key))
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and (found in SECRETS or (_is_data_type(found) and self._allows(f"{module}:{name}"))):
            return True
        self.refused.name = f"{module}.{name}"
        return False


def _is_data_type(candidate: type) -> bool:
    return (
        issubclass(candidate, (pydantic.BaseModel, *SECRETS, enum.Enum))
        or dataclasses.is_dataclass(candidate)
        or (issubclass(candidate, tuple) and hasattr(candidate, "_fields"))
    )
