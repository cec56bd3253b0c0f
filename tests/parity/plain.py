"""Recordings as plain values that two runs of the same graph have in common.

Ids and times differ from run to run: an id becomes the number of its first appearance, a time a word.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.types import Send
from pydantic import BaseModel

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?")
_VERSION = re.compile(r"^(\d{32})\.[\d.e-]+$")
_ELAPSED = re.compile(r"elapsed: [\d.]+s")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Plain:
    """Makes values plain.

    Args:
        numbered: False where the order of things differs from run to run: then all ids look the same.

    Attributes:
        given_later: leave out what a message, or an error, is given only after it was shown. In process a reader is handed the very
            object, and sees its name, its generated id or its note, or not, as the threads happen to run.
    """

    def __init__(self, *, numbered: bool) -> None:
        self._numbered = numbered
        self._ids: dict[str, int] = {}
        self.given_later = False

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, bytes)):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, BaseMessage):
            fields = {name: part for name, part in vars(value).items() if part not in (None, [], {})}
            if self.given_later:
                fields.pop("name", None)
                if _ID.fullmatch(fields.get("id", "")):
                    fields.pop("id")
            return [type(value).__name__, self(fields)]
        if isinstance(value, BaseException):
            notes = [note for note in getattr(value, "__notes__", ()) if not note.startswith("Remote traceback")]
            if self.given_later:
                notes = [note for note in notes if not note.startswith("During task")]
            fields = {name: part for name, part in vars(value).items() if name not in ("__notes__", "elapsed")}
            return [type(value).__name__, self(str(value)), self(notes), self(fields), self(value.__cause__)]
        if isinstance(value, BaseModel):
            return [type(value).__name__, self(dict(value))]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return [type(value).__name__, {field.name: self(getattr(value, field.name, None)) for field in dataclasses.fields(value)}]
        if isinstance(value, Mapping):
            return {self(key) if isinstance(key, str) else key: self(part) for key, part in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return [type(value).__name__, {name: self(part) for name, part in zip(value._fields, value, strict=True)}]
        if isinstance(value, (set, frozenset)):
            return [type(value).__name__, sorted(map(repr, value))]
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *map(self, value)]
        if isinstance(value, Send):
            return [type(value).__name__, self(value.node), self(value.arg)]
        return [type(value).__name__, self._text(_ADDRESS.sub("", repr(value)))]

    def _text(self, text: str) -> str:
        if version := _VERSION.match(text):
            return f"version {int(version[1])}"
        return _ELAPSED.sub("elapsed", _TIME.sub("<time>", _ID.sub(self._id, text)))

    def _id(self, found: re.Match[str]) -> str:
        return f"<{self._ids.setdefault(found[0], len(self._ids))}>" if self._numbered else "<id>"
