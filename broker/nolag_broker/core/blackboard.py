"""The blackboard: keys with revisions. Values are in the log; what stands here is which event holds which revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ..wire.codec import pack
from ..wire.codes import Refusal
from ..wire.topics import matcher
from .commands.keyed import BlackboardDelete, BlackboardGet, BlackboardHistory, BlackboardList, BlackboardSet
from .entity import Entity
from .event import Event
from .turn import BodyAt, Caller

if TYPE_CHECKING:
    from .room import Room


class Revision(NamedTuple):
    revision: int
    seq: int
    time: float
    writer: str
    deleted: bool
    ct: str | None
    mid: str | None


class Entry(Entity):
    """One key, deleted or not: its revisions never start again. The last one is its state."""

    __slots__ = ("name", "revisions")

    def __init__(self, name: str) -> None:
        self.stored = False
        self.name = name
        self.revisions: list[Revision] = []

    @property
    def key(self) -> str:
        return "blackboard/" + self.name

    @property
    def last(self) -> Revision:
        return self.revisions[-1]

    def head(self) -> bytes | None:
        row: bytes = pack((self.name, self.revisions))
        return row

    def view(self, revision: Revision, *, bodies: bool = True) -> dict[str, Any]:
        view: dict[str, Any] = {
            "key": self.name,
            "revision": revision.revision,
            "seq": revision.seq,
            "time": revision.time,
            "writer": revision.writer,
        }
        if revision.deleted:
            view["deleted"] = True
        elif bodies:
            view["body"] = BodyAt(revision.seq)
            if revision.ct is not None:
                view["ct"] = revision.ct
        return view


class Blackboard:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._entries: dict[str, Entry] = {}

    def operations(self) -> dict[type, Any]:
        return {
            BlackboardGet: self.get,
            BlackboardList: self.list_entries,
            BlackboardSet: self.set,
            BlackboardDelete: self.delete,
            BlackboardHistory: self.history,
        }

    def folds(self) -> dict[str, Any]:
        return {"blackboard.set": self.apply_changed, "blackboard.deleted": self.apply_changed}

    # -- the fold

    def apply_changed(self, event: Event) -> None:
        name = event.subject or ""
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = Entry(name)
        deleted = event.type == "blackboard.deleted"
        entry.revisions.append(Revision(event.data["revision"], event.seq, event.time, event.sender, deleted, event.ct, event.id))
        if len(entry.revisions) > self._room.limits.history:
            del entry.revisions[0]
        self._room.touch(entry)

    def load(self, rows: Mapping[str, bytes]) -> None:
        for key, row in rows.items():
            if key.startswith("blackboard/"):
                name, revisions = msgpack.unpackb(row)
                entry = self._entries[name] = Entry(name)
                entry.revisions = [Revision(*revision) for revision in revisions]
                entry.stored = True

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    # -- operations

    def get(self, command: BlackboardGet, caller: Caller) -> dict[str, Any]:
        self._room.allow("state", command.key)
        entry = self._entries.get(command.key)
        return {"entry": None if entry is None or entry.last.deleted else entry.view(entry.last)}

    def list_entries(self, command: BlackboardList, caller: Caller) -> dict[str, Any]:
        matches, room = matcher(command.pattern), self._room.name
        found = [
            entry.view(entry.last, bodies=command.bodies)
            for name, entry in sorted(self._entries.items())
            if not entry.last.deleted and matches(name) and caller.grants.allows("state", room, name)
        ]
        return {"entries": found}

    def set(self, command: BlackboardSet, caller: Caller) -> dict[str, Any]:
        entry, repeated = self._expected(command)
        if repeated is not None:
            return repeated
        self._room.tasks.check_lease(command.lease, caller)
        if entry is None and len(self._entries) >= self._room.limits.keys:
            raise Refusal("overloaded", f"the blackboard has {self._room.limits.keys} keys already")
        revision = entry.last.revision + 1 if entry is not None else 1
        data = {"revision": revision}
        event = self._room.emit("blackboard.set", command.key, data, command.body, command.ct, command.parent, command.mid)
        return {"revision": revision, "seq": event.seq, "time": event.time}

    def delete(self, command: BlackboardDelete, caller: Caller) -> dict[str, Any]:
        entry, repeated = self._expected(command)
        if repeated is not None:
            return repeated
        self._room.tasks.check_lease(command.lease, caller)
        if entry is None or entry.last.deleted:  # nothing to delete: nothing happened
            return _written(entry.last) if entry is not None else {"revision": 0, "seq": self._room.seq, "time": 0.0}
        revision = entry.last.revision + 1
        event = self._room.emit("blackboard.deleted", command.key, {"revision": revision}, id=command.mid)
        return {"revision": revision, "seq": event.seq, "time": event.time}

    def _expected(self, command: BlackboardSet | BlackboardDelete) -> tuple[Entry | None, dict[str, Any] | None]:
        """The entry to change, or the answer to a change that was made before.

        Raises:
            Refusal: `revision_conflict`, `not_authorized`.
        """
        self._room.allow("state", command.key)
        entry = self._entries.get(command.key)
        if entry is not None and command.mid is not None:
            for done in entry.revisions:
                if done.mid == command.mid:
                    return entry, _written(done)
        now = 0 if entry is None or entry.last.deleted else entry.last.revision
        if command.expected is not None and command.expected != now:
            text = f"{command.key!r} is at revision {now}, not {command.expected}: read it again"
            raise Refusal("revision_conflict", text, detail={"revision": now})
        return entry, None

    def history(self, command: BlackboardHistory, caller: Caller) -> dict[str, Any]:
        self._room.allow("state", command.key)
        entry = self._entries.get(command.key)
        revisions = [] if entry is None else entry.revisions[::-1][: command.limit]
        return {"entries": [entry.view(revision) for revision in revisions] if entry is not None else []}


def _written(revision: Revision) -> dict[str, Any]:
    return {"revision": revision.revision, "seq": revision.seq, "time": revision.time}
