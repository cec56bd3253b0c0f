"""How a room comes into memory: from its rows, and from what its log holds beyond them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from ..core.limits import Limits
from ..core.room import Room
from ..core.turn import Env
from ..engine.base import Engine, RoomImage

PAGE: Final = 1024  # events read at once


async def open_room(
    engine: Engine, name: str, env: Callable[[], Env], limits: Limits, may_create: Callable[[], bool]
) -> tuple[Room, RoomImage] | None:
    """The room, and what it was recovered from; None where there is none and nobody who asks may create it."""
    image = await engine.load(name)
    if image is None:
        if not may_create():
            return None
        await engine.create(name, secrets.token_hex(8))
        image = await engine.load(name)
        assert image is not None
    if image.folded < image.sequence:
        image = await _catch_up(engine, image, env(), limits)
    return Room.recover(image.name, image.epoch, image.sequence, image.heads, env(), limits), image


async def _catch_up(engine: Engine, image: RoomImage, env: Env, limits: Limits) -> RoomImage:
    """Fold what the log holds beyond the rows, and write the rows."""
    room = Room.recover(image.name, image.epoch, image.folded, image.heads, env, limits)
    while room.seq < image.sequence:
        room.replay(await engine.events(image.name, room.seq, PAGE))
    (conflict,) = await engine.commit([(image.name, room.take(rows=True))])
    if conflict is not None:
        raise conflict
    written = await engine.load(image.name)
    assert written is not None
    return written
