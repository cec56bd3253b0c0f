"""`store.search`: what the room says is there is read, compared and ranked here, between commits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..core.commands.fields import MAX_INT, integer, read_bool, read_bytes
from ..core.commands.store import read_labels, read_vectors
from ..core.store.filters import Filter, read_value
from ..core.store.item import Item, Version
from ..core.turn import Env, Then
from ..wire.blobs import BLOB, PIECE, Reference
from ..wire.codes import Refusal
from .hosted import HostedRoom
from .readers import room_for_replay
from .requested import field
from .vectors import Found, Vectors

if TYPE_CHECKING:
    from .session import Session

AT_ONCE: Final = 64  # items that are read together
LARGE: Final = 256 << 10  # bytes of a value that is decoded beside the loop
STORED_WITHIN: Final = 20.0  # seconds
MAX_LOOKED_AT: Final = 500_000  # items that searches of a connection look through, at a time

_read_limit = integer(0, 1000)
_read_offset = integer(0, MAX_INT)


def _read_filter(value: Any, name: str) -> Filter:
    try:
        return Filter(read_value(read_bytes(value, name)))
    except ValueError:
        raise Refusal("bad_request", "filter must be an encoded map", detail={"field": "filter"}) from None


def search(session: Session, room: str, may_open: bool, request: int | None, frame: dict[str, Any]) -> None:
    prefix = field(frame, "prefix", read_labels, ())
    limit, offset = field(frame, "limit", _read_limit, 10), field(frame, "offset", _read_offset, 0)
    wanted, vector = field(frame, "filter", _read_filter, None), field(frame, "vector", read_vectors, None)
    refresh = field(frame, "refresh", read_bool, True)

    def begin(hosted: HostedRoom, env: Env) -> None:
        assert hosted.room is not None
        core, now = hosted.room, hosted.room.seq
        items: Iterator[Item] = core.store.find(prefix, session.grants, env.wall)
        if wanted is None and vector is None:
            items = islice(items, offset, offset + limit)
        found = [(item, item.version) for item in items]
        if session.looked_at and session.looked_at + len(found) > MAX_LOOKED_AT:
            session.refuse(request, Refusal("overloaded", f"the searches of a connection look through {MAX_LOOKED_AT} items at a time"))
            return

        async def answer() -> dict[str, Any]:
            scores: dict[int, float] = {}
            if vector is not None:
                index = hosted.vectors.setdefault(vector.dims, Vectors(room, vector.dims))
                scores = await index.rank(found, vector.data, session.context.node.bodies, core.store.holds)
            skip = offset if wanted is not None or vector is not None else 0
            chosen = await _choose(session, room, _ranked(found, scores), wanted, limit, skip)
            if refresh and any(version.ttl is not None for _, version, _ in chosen):
                await _refresh(session, room, [version.seq for _, version, _ in chosen])
            await room_for_replay(session)
            items = [_told(item, version, body, scores) for item, version, body in chosen]
            return {"items": items, "through": now, "epoch": hosted.feed.epoch}

        if request is not None:
            session.looked_at += len(found)  # now: many are decided before the first of them looks. If it is dropped, so is the session
            core.effect(Then(session.id, request, lambda: session.answer_later(request, _counted(session, len(found), answer()))))

    session.context.node.call(room, begin, session.caller, may_open=may_open, request=request)


async def _counted(session: Session, items: int, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    try:
        return await work
    finally:
        session.looked_at -= items


def _ranked(found: list[Found], scores: dict[int, float]) -> list[Found]:
    """The nearest first; then, as they were found, those that can't be compared."""
    if not scores:
        return found
    by_revision = {version.seq: (item, version) for item, version in found}
    return [*(by_revision.pop(revision) for revision in scores), *by_revision.values()]


async def _choose(
    session: Session, room: str, found: list[Found], wanted: Filter | None, limit: int, offset: int
) -> list[tuple[Item, Version, bytes]]:
    """A page of those that the filter admits, with their bodies. Only as many are read as it takes."""
    chosen: list[tuple[Item, Version, bytes]] = []
    if wanted is None:
        found, offset = found[offset : offset + limit], 0
    limit_bytes = session.context.node.bodies.limit
    size = start = 0
    while start < len(found):
        read, looked_at = await _read(session, room, found[start : start + AT_ONCE])
        start += looked_at
        for item, version, body in read:
            if len(chosen) == limit:
                return chosen
            if wanted is not None and not wanted.admits(await _value(session, room, version, body)):
                continue
            if offset:
                offset -= 1
                continue
            chosen.append((item, version, body))
            size += len(body)
            if size > limit_bytes:
                raise Refusal("message_too_large", "the answer is too large: ask for less", detail={"max": limit_bytes})
        await asyncio.sleep(0)
    return chosen


async def _read(session: Session, room: str, found: Sequence[Found]) -> tuple[list[tuple[Item, Version, bytes]], int]:
    """The bodies of the first of these, and of how many it is. What was overwritten since, and trimmed, is read as it is now."""
    bodies, read = session.context.node.bodies, []
    stored = await bodies.at(room, [version.seq for _, version in found])
    for item, version in found[: len(stored)]:
        body = stored[version.seq]
        if body is None and not item.gone and item.version is not version:
            version = item.version
            body = (await bodies.at(room, [version.seq])).get(version.seq)
        if body is not None:
            read.append((item, version, body))
    return read, len(stored)


async def _value(session: Session, room: str, version: Version, body: bytes) -> Any:
    if version.ct == BLOB:
        reference = Reference.from_body(body)
        pieces = [await session.context.blobs.get(room, reference.hash, offset) for offset in range(0, reference.size, PIECE)]
        body = b"".join(piece["body"] for piece in pieces)
    try:
        return await asyncio.to_thread(read_value, body) if len(body) > LARGE else read_value(body)
    except ValueError:  # whoever wrote it means nothing that a filter could ask for
        return None


async def _refresh(session: Session, room: str, revisions: list[int]) -> None:
    """Let their time begin anew, durably. Raises `Refusal` (`unavailable`): the room is being loaded again."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored() -> None:
        if not done.done():
            done.set_result(None)

    def read(hosted: HostedRoom, env: Env) -> None:
        assert hosted.room is not None
        hosted.room.items_read(session.caller, revisions, env)
        hosted.room.effect(Then(session.id, None, stored))

    session.context.node.call(room, read, session.caller, may_open=False, request=None)
    try:
        async with asyncio.timeout(STORED_WITHIN):
            await done
    except TimeoutError:
        raise Refusal("unavailable", "the room is being loaded again; ask again") from None


def _told(item: Item, version: Version, body: bytes, scores: dict[int, float]) -> dict[str, Any]:
    told = {**item.view(version), "body": body}
    if version.seq in scores:
        told["score"] = scores[version.seq]
    return told


STORE_OPERATIONS: Final = {"store.search": search}
