"""Events that clients emit, and messages on topics: stored in the log, or (QoS 0) said once and never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ...wire.topics import segments
from ..commands.messages import EventEmit, TopicPublish
from ..entity import Entity
from ..event import Event
from ..turn import Caller, Ephemeral

if TYPE_CHECKING:
    from ..room import Room

RESERVED: Final = frozenset(
    {"room", "task", "blackboard", "inbox", "approval", "tool", "presence", "topic", "record", "stream", "schedule", "store"}
)


class Retained(Entity):
    """The last retained message of a topic: the sequence of its event."""

    __slots__ = ("seq", "topic")

    def __init__(self, topic: str, seq: int) -> None:
        self.stored = False
        self.topic = topic
        self.seq = seq  # 0: cleared

    @property
    def key(self) -> str:
        return "retained/" + self.topic

    def head(self) -> bytes | None:
        row: bytes | None = pack((self.topic, self.seq)) if self.seq else None
        return row


class Topics:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._retained: dict[str, Retained] = {}

    def operations(self) -> dict[type, Any]:
        return {EventEmit: self.emit, TopicPublish: self.publish}

    def folds(self) -> dict[str, Any]:
        return {"topic.published": self.apply_published}

    def retained(self, matches: Callable[[str], bool]) -> list[int]:
        """The sequences of the retained messages whose topic matches, in order."""
        return sorted(kept.seq for topic, kept in self._retained.items() if matches(topic))

    # -- the fold

    def apply_published(self, event: Event) -> None:
        topic = event.subject or ""
        self._room.once.fold("topic", event, topic)
        if not event.data.get("retain"):
            return
        if event.body:
            kept = self._retained.get(topic)
            if kept is None:
                kept = self._retained[topic] = Retained(topic, event.seq)
            kept.seq = event.seq
        elif (kept := self._retained.pop(topic, None)) is not None:
            kept.seq = 0
        if kept is not None:
            self._room.touch(kept)

    def apply_emitted(self, event: Event) -> None:
        """Any type that is not the room's own."""
        self._room.once.fold("event", event, event.type)

    def load(self, rows: Mapping[str, bytes]) -> None:
        for key, row in rows.items():
            if key.startswith("retained/"):
                topic, seq = msgpack.unpackb(row)
                kept = self._retained[topic] = Retained(topic, seq)
                kept.stored = True

    # -- operations

    def emit(self, command: EventEmit, caller: Caller) -> dict[str, Any]:
        room = self._room
        if segments(command.type)[0] in RESERVED:
            text = f"events of type {command.type!r} are the room's own: choose another first segment"
            raise Refusal("bad_request", text, detail={"field": "type"})
        room.allow("publish", command.type)
        if (seq := room.once.before("event", command.key, command.type, command.body)) is not None:
            return {"seq": seq}
        room.tasks.check_lease(command.lease, caller)
        data = {"severity": command.severity}
        if command.key is not None:
            data["key"] = command.key
        return {"seq": room.emit(command.type, None, data, command.body, command.ct, command.parent, command.mid).seq}

    def publish(self, command: TopicPublish, caller: Caller) -> dict[str, Any]:
        room, topic = self._room, command.topic
        room.allow("publish", topic)
        if not command.qos:
            if command.retain or command.key is not None:
                raise Refusal("bad_request", "retain and key need qos 1 or 2: qos 0 is never stored", detail={"field": "qos"})
            room.tasks.check_lease(command.lease, caller)
            frame: dict[str, Any] = {"topic": topic, "sender": caller.actor, "time": room.env.wall, "body": command.body}
            frame["id"], frame["after"] = command.mid or room.env.new_id(), room.seq  # nothing in the log stands for it
            if command.ct is not None:
                frame["ct"] = command.ct
            if command.parent is not None:
                frame["parent"] = command.parent
            room.effect(Ephemeral(topic, frame))
            return {"seq": 0}
        if (seq := room.once.before("topic", command.key, topic, command.body)) is not None:
            return {"seq": seq}
        room.tasks.check_lease(command.lease, caller)
        if command.retain and topic not in self._retained and len(self._retained) >= room.limits.retained:
            raise Refusal("overloaded", f"{room.limits.retained} topics have a retained message already")
        data: dict[str, Any] = {"qos": command.qos}
        if command.retain:
            data["retain"] = True
        if command.key is not None:
            data["key"] = command.key
        return {"seq": room.emit("topic.published", topic, data, command.body, command.ct, command.parent, command.mid).seq}
