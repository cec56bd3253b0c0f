"""Who may see which event: the last column of PROTOCOL.md's table of events."""

from __future__ import annotations

from ..core.event import Event
from ..wire.grants import Grants


def may_see(grants: Grants, room: str, type: str, subject: str) -> bool:
    """Whether these grants show an event of this type and subject. (An inbox message is shown; its body only to some: `may_read`.)"""
    if type == "topic.published":
        return grants.allows("subscribe", room, subject)
    if type.startswith("blackboard."):
        return grants.allows("state", room, subject)
    return grants.allows("subscribe", room, type)


def is_private(type: str) -> bool:
    """Whether the body of such an event is for some only."""
    return type == "inbox.sent"


def may_read(event: Event, actor: str, admin: bool) -> bool:
    """Whether the body of a private event may be shown."""
    return admin or actor in (event.sender, event.subject)
