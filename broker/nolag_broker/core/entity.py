"""What has a row: something of a room that recovery loads again."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar, Final

import msgpack

from ..wire.codec import pack

SEPARATOR: Final = "\x1f"  # between the names in a key; in no name


class Entity:
    """One row among the heads. Whoever changes it touches it (`Room.touch`), and it is written once for all changes, as it is then.

    What is `logged` changes by events only. Its row is written behind the log, now and then: recovery folds what came since. Of most
    tasks nothing is written but their events, as they have come and gone by then.
    """

    __slots__ = ("stored",)
    stored: bool  # a row of it was written, so that its end must delete one
    logged: ClassVar[bool] = True

    @property
    def key(self) -> str:
        raise NotImplementedError

    def head(self) -> bytes | None:
        """The row, or None when this is no more."""
        raise NotImplementedError


class Row:
    """A row that is attributes, in this order. New ones come last: a row that an older broker wrote has fewer."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._values = attrgetter(*names)

    def of(self, entity: Any) -> bytes:
        row: bytes = pack(self._values(entity))
        return row

    def load(self, entity: Any, row: bytes) -> None:
        for name, value in zip(self._names, msgpack.unpackb(row), strict=False):
            setattr(entity, name, value)
