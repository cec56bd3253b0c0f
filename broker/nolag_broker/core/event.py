"""An event: one fact of a room, at one sequence. Encoded once; the same bytes are stored and pushed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from ..wire.codec import pack


class Event:
    """One fact of a room's log. See PROTOCOL.md, "The room's log", for the types and what their data holds."""

    __slots__ = ("_bare", "_encoded", "body", "ct", "data", "id", "parent", "sender", "seq", "subject", "time", "type")

    def __init__(
        self,
        seq: int,
        type: str,
        time: float,
        sender: str,
        data: dict[str, Any],
        subject: str | None = None,
        body: bytes | None = None,
        ct: str | None = None,
        parent: int | None = None,
        id: str | None = None,
    ) -> None:
        self.seq = seq
        self.type = type
        self.time = time
        self.sender = sender
        self.data = data
        self.subject = subject
        self.body = body
        self.ct = ct
        self.parent = parent
        self.id = id
        self._encoded: bytes | None = None
        self._bare: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The event as MessagePack, body included."""
        if self._encoded is None:
            self._encoded = pack(self.to_wire())
        return self._encoded

    @property
    def encoded_bare(self) -> bytes:
        """The event as MessagePack, for those who do not want its body or may not have it."""
        if self._bare is None:
            self._bare = pack(self.to_wire(with_body=False))
        return self._bare

    def to_wire(self, *, with_body: bool = True) -> dict[str, Any]:
        wire: dict[str, Any] = {"seq": self.seq, "type": self.type, "time": self.time, "sender": self.sender, "data": self.data}
        if self.subject is not None:
            wire["subject"] = self.subject
        if self.id is not None:
            wire["id"] = self.id
        if self.parent is not None:
            wire["parent"] = self.parent
        if with_body and self.body is not None:
            wire["body"] = self.body
            if self.ct is not None:
                wire["ct"] = self.ct
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any], encoded: bytes | None = None) -> Event:
        event = cls(
            wire["seq"],
            wire["type"],
            wire["time"],
            wire["sender"],
            wire["data"],
            wire.get("subject"),
            wire.get("body"),
            wire.get("ct"),
            wire.get("parent"),
            wire.get("id"),
        )
        event._encoded = encoded
        return event

    def __repr__(self) -> str:
        return f"Event({self.seq}, {self.type!r}, subject={self.subject!r}, data={self.data!r})"


def decode_events(blob: bytes) -> Iterator[Event]:
    """The events of one stored batch: encoded events, one after the other."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=0)
    unpacker.feed(blob)
    view, start = memoryview(blob), 0
    for wire in unpacker:
        end = unpacker.tell()
        yield Event.from_wire(wire, bytes(view[start:end]))
        start = end
