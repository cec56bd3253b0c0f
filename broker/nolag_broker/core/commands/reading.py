"""How a request becomes a command: each declared field is read by the reader in its annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar, get_args, get_type_hints

from ...wire.codes import Refusal
from .command import Command
from .fields import Reader

_C = TypeVar("_C", bound=Command)
_READERS: Final[dict[type[Command], tuple[dict[str, Reader], frozenset[str]]]] = {}


def build(cls: type[_C], frame: Mapping[str, Any]) -> _C:
    """The command of this class that the frame spells; other fields are left to others. Raises `Refusal` (`bad_request`)."""
    known = _READERS.get(cls)
    if known is None:
        known = _READERS[cls] = _readers(cls)
    readers, required = known
    values = {name: read(value, name) for name, value in frame.items() if value is not None and (read := readers.get(name)) is not None}
    if not values.keys() >= required:
        missing = min(required.difference(values))
        raise Refusal("bad_request", f"{cls.op} needs {missing}", detail={"field": missing})
    return cls(**values)


def _readers(cls: type[Command]) -> tuple[dict[str, Reader], frozenset[str]]:
    """What reads each field, and the fields that may not be absent."""
    hints = get_type_hints(cls, include_extras=True)
    own = [field for field in fields(cls) if not field.kw_only]
    return {f.name: _reader(hints[f.name]) for f in own}, frozenset(f.name for f in own if f.default is MISSING)


def _reader(hint: Any) -> Reader:
    """The reader in `Annotated[type, reader]`, or in `Annotated[…] | None`."""
    for part in (hint, *get_args(hint)):
        if metadata := getattr(part, "__metadata__", None):
            return metadata[0]  # type: ignore[no-any-return]
    raise TypeError(f"a field of a command without a reader: {hint}")
