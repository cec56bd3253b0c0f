"""What an engine stores beside the log: blobs, large values in pieces, each by the hash of all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

Spare = Callable[[str, bytes], bool]
"""Whether a room's blob of this hash is to stay although nothing refers to it. Asked on any thread."""


class Name(NamedTuple):
    """What a blob is known by."""

    hash: bytes  # of all its pieces
    size: int


class BlobDamaged(Exception):
    """A piece of a blob is not what was written, or is gone. Nothing else is harmed by it."""


class BlobStore(Protocol):
    """Stores blobs. They belong to a room. An event whose content type is `BLOB` refers to one, and so does a record that begins with
    `MARK` (see `wire.blobs`).

    Guarantees, beside those of `Engine`:

    - **Whole or absent.** A blob can be read once its last piece was stored under a name, and then it is on disk like a commit.
    - **Once.** A room holds one blob of a hash; one more of the same adds nothing.
    - **Kept.** What an event of the room's log refers to stays, as long as the event can be read: a trim that drops the event ends that.
      What a record refers to stays as long as it has this value.
    - **Out of the way.** A piece is written, and what is collected goes, in steps that commits pass.
    """

    async def begin_blob(self, room: str) -> int:
        """A new blob of this room, without a name and without a piece; nobody can read it. What has no name ends with the process."""

    async def add_piece(self, blob: int, number: int, piece: bytes, name: Name | None = None) -> bool:
        """Store piece `number` (0, 1, 2 …) of a blob that was begun; False: it was given up, and nothing is stored. The last piece comes
        with the name; where the room holds a blob of this hash already, that one stays and this one is given up."""

    async def drop_blob(self, blob: int) -> None:
        """A blob that was begun is given up."""

    async def blob_size(self, room: str, hash: bytes) -> int | None:
        """The size of a blob that the room holds; None: it holds none of this hash."""

    async def piece(self, room: str, hash: bytes, number: int) -> bytes | None:
        """One piece; None when the room holds no such blob.

        Raises:
            BlobDamaged: this piece can't be read.
        """

    async def values_floor(self, room: str, max_bytes: int) -> int:
        """The lowest sequence from which on the room's events refer to at most `max_bytes` of blobs, each counted once; 0 when all of them
        do."""

    async def collect_blobs(self, spare: Spare) -> int:
        """Drop the blobs that nothing refers to, but for those to spare, and what is left of blobs that were given up. How many."""
