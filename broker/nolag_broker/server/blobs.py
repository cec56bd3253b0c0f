"""Large values on their way in and out: taken piece by piece, kept once whole, collected when nothing refers to them.

The broker never holds more of one than the pieces under way. Which blobs may be referred to is kept in memory: those that were put, or
said to be here, within the last hour. A collection spares the same ones, so that nothing goes between a put and the commit that refers
to it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..core.commands.fields import refuse
from ..engine.base import Engine, StorageFailed
from ..engine.blobs import BlobDamaged, Name
from ..wire.blobs import BLOB, MARK, PIECE, Reference
from ..wire.codes import Refusal
from .logs import get_logger, trace

log = get_logger("blobs")

MAX_WAITING: Final = 16 << 20  # bytes of pieces on their way to the engine
OVERHEAD: Final = 1024  # bytes that a piece counts beside what is in it
MAX_UPLOADS: Final = 16  # of one process of a client, under way at a time; the one that is idle longest gives way
MAX_ALL_UPLOADS: Final = 1000
IDLE: Final = 60.0  # seconds after which an upload gives way to those of others

Uploader = tuple[str, str, str, bytes]
"""Actor, instance, room and hash: an upload outlives the connection."""


@dataclass(slots=True)
class _Upload:
    """A value that comes piece by piece, in order."""

    size: int
    last: float  # when something of it came
    blob: int | None = None
    at: int = 0  # bytes stored so far
    pieces: int = 0  # that came and are not answered yet: it is not given up meanwhile
    sum: Any = field(default_factory=hashlib.sha256)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Blobs:
    """The large values of all rooms.

    Args:
        keep: seconds that one stays to which nothing refers.
        every: seconds between two looks at what may go.
        clock: monotonic seconds.
    """

    def __init__(self, engine: Engine, keep: float, every: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._keep = keep
        self._every = every
        self._clock = clock
        self._uploads: dict[Uploader, _Upload] = {}
        self._here: dict[tuple[str, bytes], tuple[float, int]] = {}  # when it was last asked for, and its size (0: not known yet)
        self._waiting = 0

    # -- what refers to them

    def check(self, room: str, frame: dict[str, Any]) -> None:
        """Refuse a request that refers to what the room is not known to hold: `blob_not_found`."""
        for reference in _references(frame):
            key = room, reference.hash
            known = self._here.get(key)
            if known is None or not known[1]:
                raise _not_found("put it, then ask again")
            if known[1] != reference.size:
                refuse("body", "a reference with the size of the value")
            self._here[key] = self._clock(), known[1]

    def _spared(self, room: str, hash: bytes) -> bool:
        return (room, hash) in self._here

    # -- coming in

    def put(self, uploader: Uploader, size: int, offset: int, piece: bytes) -> Coroutine[Any, Any, dict[str, Any]]:
        """Take one piece: `{at, whole}`, once it is stored.

        Raises:
            Refusal: `overloaded`.
        """
        if self._waiting + len(piece) + OVERHEAD > MAX_WAITING:
            raise Refusal("overloaded", "too much of large values waits to be stored")
        upload, given_up = self._uploads.get(uploader), None
        if upload is None or upload.size != size:
            given_up = self._give_way(uploader)
            upload = self._uploads[uploader] = _Upload(size, self._clock())
        upload.pieces += 1
        self._waiting += len(piece) + OVERHEAD
        return self._put(uploader, upload, offset, piece, given_up)

    def _give_way(self, uploader: Uploader) -> _Upload | None:
        """Which upload is given up so that one more may begin; None: there is room. Raises `Refusal`: `overloaded`."""
        everybody = len(self._uploads) >= MAX_ALL_UPLOADS
        mine = [key for key in self._uploads if everybody or key[:2] == uploader[:2]]
        if uploader in self._uploads:  # another size was said
            mine, everybody = [uploader], False
        elif len(mine) < MAX_UPLOADS:
            return None
        oldest = min(mine, key=lambda key: (self._uploads[key].pieces > 0, self._uploads[key].last))
        upload = self._uploads[oldest]
        if upload.pieces or (everybody and upload.last > self._clock() - IDLE):
            raise Refusal("overloaded", "too many large values are on their way")
        return self._uploads.pop(oldest)

    async def _put(self, uploader: Uploader, upload: _Upload, offset: int, piece: bytes, given_up: _Upload | None) -> dict[str, Any]:
        try:
            if given_up is not None and given_up.blob is not None:
                await self._engine.drop_blob(given_up.blob)
            async with upload.turn:
                upload.last = self._clock()
                room, hash = uploader[2:]
                if upload.at == 0 and await self._is_here(room, hash):
                    await self._end(uploader, upload)
                    return {"at": upload.size, "whole": True}
                if offset == upload.at and piece:
                    await self._store(uploader, upload, piece)
                return {"at": upload.at, "whole": upload.at == upload.size}
        finally:
            upload.pieces -= 1
            self._waiting -= len(piece) + OVERHEAD

    async def _is_here(self, room: str, hash: bytes) -> bool:
        key = room, hash
        known = key in self._here
        spared = self._spare(key)
        size = await self._engine.blob_size(room, hash)
        if size is not None:
            self._here[key] = self._clock(), size
        elif not known and self._here.get(key) is spared:  # and nobody else has asked for it, or put it, meanwhile
            del self._here[key]
        return size is not None

    def _spare(self, key: tuple[str, bytes]) -> tuple[float, int]:
        """Before it is looked for, or stored: a collection that comes between leaves it."""
        spared = self._here[key] = self._clock(), self._here.get(key, (0.0, 0))[1]
        return spared

    async def _store(self, uploader: Uploader, upload: _Upload, piece: bytes) -> None:
        room, hash = uploader[2:]
        end = upload.at + len(piece)
        if end > upload.size or (end < upload.size and len(piece) != PIECE):
            refuse("body", f"{PIECE} bytes, or the rest of the value")
        upload.sum.update(piece)
        whole = end == upload.size
        if whole and upload.sum.digest() != hash:
            await self._end(uploader, upload)
            refuse("hash", "the SHA-256 of the value that was put")
        if upload.blob is None:
            upload.blob = await self._engine.begin_blob(room)
        if whole:
            self._spare((room, hash))
        if not await self._engine.add_piece(upload.blob, upload.at // PIECE, piece, Name(hash, upload.size) if whole else None):
            return
        upload.at = end
        if whole:
            self._here[room, hash] = self._clock(), upload.size
            if self._uploads.get(uploader) is upload:
                del self._uploads[uploader]

    async def _end(self, uploader: Uploader, upload: _Upload) -> None:
        if self._uploads.get(uploader) is upload:
            del self._uploads[uploader]
        if upload.blob is not None:
            await self._engine.drop_blob(upload.blob)

    # -- going out

    async def get(self, room: str, hash: bytes, offset: int) -> dict[str, Any]:
        """One piece: `{body, size}`. Raises `Refusal`: `blob_not_found`, `blob_damaged`."""
        size = await self._engine.blob_size(room, hash)
        if size is not None and offset >= size:
            refuse("offset", "less than the value's size")
        try:
            piece = await self._engine.piece(room, hash, offset // PIECE)
        except BlobDamaged as error:
            log.error("a large value is damaged", room=room, reason=str(error))
            raise Refusal("blob_damaged", str(error)) from None
        if size is None or piece is None:
            raise _not_found("it was collected, or is of another room")
        return {"body": piece, "size": size}

    # -- the end

    async def run(self) -> None:
        """Collect, from time to time. What nothing refers to is given its time after a start too: who put it may be coming back."""
        begun = self._clock()
        while True:
            await asyncio.sleep(self._every)
            before = self._clock() - self._keep
            try:
                await self._collect(before, everything=begun < before)
            except StorageFailed:
                raise
            except Exception as error:  # a defect here must not stop rooms: only too much is kept
                log.error("large values could not be collected", trace=trace(error))

    async def _collect(self, before: float, *, everything: bool) -> None:
        for uploader, upload in list(self._uploads.items()):
            if upload.last < before and not upload.pieces:
                await self._end(uploader, upload)
        if everything:
            self._here = {key: known for key, known in self._here.items() if known[0] >= before}
            if count := await self._engine.collect_blobs(self._spared):
                log.info("large values were collected", count=count)


def _references(frame: dict[str, Any]) -> Iterator[Reference]:
    """What the bodies and records of a request refer to. Raises `Refusal`."""
    approvals, puts = frame.get("approvals"), frame.get("puts")
    for part in (frame, *(approvals if type(approvals) is list else ())):
        if type(part) is dict and part.get("ct") == BLOB:
            yield Reference.from_body(part.get("body", b""))
    for put in puts if type(puts) is list else ():
        if type(put) is list and len(put) > 1 and type(put[1]) is bytes and put[1].startswith(MARK):
            yield Reference.from_record(put[1])


def _not_found(why: str) -> Refusal:
    return Refusal("blob_not_found", f"the room does not hold this large value: {why}")
