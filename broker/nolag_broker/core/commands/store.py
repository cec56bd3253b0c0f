"""What can be asked of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from .command import Command
from .fields import MAX_INT, Flag, Lease, integer, listed, read_bytes, read_positive_seconds, refuse

Path = tuple[str, ...]
"""An item's namespace and, last, its key."""

MAX_LABELS: Final = 64
MAX_PATH: Final = 2048  # characters of all labels
MAX_DIMS: Final = 16_384
MAX_VECTORS: Final = 1 << 20  # bytes of an item's
FLOAT: Final = 4  # bytes

_read_revision: Final = integer(0, MAX_INT)
_read_dims: Final = integer(1, MAX_DIMS)


class Vectors(NamedTuple):
    """What an item is found by: vectors of so many 32-bit floats, little endian, one after the other."""

    dims: int
    data: bytes


class Put(NamedTuple):
    path: Path
    body: bytes
    ttl: float | None  # seconds after the last write or read
    expected: int | None
    vectors: Vectors | None


class Delete(NamedTuple):
    path: Path
    expected: int | None


class Condition(NamedTuple):
    suffix: bool  # or a prefix
    labels: Path  # `*`: any label


def read_labels(value: Any, field: str) -> Path:
    if type(value) is not list or len(value) > MAX_LABELS or any(type(label) is not str for label in value):
        refuse(field, f"a list of at most {MAX_LABELS} texts")
    if sum(map(len, value)) > MAX_PATH:
        refuse(field, f"labels of {MAX_PATH} characters together")
    return tuple(value)


def read_path(value: Any, field: str) -> Path:
    if len(path := read_labels(value, field)) < 2:
        refuse(field, "the labels of a namespace, and a key")
    return path


def read_vectors(value: Any, field: str) -> Vectors:
    if type(value) is not list or len(value) != 2:
        refuse(field, "[dims, bytes]")
    dims, data = _read_dims(value[0], field), read_bytes(value[1], field)
    if not data or len(data) % (dims * FLOAT) or len(data) > MAX_VECTORS:
        refuse(field, f"vectors of {dims} 32-bit floats each, {MAX_VECTORS} bytes together")
    return Vectors(dims, data)


def _read_put(value: Any, field: str) -> Put:
    if type(value) is not list or len(value) != 3 or type(value[2]) is not dict:
        refuse(field, "a list of [path, body, {ttl?, expected?, vectors?}]")
    path, body, terms = value
    return Put(
        read_path(path, field),
        read_bytes(body, field),
        None if terms.get("ttl") is None else read_positive_seconds(terms["ttl"], f"{field}.ttl"),
        _expected(terms.get("expected"), field),
        None if terms.get("vectors") is None else read_vectors(terms["vectors"], f"{field}.vectors"),
    )


def _read_delete(value: Any, field: str) -> Delete:
    if type(value) is not list or not 1 <= len(value) <= 2:
        refuse(field, "a list of [path] or [path, expected]")
    return Delete(read_path(value[0], field), _expected(value[1] if len(value) == 2 else None, field))


def _expected(value: Any, field: str) -> int | None:
    return None if value is None else _read_revision(value, f"{field}.expected")


def _read_condition(value: Any, field: str) -> Condition:
    if type(value) is not list or len(value) != 2 or value[0] not in ("prefix", "suffix"):
        refuse(field, '["prefix" or "suffix", labels]')
    return Condition(value[0] == "suffix", read_labels(value[1], field))


@dataclass(slots=True)
class StoreGet(Command):
    op = "store.get"
    paths: Annotated[tuple[Path, ...], listed(read_path)]
    refresh: Flag = True


@dataclass(slots=True)
class StoreWrite(Command):
    op = "store.write"
    once = True
    puts: Annotated[tuple[Put, ...], listed(_read_put)] = ()
    deletes: Annotated[tuple[Delete, ...], listed(_read_delete)] = ()
    lease: Lease | None = None


@dataclass(slots=True)
class StoreNamespaces(Command):
    op = "store.namespaces"
    conditions: Annotated[tuple[Condition, ...], listed(_read_condition)] = ()
    depth: Annotated[int, integer(1, MAX_LABELS)] | None = None
    limit: Annotated[int, integer(0, MAX_INT)] = 100
    offset: Annotated[int, integer(0, MAX_INT)] = 0
