"""One item of the store, and the namespace it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from ...wire.codec import pack
from ..commands.store import Path
from ..entity import Entity
from ..timers import Timer
from ..turn import BodyAt


class Version(NamedTuple):
    """What was written last.

    Attributes:
        seq: of the event that carries the value: the item's revision.
        time: when, in seconds since 1970.
        ttl: seconds that the item stays after it was written or read last.
        ct: of the value.
        dims: of its vectors, which are the body of the next event; 0: it has none.
    """

    seq: int
    time: float
    ttl: float | None
    ct: str | None
    dims: int


class Space:
    """A namespace with at least one item. `number` is the sequence of the event that brought its first one."""

    __slots__ = ("items", "name", "number")

    def __init__(self, name: Path, number: int) -> None:
        self.name = name
        self.number = number
        self.items: dict[str, Item] = {}  # by key, oldest first


class Item(Entity):
    """A key of a namespace. Its value is in the log."""

    __slots__ = ("created", "expires", "first", "gone", "label", "space", "timer", "version")

    def __init__(self, space: Space, label: str, first: int, created: float, version: Version) -> None:
        self.stored = False
        self.gone = False
        self.space = space
        self.label = label  # its key in the namespace
        self.first = first  # the sequence that it was created with
        self.created = created
        self.version = version
        self.expires: float | None = None
        self.timer: Timer | None = None

    @property
    def key(self) -> str:
        return f"item/{self.first}"

    @property
    def path(self) -> Path:
        return (*self.space.name, self.label)

    def head(self) -> bytes | None:
        if self.gone:
            return None
        row: bytes = pack((self.path, self.space.number, self.first, self.created, self.version, self.expires))
        return row

    def view(self, version: Version | None = None) -> dict[str, Any]:
        """As it is told; of a former version where one is named."""
        version = version or self.version
        view: dict[str, Any] = {
            "path": self.path,
            "revision": version.seq,
            "created": self.created,
            "updated": version.time,
            "body": BodyAt(version.seq),
        }
        if version.ct is not None:
            view["ct"] = version.ct
        if version.ttl is not None:
            view["ttl"], view["expires"] = version.ttl, self.expires
        return view


class Row(NamedTuple):
    """An item's row, read."""

    path: Path
    space: int
    first: int
    created: float
    version: Version
    expires: float | None

    @classmethod
    def of(cls, row: bytes) -> Row:
        path, space, first, created, version, expires = msgpack.unpackb(row)
        return cls(tuple(path), space, first, created, Version(*version), expires)
