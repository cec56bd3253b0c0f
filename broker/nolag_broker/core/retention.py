"""How much of its log a room keeps, and what of the rest is still referred to.

The room only says it: what is too old is dropped by the server, and no decision depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ..wire.codec import pack
from .approvals.approval import Approval
from .commands.rooms import RoomConfigure
from .entity import Entity
from .event import Event
from .limits import Policy
from .tasks.effects import referring_event
from .tasks.task import Task
from .turn import Caller

if TYPE_CHECKING:
    from .room import Room


class Retention(Entity):
    """The room's policy. What was not named when it was configured is the broker's."""

    key = "retention"

    def __init__(self, room: Room) -> None:
        self.stored = False
        self._room = room
        self._named: dict[str, Any] = {}

    @property
    def policy(self) -> Policy:
        default = self._room.limits.log
        return Policy(**{"age": default.age, "count": default.count, "bytes": default.bytes, **self._named})

    def head(self) -> bytes | None:
        row: bytes = pack(self._named)
        return row

    def load(self, rows: Mapping[str, bytes]) -> None:
        if row := rows.get(self.key):
            self._named = msgpack.unpackb(row)
            self.stored = True

    def operations(self) -> dict[type, Any]:
        return {RoomConfigure: self.configure}

    def folds(self) -> dict[str, Any]:
        return {"room.configured": self.apply_configured}

    def apply_configured(self, event: Event) -> None:
        self._named = event.data["retention"]
        self._room.touch(self)

    def configure(self, command: RoomConfigure, caller: Caller) -> dict[str, Any]:
        self._room.allow("admin", "room")
        if command.retention != self._named:
            self._room.emit("room.configured", None, {"retention": command.retention})
        return {"retention": self.view()}

    def view(self) -> dict[str, Any]:
        policy = self.policy
        return {"age": policy.age, "count": policy.count, "bytes": policy.bytes}

    # -- what must stay readable

    def living(self) -> Iterator[int]:
        """The sequences whose bodies something living refers to (some are 0). May be read bit by bit while the room goes on: what comes
        to live meanwhile refers to what came after the first bit, and what dies becomes a record, if anything (see `of_record`)."""
        room = self._room
        tasks, entries = list(room.tasks.by_id.values()), room.blackboard.entries()
        members, messages = list(room.members.by_holder.values()), room.inbox.unread()
        approvals, retained = room.approvals.pending(), room.topics.retained(lambda topic: True)
        schedules, items = room.schedules.all(), room.store.all()
        yield from retained
        for task in tasks:
            yield task.payload_seq
            yield task.body_seq
        for entry in entries:
            for revision in list(entry.revisions):
                if not revision.deleted:
                    yield revision.seq
        for item in items:
            yield item.version.seq
            if item.version.dims:
                yield item.version.seq + 1
        for message in messages:
            yield message.seq
        for approval in approvals:
            yield from approval.body_sequences()
        for schedule in schedules:
            yield schedule.seq
        for member in members:
            for registration in list(member.tools.values()):
                yield registration.seq
        yield from room.streams.living()

    @property
    def period(self) -> int:
        """The first period whose records are still looked at; those before it are under `kept/<period>/` with a lower number."""
        return self._room.tasks.finished.oldest

    def records(self) -> tuple[str, ...]:
        """Prefixes of the records that refer to the log."""
        return (*self._room.tasks.finished.places("task/"), "done/approval/", "effect/")


def of_record(key: str, value: bytes) -> tuple[int, ...]:
    """The sequences whose bodies a record refers to (some are 0)."""
    if key.startswith("kept/"):
        return (Task.from_header(value).body_seq,)
    if key.startswith("effect/"):
        return (referring_event(value),)
    return tuple(Approval.from_header(value).body_sequences())
