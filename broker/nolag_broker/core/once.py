"""Messages with a key happen once: the same key with the same content answers with the first one's sequence.

Unlike the answers kept for a request that comes again (`requests.py`) a key outlives the process that sent it: it is how a
node of a graph that runs a second time after a crash does not say things twice.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgpack

from ..wire.codec import pack
from ..wire.codes import Refusal
from .entity import SEPARATOR
from .event import Event

if TYPE_CHECKING:
    from .room import Room


class Once:
    def __init__(self, room: Room) -> None:
        self._room = room

    def needs(self, pattern: str, key: str | None) -> tuple[str, ...]:
        """The records that say whether this was said before; `pattern` is `event`, `topic` or `inbox`."""
        return () if key is None else self._room.tasks.finished.places(_name(pattern, key))

    def before(self, pattern: str, key: str | None, subject: str, body: bytes | None) -> int | None:
        """The sequence of the first one. Raises `Refusal` (`key_conflict`) when that said something else."""
        for place in self.needs(pattern, key):
            if (row := self._room.cold(place)) is not None:
                seq, digest = msgpack.unpackb(row)
                if digest != _digest(subject, body):
                    raise Refusal("key_conflict", f"the key {key!r} was used for another message", detail={"seq": seq})
                return int(seq)
        return None

    def fold(self, pattern: str, event: Event, subject: str) -> None:
        """Keep what this event said, if it has a key."""
        if (key := event.data.get("key")) is not None:
            place = self._room.tasks.finished.places(_name(pattern, key))[0]
            self._room.put_record(place, pack((event.seq, _digest(subject, event.body))))


def _name(pattern: str, key: str) -> str:
    return f"once/{pattern}{SEPARATOR}{key}"


def _digest(subject: str, body: bytes | None) -> bytes:
    digest = blake2b(f"{subject}\0{body is None}\0".encode(), digest_size=16)
    digest.update(body or b"")
    return digest.digest()
