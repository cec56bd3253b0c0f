"""What every session of a broker shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..settings import Settings
from .auth import SYSTEM, Authority, Identity, Revocations
from .blobs import Blobs
from .inside import Inside
from .node import Node
from .writer import Outbox

if TYPE_CHECKING:
    from .sessions import Sessions


@dataclass(slots=True)
class Context:
    settings: Settings
    node: Node
    blobs: Blobs
    inside: Inside
    authority: Authority
    revocations: Revocations
    sessions: Sessions
    open_rooms: bool  # whoever may do anything in a room may open it
    outbox: Outbox = field(default_factory=Outbox)

    def may_open(self, identity: Identity, room: str) -> bool:
        return room != SYSTEM and (self.open_rooms or identity.grants.is_admin(room))
