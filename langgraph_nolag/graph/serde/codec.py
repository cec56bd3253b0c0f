"""Values that cross processes: encoded strictly, rebuilt exactly.

LangGraph's `JsonPlusSerializer` is made for checkpoints: it turns tuples into lists, exceptions into text and nested
models into maps, and what it refuses it hands out as raw data. A node must get what it would have got in process, so
this codec keeps every type, says loudly what it can't carry, and rebuilds nothing but inert data of classes on the
graph's allow-list (`trust.py`), without calling their constructors. There is no pickle.

Plain dicts, lists, strings and numbers take the C encoder's path and cost no Python call.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from types import MemberDescriptorType
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgpack
from langgraph.store.base import Item, SearchItem
from langgraph.types import Send
from pydantic import BaseModel

from ...errors import NoLagError, NotDecodable, NotEncodable
from ...patterns.walk import Walk
from ..errors import UntrustedType
from . import arrays, failures
from .scalars import FROM_SCALAR, SCALARS
from .trust import Trust, is_rebuilt

_TUPLE, _COLLECTION, _OBJECT, _SCALAR, _EXCEPTION, _CLASS, _ARRAY, _MAP, _PACKED = range(1, 10)
_COLLECTIONS: Final[dict[str, type]] = {"set": set, "frozenset": frozenset, "deque": deque}
_MAPS: Final[dict[str, type]] = {"OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": defaultdict}
_FACTORIES: Final = {cls.__name__: cls for cls in (list, dict, set, frozenset, tuple, str, bytes, int, float, bool)}
"""What a defaultdict makes for a missing key: only of these is it known that they run nothing."""
_SLOTTED: Final[tuple[type, ...]] = (Send, Item, SearchItem)
_SLOTS: Final[WeakKeyDictionary[type, list[str]]] = WeakKeyDictionary()  # looked up for each object: a class's never change


class Codec:
    """Encodes and decodes for one graph.

    Args:
        trust: the classes that may be named.
    """

    def __init__(self, trust: Trust) -> None:
        self.trust = trust

    def encode(self, value: Any, *, lax: bool = False, where: str = "value") -> bytes:
        """Bytes of a value.

        Args:
            lax: what has no form of its own becomes its `repr`; for observers (callbacks, streams), never for state.
            where: what the value is, for the error.

        Raises:
            NotEncodable: names the path to the part that has no form.
            NotImportable, UntrustedType: the part is of a class that the other side can't import, or would refuse.
        """
        try:
            encoding = _Encoding(self.trust)
            return _pack(value, encoding.lax if lax else encoding.strict)
        except NoLagError as error:
            error.args = (f"{self._path(value, where)}: {error}",)
            raise
        except (ValueError, RecursionError, OverflowError, TypeError) as error:
            raise NotEncodable(f"{self._path(value, where)}: {error}") from error

    def decode(self, data: bytes, *, lax: bool = False) -> Any:
        """The value again.

        Args:
            lax: what may not be rebuilt becomes a text that says so, instead of an error.

        Raises:
            UntrustedType: a class that is not on the allow-list; nothing of it was executed.
            NotImportable: a class of the graph that this process can't import.
            NotDecodable: these are not bytes of `encode`.
        """
        try:
            return _unpack(data, self._load_lax if lax else self._load)
        except NoLagError:
            raise
        except Exception as error:  # hostile bytes meet every constructor of the tables above
            raise NotDecodable(f"not an encoded value: {type(error).__name__}: {error}") from error

    def digest(self, value: Any) -> str:
        """A short hash that is the same in every process, and for a value that went through a checkpoint meanwhile:
        tuples count as lists, sets are sorted."""
        return hashlib.sha256(_pack(value, _Encoding(self.trust).lax, strict=False)).hexdigest()[:32]

    def _path(self, value: Any, where: str, depth: int = 0) -> str:
        """The way to the innermost part that can't be encoded."""
        parts: list[tuple[str, Any]] = []
        if isinstance(value, Mapping):
            parts = [(f"{where}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            parts = [(f"{where}[{index}]", part) for index, part in enumerate(value)]
        elif is_rebuilt(type(value)) and isinstance(fields := _fields(value), dict):
            inside = ("__dict__", "__pydantic_extra__", "__pydantic_private__") if isinstance(value, BaseModel) else ()
            held = [fields[part] or {} for part in inside] or [fields]
            parts = [(f"{where}.{name}", part) for some in held for name, part in some.items()]
        for name, part in parts if depth < 30 else ():
            try:
                _pack(part, _Encoding(self.trust).strict)
            except Exception:  # whatever the reason, what can't be packed is in this part
                return self._path(part, name, depth + 1)
        return where

    # --- in -------------------------------------------------------------------------------------------------

    def _load(self, code: int, data: bytes) -> Any:
        return self._rebuild(code, data, self._load)

    def _load_lax(self, code: int, data: bytes) -> Any:
        try:
            return self._rebuild(code, data, self._load_lax)
        except NoLagError as error:
            return f"<{error}>"

    def _rebuild(self, code: int, data: bytes, again: Callable[[int, bytes], Any]) -> Any:
        if code == _EXCEPTION:
            return failures.rebuild(_unpack(data, self._load_lax), self.trust)
        plain = _unpack(data, again)
        if code == _PACKED:
            return plain
        if code == _TUPLE:
            return tuple(plain)
        if code == _SCALAR:
            return FROM_SCALAR[plain[0]](plain[1])
        if code == _COLLECTION:
            items = [_unpack(item, again) for item in plain[1]]
            return deque(items, plain[2]) if plain[0] == "deque" else _COLLECTIONS[plain[0]](items)
        if code == _MAP:
            name, items, factory = plain
            return defaultdict(factory and _FACTORIES[factory], items) if name == "defaultdict" else _MAPS[name](items)
        if code == _OBJECT:
            return _filled(self.trust.load(plain[0]), plain[1])
        if code == _CLASS:
            return self.trust.load(plain)
        if code == _ARRAY:
            return arrays.rebuild(plain)
        raise NotDecodable(f"unknown kind of value {code}")


class _Encoding:
    """One value on its way out. What holds itself has no form: it is refused, or, where that is not to be, named."""

    __slots__ = ("_trust", "_walk")

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._walk = Walk()

    def strict(self, value: Any) -> Any:
        if self._walk.again(value):
            raise NotEncodable(f"the {type(value).__qualname__} holds itself")
        return self._form(value, self.strict)

    def lax(self, value: Any) -> Any:
        if self._walk.again(value):
            return f"<{type(value).__qualname__} again>"
        try:
            return self._form(value, self.lax)
        except RecursionError:
            return f"<{type(value).__qualname__} nested too deep>"
        except (NoLagError, TypeError, ValueError, OverflowError):
            return repr(value)

    def _carried(self, value: Any) -> msgpack.ExtType | None:
        """A value that comes back as what it is; None where it would not."""
        try:
            return msgpack.ExtType(_PACKED, _pack(value, self.strict))
        except (NoLagError, TypeError, ValueError, RecursionError, OverflowError):
            return None

    def _form(self, value: Any, again: Callable[[Any], Any]) -> Any:
        """What stands for a value that MessagePack does not know; nested values go through `again`."""
        done = False
        self._walk.enter(value)
        try:
            form = self._described(value, again)
            done = True
        finally:
            self._walk.leave(value, done=done)
        return form

    def _described(self, value: Any, again: Callable[[Any], Any]) -> Any:
        cls = type(value)
        if cls is tuple:
            return msgpack.ExtType(_TUPLE, _pack(list(value), again))
        if isinstance(value, BaseException):
            return msgpack.ExtType(_EXCEPTION, _pack(failures.describe(value, self._trust, self._carried), self.lax))
        if is_rebuilt(cls) or cls in _SLOTTED:
            return msgpack.ExtType(_OBJECT, _pack([self._trust.check(cls), _fields(value)], again))
        if isinstance(value, (set, frozenset, deque)):
            name = next(name for name, known in _COLLECTIONS.items() if isinstance(value, known))
            items = [_pack(item, again) for item in value]
            if name != "deque":
                items.sort()
            return msgpack.ExtType(_COLLECTION, _pack([name, items, value.maxlen if isinstance(value, deque) else None], again))
        if isinstance(value, (dict, ChainMap, Mapping)):
            factory = getattr(value, "default_factory", None)
            if _MAPS.get(cls.__name__) is not cls or (factory is not None and factory not in _FACTORIES.values()):
                return dict(value)
            return msgpack.ExtType(_MAP, _pack([cls.__name__, dict(value), factory and factory.__name__], again))
        if isinstance(value, list):
            return list(value)
        if arrays.is_numpy(value):  # before the scalars: some of numpy's are floats, or texts, too
            return msgpack.ExtType(_ARRAY, _pack(arrays.describe(value), again))
        for base in cls.__mro__:
            if base in SCALARS:
                name, save, _ = SCALARS[base]
                return msgpack.ExtType(_SCALAR, _pack([name, save(value)], again))
        if isinstance(value, tuple):
            return msgpack.ExtType(_TUPLE, _pack(list(value), again))
        if isinstance(value, type):
            return msgpack.ExtType(_CLASS, _pack(self._trust.check(value), again))
        raise NotEncodable(f"a {cls.__module__}.{cls.__qualname__} has no form that could cross processes")


def _pack(value: Any, default: Callable[[Any], Any], *, strict: bool = True) -> bytes:
    return msgpack.packb(value, default=default, strict_types=strict, unicode_errors="surrogatepass")  # type: ignore[no-any-return]


def _unpack(data: bytes, ext_hook: Callable[[int, bytes], Any]) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=ext_hook, unicode_errors="surrogatepass")


def _fields(value: Any) -> Any:
    """What an object of a rebuilt class consists of."""
    if isinstance(value, Enum):
        return value.value if isinstance(value, Flag) else value.name
    if isinstance(value, BaseModel):
        state = BaseModel.__getstate__(value)
        return {**state, "__pydantic_fields_set__": sorted(state["__pydantic_fields_set__"])}
    if isinstance(value, tuple):
        return list(value)
    # all that it holds, not its fields only: what its constructor computed does not run again
    held = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)} | getattr(value, "__dict__", {})
    held.pop("__orig_class__", None)  # what typing notes down about a generic class; nothing reads it
    return held


def _slots(cls: type) -> list[str]:
    """The names under which instances keep values outside their `__dict__`."""
    if (known := _SLOTS.get(cls)) is None:
        known = _SLOTS[cls] = [name for base in cls.__mro__ for name, slot in vars(base).items() if isinstance(slot, MemberDescriptorType)]
    return known


def _filled(cls: type, fields: Any) -> Any:
    """An instance with these fields; the class's constructor and validators do not run.

    Raises:
        UntrustedType: the class is not one of plain data.
    """
    if issubclass(cls, Enum):
        return cls(fields) if issubclass(cls, Flag) else cls[fields]
    if issubclass(cls, BaseModel):
        model = BaseModel.__new__(cls)
        BaseModel.__setstate__(model, {**fields, "__pydantic_fields_set__": set(fields["__pydantic_fields_set__"])})
        return model
    if issubclass(cls, tuple) and is_rebuilt(cls):
        return tuple.__new__(cls, fields)
    if not dataclasses.is_dataclass(cls) and cls not in _SLOTTED:
        raise UntrustedType(f"{cls.__module__}.{cls.__qualname__} is not a class of plain data")
    made, rest = object.__new__(cls), dict(fields)
    for name in _slots(cls):
        if name in rest:
            object.__setattr__(made, name, rest.pop(name))
    if rest and not hasattr(made, "__dict__"):
        raise NotDecodable(
            f"{cls.__module__}.{cls.__qualname__} has no {', '.join(map(str, rest))}; do both sides run the same version of it?"
        )
    if rest:  # past `__setattr__`, which would run the class's properties
        made.__dict__.update(**rest)
    return made
