"""Where an item of the store lies: any labels, as one name that patterns and grants can match."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

STORE: Final = "store"
_SPECIAL: Final = re.compile(r"[%/.*]")


def name_of(path: Iterable[str]) -> str:
    """`store/<label>/…/<key>`: what would end a segment, be a wildcard or can't be printed is escaped as in URLs; an empty label is `%`."""
    return "/".join((STORE, *map(_segment, path)))


def _segment(text: str) -> str:
    if text.isprintable() and not _SPECIAL.search(text):
        return text or "%"
    return "".join(char if char.isprintable() and char not in "%/.*" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
