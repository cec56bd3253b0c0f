"""What a run takes and gives where no graph is at hand, and a tool beside its content: plain values, as any process and language can read
them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

from ..client.failure import failure
from ..errors import NotEncodable
from .walk import Walk

DEEPEST: Final = 200
_AS_THEY_ARE: Final = (str, bytes, int, float, bool, type(None))


def asked(value: Any) -> Any:
    """The value for somebody who may not have its classes. Raises: NotEncodable: something in it has no plain form."""
    return _Plain(refuse=True).of(value, 0)


def asked_of_state(value: Any) -> Any:
    """The same, of what a state is updated with: a model's fields that are `None` because nobody set them say nothing about the state, as
    LangGraph has it. Raises: NotEncodable."""
    form, given = asked(value), getattr(value, "model_fields_set", None)
    if given is None or not isinstance(form, dict):
        return form
    fields = type(value).model_fields
    unset = {name for name, field in fields.items() if name not in given and field.default is None and getattr(value, name) is None}
    return {name: part for name, part in form.items() if name not in unset}


def plain(value: Any) -> Any:
    """The value without classes: messages, models and data classes become maps of their fields, tuples and sets lists. Of what has no plain
    form there is a text."""
    return _Plain(refuse=False).of(value, 0)


class _Plain:
    def __init__(self, refuse: bool) -> None:
        self._refuse = refuse
        self._walk = Walk()

    def of(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            self._no_form(f"what is nested deeper than {DEEPEST} levels")
            return f"(nested deeper than {DEEPEST})"
        if isinstance(value, enum.Enum):
            return self.of(value.value, depth + 1)
        if type(value).__module__ == "numpy" and not getattr(value, "shape", True):  # its scalars: some are floats too
            return self.of(value.tolist(), depth + 1)
        if isinstance(value, _AS_THEY_ARE):
            if not isinstance(value, int) or isinstance(value, bool) or -(2**63) <= value < 2**64:
                return value
            self._no_form("an integer of more than 64 bits")
            return str(value)
        if isinstance(value, dt.datetime):
            if value.tzinfo is not None:
                return value
            self._no_form("a datetime without a time zone")
            return value.isoformat()
        if isinstance(value, (dt.date, dt.time)):
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, BaseException):
            return failure(value)
        if isinstance(value, type):
            self._no_form(repr(value))
            return repr(value)
        if self._walk.again(value):
            self._no_form(f"what holds itself, as a {type(value).__qualname__} does here,")
            return f"({type(value).__qualname__} again)"
        self._walk.enter(value)
        try:
            return self._parts(value, depth + 1)
        finally:
            self._walk.leave(value)

    def _parts(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {key if isinstance(key, (str, int, bool)) else str(key): self.of(item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.of(item, depth) for item in value]
        if callable(dump := getattr(value, "model_dump", None)):
            return self.of(dump(), depth)
        if dataclasses.is_dataclass(value):
            return {field.name: self.of(getattr(value, field.name), depth) for field in dataclasses.fields(value) if field.repr}
        if (slots := _public(value)) is not None:
            return {name: self.of(item, depth) for name, item in slots.items()}
        self._no_form(f"{type(value).__module__}.{type(value).__qualname__}")
        return repr(value)

    def _no_form(self, what: str) -> None:
        """Refuse it, unless a text will do."""
        if self._refuse:
            raise NotEncodable(f"{what} has no plain form; what travels is data, messages, models")


def _public(value: Any) -> dict[str, Any] | None:
    """The fields of LangGraph's own small classes (an interrupt, a packet to a node), which are not data classes."""
    if not type(value).__module__.startswith("langgraph."):
        return None
    names = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())] or list(getattr(value, "__dict__", ()))
    return {name: getattr(value, name) for name in names if not name.startswith("_") and hasattr(value, name)}
