"""Consumer groups: readers that share the room's log between them, each event dealt to one of them.

The room keeps what must outlive everybody: up to where the log was read for the group, and which of the events before are not
acknowledged yet. Who has them in hand is the server's business (server/sharing.py) and gone with it: what nobody acknowledged is
dealt again.
As with cursors, none of this is a fact of the log: only the group's row changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.messages import GroupAck
from ..entity import SEPARATOR, Entity
from ..turn import Acknowledged, Caller, GroupKey

if TYPE_CHECKING:
    from ..room import Room

MOST_AHEAD: Final = 1000


class Group(Entity):
    """`open` holds what matches up to `through` and is not acknowledged. Both move as the log is read, and are written with the next
    acknowledgement: a room loaded again may be behind. `ahead` holds what was acknowledged beyond `through`, then."""

    logged = False

    __slots__ = ("ahead", "alive", "found", "id", "open", "through")

    def __init__(self, id: GroupKey, through: int, open: Iterable[int] = (), ahead: Iterable[int] = ()) -> None:
        self.stored = False
        self.alive = True
        self.found = 0  # where the log ended when it was loaded: members may have in hand what a broker before this one dealt
        self.id = id
        self.through = through
        self.open = set(open)
        self.ahead = set(ahead)

    @property
    def key(self) -> str:
        return "group/" + SEPARATOR.join(self.id)

    def head(self) -> bytes | None:
        row: bytes | None = pack((*self.id, self.through, sorted(self.open), sorted(self.ahead))) if self.alive else None
        return row

    def meets(self, seq: int) -> bool:
        """The log was read to this event, which matches; whether it is to be dealt."""
        if seq <= self.through:
            return False
        self.through = seq
        if seq in self.ahead:
            self.ahead.discard(seq)
            return False
        self.open.add(seq)
        return True

    def acknowledge(self, seq: int, end: int) -> bool:
        """Whether anything changes by it. `end`: of the log."""
        if seq in self.open:
            self.open.discard(seq)
            return True
        if self.through < seq <= end and seq not in self.ahead and len(self.ahead) < MOST_AHEAD:
            self.ahead.add(seq)
            return True
        return False


class Groups:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._groups: dict[GroupKey, Group] = {}

    def operations(self) -> dict[type, Any]:
        return {GroupAck: self.ack}

    def load(self, rows: Mapping[str, bytes]) -> None:
        for key, row in rows.items():
            if key.startswith("group/"):
                name, types, subject, through, open, ahead = msgpack.unpackb(row)
                group = Group((name, types, subject), through, open, ahead)
                group.stored, group.found = True, self._room.seq
                self._groups[group.id] = group

    def get(self, id: GroupKey) -> Group | None:
        return self._groups.get(id)

    def begin(self, id: GroupKey, through: int) -> Group:
        """This group; one that is not known begins after `through`. Raises `Refusal` (`overloaded`)."""
        group = self._groups.get(id)
        if group is None:
            if len(self._groups) >= self._room.limits.groups:
                raise Refusal("overloaded", f"the room has {self._room.limits.groups} groups already: delete those that nobody needs")
            group = self._groups[id] = Group(id, through)
            self._room.touch(group)
        return group

    def ack(self, command: GroupAck, caller: Caller) -> dict[str, Any]:
        """Whoever says it: what was dealt with is not dealt again, even if it was taken from the caller meanwhile."""
        self._room.allow("subscribe", "group/" + command.group)
        if command.epoch not in (None, self._room.epoch):  # of a log that is lost: here they are other messages
            return {"acknowledged": 0}
        id = (command.group, command.types, command.subject)
        group = self._groups.get(id)
        acknowledged = [] if group is None else [seq for seq in command.messages if group.acknowledge(seq, self._room.seq)]
        if group is not None and acknowledged:
            self._room.touch(group)
            self._room.effect(Acknowledged(id, acknowledged))
        return {"acknowledged": len(acknowledged)}

    def delete(self, id: GroupKey) -> None:
        if (group := self._groups.pop(id, None)) is not None:
            group.alive = False
            self._room.touch(group)
