"""The operations on large values: `blob.put`, which takes its turn among the room's commands, and `blob.get`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..core.commands.fields import MAX_INT, integer, read_bytes, refuse
from ..core.turn import Env
from ..wire.blobs import HASH_BYTES, PIECE
from ..wire.codes import Refusal
from .hosted import HostedRoom
from .readers import room_for_replay

if TYPE_CHECKING:
    from .session import Session

MAX_FETCHING: Final = 32  # pieces that a connection may wait for

_read_size = integer(1, MAX_INT)
_read_offset = integer(0, MAX_INT)


def put(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    """It takes its turn among what is asked of the room, which it may open."""
    context = session.context
    hash, size = _read_hash(frame.get("hash")), _read_size(frame.get("size"), "size")
    offset, piece = _read_offset(frame.get("offset"), "offset"), read_bytes(frame.get("body"), "body")
    if size > context.settings.max_value:
        limit = context.settings.max_value
        raise Refusal("message_too_large", f"a value of {size} bytes; this broker takes {limit}", detail={"max": limit})
    if len(piece) > PIECE:
        refuse("body", f"at most {PIECE} bytes")
    if not session.grants.may_send(room):
        raise Refusal("not_authorized", f"this token may only listen in the room {room!r}")

    def begin(hosted: HostedRoom, env: Env) -> None:
        try:
            taken = context.blobs.put((session.actor, session.instance, room, hash), size, offset, piece)
        except Refusal as refusal:
            session.refuse(request, refusal)
        else:
            session.answer_later(request, taken)

    context.node.call(room, begin, session.caller, may_open=may_open, request=request)


def get(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    """Who knows the hash of a value of a room that it is admitted to may have it."""
    hash, offset = _read_hash(frame.get("hash")), _read_offset(frame.get("offset"), "offset")
    if offset % PIECE:
        refuse("offset", f"a multiple of {PIECE}")

    async def answer() -> dict[str, Any]:
        try:
            await room_for_replay(session)  # nothing is fetched that the peer is too slow to read
            piece = await session.context.blobs.get(room, hash, offset)
            await room_for_replay(session)  # pieces that were fetched at the same time are sent one by one
            return piece
        finally:
            session.fetching -= 1

    if session.fetching >= MAX_FETCHING:
        raise Refusal("overloaded", f"a connection can wait for {MAX_FETCHING} pieces")
    session.fetching += 1
    session.answer_later(request, answer())


def _read_hash(value: Any) -> bytes:
    if len(hash := read_bytes(value, "hash")) != HASH_BYTES:
        refuse("hash", f"{HASH_BYTES} bytes, a SHA-256")
    return hash


BLOB_OPERATIONS: Final = {"blob.put": put, "blob.get": get}
