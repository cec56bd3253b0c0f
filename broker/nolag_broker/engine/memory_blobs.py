"""The memory engine's blobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..core.event import Event
from ..wire.blobs import referred, referred_by_record
from .blobs import BlobDamaged, Name, Spare


@dataclass(slots=True)
class _Blobs:
    """Of one room."""

    held: dict[bytes, tuple[int, list[bytes]]] = field(default_factory=dict)  # by hash: size and pieces
    refs: dict[int, bytes] = field(default_factory=dict)  # by the sequence of the event that refers


class MemoryBlobs:
    """See `BlobStore`."""

    def __init__(self) -> None:
        self._blobs: dict[str, _Blobs] = {}
        self._begun: dict[int, tuple[str, list[bytes]]] = {}
        self._last_blob = 0

    async def begin_blob(self, room: str) -> int:
        self._last_blob += 1
        self._begun[self._last_blob] = room, []
        return self._last_blob

    async def add_piece(self, blob: int, number: int, piece: bytes, name: Name | None = None) -> bool:
        if blob not in self._begun:  # given up meanwhile
            return False
        room, pieces = self._begun[blob]
        pieces.append(piece)
        if name is not None:
            self._blobs_of(room).held.setdefault(name.hash, (name.size, pieces))
            del self._begun[blob]
        return True

    async def drop_blob(self, blob: int) -> None:
        self._begun.pop(blob, None)

    async def blob_size(self, room: str, hash: bytes) -> int | None:
        blobs = self._blobs.get(room)
        return blobs.held[hash][0] if blobs is not None and hash in blobs.held else None

    async def piece(self, room: str, hash: bytes, number: int) -> bytes | None:
        blobs = self._blobs.get(room)
        if blobs is None or hash not in blobs.held:
            return None
        pieces = blobs.held[hash][1]
        if number >= len(pieces):
            raise BlobDamaged(f"piece {number} of a large value of the room {room!r} is not there")
        return pieces[number]

    async def values_floor(self, room: str, max_bytes: int) -> int:
        blobs = self._blobs.get(room, _Blobs())
        counted: set[bytes] = set()
        size = 0
        for seq, hash in sorted(blobs.refs.items(), reverse=True):
            if hash not in counted:
                counted.add(hash)
                size += blobs.held[hash][0]
            if size > max_bytes:
                return seq + 1
        return 0

    async def collect_blobs(self, spare: Spare) -> int:
        count = 0
        for room, blobs in self._blobs.items():
            referred_to = {*blobs.refs.values(), *filter(None, map(referred_by_record, self._records_of(room)))}
            gone = [hash for hash in blobs.held if hash not in referred_to and not spare(room, hash)]
            for hash in gone:
                del blobs.held[hash]
            count += len(gone)
        return count

    # -- for the engine

    def _refer(self, room: str, events: Iterable[Event]) -> None:
        for event in events:
            if (hash := referred(event.body, event.ct)) is not None:
                self._blobs_of(room).refs[event.seq] = hash

    def _release(self, room: str, floor: int, pinned: Sequence[int]) -> None:
        if (blobs := self._blobs.get(room)) is not None:
            stay = set(pinned)
            blobs.refs = {seq: hash for seq, hash in blobs.refs.items() if seq >= floor or seq in stay}

    def _records_of(self, room: str) -> Iterable[bytes]:
        """What refers to blobs too."""
        raise NotImplementedError

    def _blobs_of(self, room: str) -> _Blobs:
        return self._blobs.setdefault(room, _Blobs())
