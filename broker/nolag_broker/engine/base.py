"""The engine's protocol: an engine stores, and knows two things only, commit and read."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ..core.event import Event
from ..core.turn import ScanAt, Turn
from .blobs import BlobStore

UNBOUNDED: Final = sys.maxsize
MAX_SCAN: Final = 16 << 20  # bytes of the values that a scan gives at once


class StorageFailed(Exception):
    """The engine could not write or read; it accepts nothing more. The broker stops, and starts again from what is stored."""


class SequenceConflict(Exception):
    """The room's log does not end where the committer thought: somebody else owns the room. The room is to be loaded again."""


class DatabaseTooNew(Exception):
    """The database was written by a newer version; the message names both and says what to do."""


class DatabaseInUse(Exception):
    """Another process holds the database."""


class BackupFailed(Exception):
    """A copy could not be made; the database itself is as sound as before."""


@dataclass(frozen=True, slots=True)
class RoomImage:
    """What recovery loads of a room: rows, not history."""

    name: str
    epoch: str
    sequence: int
    folded: int  # the heads, and the records that the log tells of, are those of this sequence: events beyond it are to be folded
    first_sequence: int  # the log is whole from here on; sequence + 1 when nothing is left of it
    heads: dict[str, bytes]


class Engine(BlobStore, Protocol):
    """Stores rooms: a log of events and rows beside it.

    Guarantees, the same for every engine and shown by one contract suite:

    - **Atomic.** A turn (events, heads, records, deletions) is stored whole or not at all; a reader never sees half of one.
    - **Durable.** When `commit` returns, every turn it was given survives a crash of the process and, for engines with
      `durability == "disk"`, of the machine.
    - **Fenced.** A turn whose `expected_sequence` is not the end of the room's log changes nothing and is reported;
      other rooms' turns of the same call are stored.
    - **Ordered.** Sequences of a room have no hole from the first one kept. Reads see every commit that returned before the read began.
    - **Fail-stop.** After the first storage error every call raises `StorageFailed`; nothing is retried.

    All methods may be called from one event loop only. None blocks it, but for those `_at_once`: each for a millisecond or two.
    """

    durability: str
    """`disk`: survives a power cut. `process`: survives nothing but a reconnect (memory)."""

    async def open(self) -> None:
        """Raises `DatabaseTooNew`, `DatabaseInUse`, `StorageFailed`."""

    async def close(self) -> None: ...

    async def rooms(self) -> dict[str, int]:
        """Every room's name and last sequence."""

    async def rooms_with(self, prefix: str) -> list[str]:
        """The rooms that have a head whose key begins with `prefix`, and those that may: events beyond the image's `folded` could tell."""

    async def load(self, room: str) -> RoomImage | None:
        """None when there is no such room."""

    async def create(self, room: str, epoch: str) -> None:
        """Durable when it returns; nothing happens when the room is there."""

    def commit(self, turns: Sequence[tuple[str, Turn]]) -> Awaitable[list[SequenceConflict | None]]:
        """Store turns of several rooms (each room at most once), in one transaction where the engine can; begun when this is called, where
        it can, and not when it is awaited.

        Returns, for each turn, None or why it was not stored. A turn that is `caught_up` moves `folded` to its end.

        Raises:
            StorageFailed: nothing of this call may be taken for stored, and nothing more will be.
        """

    def commit_at_once(self, turns: Sequence[tuple[str, Turn]]) -> list[SequenceConflict | None] | None:
        """The same without waiting, where handing a small commit to others and back would take longer than the commit. None, and nothing
        happens, where that is not so."""

    async def events(self, room: str, after: int, limit: int, max_bytes: int = 1 << 20) -> list[Event]:
        """Events with a sequence over `after`, in order: at most `limit`, and no more once `max_bytes` are reached (one at least)."""

    async def bodies(self, room: str, sequences: Sequence[int], max_bytes: int = UNBOUNDED) -> dict[int, tuple[bytes | None, str | None]]:
        """Body and content type of the events at these sequences, in their order, no more once the bodies reach `max_bytes` (one at least);
        those that are gone are absent."""

    async def floor(self, room: str, max_bytes: int) -> int:
        """The lowest sequence from which on the log takes at most `max_bytes`; the first one kept when it takes no more."""

    async def trim(self, room: str, floor: int, pinned: Sequence[int]) -> None:
        """Drop the events below `floor`, but for those at the `pinned` sequences (rising): they can still be read, until a later trim
        does not name them. Durable when it returns; done in pieces that commits pass. A crash leaves some of it done, from the
        oldest event on, and `first_sequence` says how much. Events beyond the image's `folded` stay, whatever the floor."""

    async def sweep(self, room: str, prefix: str) -> None:
        """Drop the cold rows whose key begins with `prefix`, in pieces that commits pass: for rows that nobody writes or reads any more.
        Durable when it returns; a crash leaves some of it done."""

    async def records(self, room: str, keys: Sequence[str], max_bytes: int = UNBOUNDED) -> dict[str, bytes]:
        """The cold rows of these keys, in their order, no more once they reach `max_bytes` (one at least); absent ones are absent."""

    def records_at_once(self, room: str, keys: Sequence[str]) -> dict[str, bytes] | None:
        """The same without waiting; None where something else is being done, it would be long, or `records` would raise."""

    async def scan(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]]:
        """Cold rows in the order of their keys' UTF-8 bytes, no more once the values reach `max_bytes` (one at least)."""

    def scan_at_once(self, room: str, scan: ScanAt, max_bytes: int = MAX_SCAN) -> list[tuple[str, bytes | None]] | None:
        """The same without waiting; None where something else is being done, it would be long, or `scan` would raise."""
