"""What can be asked of a room itself, and about who is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from .command import Command
from .fields import EMPTY, Map, NameSet, Slots, Text, read_retention


@dataclass(slots=True)
class RoomJoin(Command):
    op = "room.join"
    capabilities: NameSet = EMPTY
    max_concurrency: Slots = 1
    status: Text = "available"
    metadata: Map | None = None


@dataclass(slots=True)
class RoomLeave(Command):
    op = "room.leave"


@dataclass(slots=True)
class RoomInfo(Command):
    op = "room.info"


@dataclass(slots=True)
class RoomConfigure(Command):
    op = "room.configure"
    retention: Annotated[dict[str, Any], read_retention]


@dataclass(slots=True)
class PresenceUpdate(Command):
    op = "presence.update"
    status: Text | None = None
    metadata: Map | None = None
    capabilities: NameSet | None = None
    max_concurrency: Slots | None = None


@dataclass(slots=True)
class PresenceList(Command):
    op = "presence.list"


@dataclass(slots=True)
class ToolList(Command):
    op = "tool.list"
