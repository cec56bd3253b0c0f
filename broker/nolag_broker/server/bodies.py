"""Frames whose bodies are elsewhere: a placeholder becomes bytes while the frame is encoded.

The room keeps no bodies; it says `BodyAt(seq)`. Nearly always the body is in the turn just written or in the cache, and then the encoder's
hook for unknown types fills it in: no frame is ever walked. Only what is really missing is looked for and fetched (`fetching.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from ..core.event import Event
from ..core.turn import BodyAt, RecordAt, ScanAt

_OVERHEAD: Final = 280  # bytes an entry of the cache costs beside its body


class NotHere(Exception):
    """A placeholder's value has to be fetched first."""


class BodyCache:
    """Bodies used lately, least recently used out first, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._bodies: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def put(self, room: str, seq: int, body: bytes) -> None:
        key = (room, seq)
        if key in self._bodies or len(body) > self._limit // 8:
            return
        self._bodies[key] = body
        self._size += len(body) + _OVERHEAD
        while self._size > self._limit:
            _, old = self._bodies.popitem(last=False)
            self._size -= len(old) + _OVERHEAD

    def get(self, room: str, seq: int) -> bytes | None:
        body = self._bodies.get((room, seq))
        if body is not None:
            self._bodies.move_to_end((room, seq))
        return body


class Encoder:
    """Encodes the frames of the room's effects."""

    def __init__(self, cache: BodyCache) -> None:
        self._cache = cache
        self._pack = msgpack.Packer(use_bin_type=True, autoreset=True, default=self._value).pack
        self._room = ""
        self._events: Sequence[Event] = ()
        self._fetched: dict[Any, Any] = {}

    def focus(self, room: str, events: Sequence[Event], fetched: dict[Any, Any]) -> None:
        """What the next frames may refer to: the events just written and what `fetch` found."""
        self._room = room
        self._events = events
        self._fetched = fetched

    def encode(self, frame: dict[str, Any]) -> bytes:
        """Raises `NotHere` when something has to be fetched first."""
        return self._pack(frame)  # type: ignore[no-any-return]

    def _value(self, placeholder: Any) -> Any:
        if type(placeholder) is BodyAt:
            seq, events = placeholder.seq, self._events
            if events and 0 <= seq - events[0].seq < len(events):
                return events[seq - events[0].seq].body
            body = self._cache.get(self._room, seq)
            if body is not None:
                return body
        elif type(placeholder) not in (RecordAt, ScanAt):
            raise TypeError(f"a {type(placeholder).__name__} in a frame")
        try:
            return self._fetched[placeholder]
        except KeyError:
            raise NotHere from None
