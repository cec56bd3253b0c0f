"""Cursors: how far somebody has come with the room's log, by name, over restarts of both sides.

Moving one is no fact of the log: only its row changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.messages import CursorDelete, CursorMove
from ..entity import Entity
from ..turn import Caller

if TYPE_CHECKING:
    from ..room import Room


class Cursor(Entity):
    logged = False

    __slots__ = ("alive", "name", "position")

    def __init__(self, name: str, position: int) -> None:
        self.stored = False
        self.alive = True
        self.name = name
        self.position = position  # everything up to here was acknowledged

    @property
    def key(self) -> str:
        return "cursor/" + self.name

    def head(self) -> bytes | None:
        row: bytes | None = pack((self.name, self.position)) if self.alive else None
        return row


class Cursors:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._cursors: dict[str, Cursor] = {}

    def operations(self) -> dict[type, Any]:
        return {CursorMove: self.move, CursorDelete: self.delete}

    def load(self, rows: Mapping[str, bytes]) -> None:
        for key, row in rows.items():
            if key.startswith("cursor/"):
                cursor = Cursor(*msgpack.unpackb(row))
                cursor.stored = True
                self._cursors[cursor.name] = cursor

    def begin(self, name: str, position: int) -> int:
        """Where this cursor is; one that is not known begins at `position`. Raises `Refusal` (`overloaded`)."""
        cursor = self._cursors.get(name)
        if cursor is None:
            if len(self._cursors) >= self._room.limits.cursors:
                raise Refusal("overloaded", f"the room has {self._room.limits.cursors} cursors already: delete those that nobody needs")
            cursor = self._cursors[name] = Cursor(name, position)
            self._room.touch(cursor)
        return cursor.position

    def move(self, command: CursorMove, caller: Caller) -> dict[str, Any]:
        """Only forward: an acknowledgement that is overtaken by a later one changes nothing."""
        self._room.allow("subscribe", "cursor/" + command.cursor)
        if command.epoch not in (None, self._room.epoch):  # of a log that is lost: here it is another message
            known = self._cursors.get(command.cursor)
            return {"position": 0 if known is None else known.position}
        if command.seq > self._room.seq:
            raise Refusal("bad_request", f"the log ends at {self._room.seq}", detail={"field": "seq"})
        self.begin(command.cursor, command.seq)
        cursor = self._cursors[command.cursor]
        if command.seq > cursor.position:
            cursor.position = command.seq
            self._room.touch(cursor)
        return {"position": cursor.position}

    def delete(self, command: CursorDelete, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        self._room.allow("subscribe", "cursor/" + command.cursor)
        if (cursor := self._cursors.pop(command.cursor, None)) is not None:
            cursor.alive = False
            self._room.touch(cursor)
        return {}
