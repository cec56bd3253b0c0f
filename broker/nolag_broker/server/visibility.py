"""Who may see which event: the last column of PROTOCOL.md's table of events."""

from __future__ import annotations

from typing import Final

from ..core.event import Event
from ..core.streams.stream import DIRECTED
from ..wire.grants import Grants
from ..wire.topics import matches

OF_STREAMS: Final = ("stream.opened", "stream.rolled", "stream.closed", "stream.failed", "stream.aborted", "stream.read")


def may_see(grants: Grants, actor: str, room: str, type: str, subject: str) -> bool:
    """Whether an event of this type and subject is shown to this actor. (A message or stream for one actor is shown; its body only
    to some: `may_read`.)"""
    if type == "topic.published":
        return grants.allows("subscribe", room, subject)
    if type.startswith("stream."):
        if not subject.startswith(DIRECTED):
            return grants.allows("subscribe", room, subject)
        return subject == DIRECTED + actor or grants.allows("subscribe", room, type)
    if type.startswith(("blackboard.", "store.")) and subject:
        return grants.allows("state", room, subject)
    return grants.allows("subscribe", room, type)


def is_personal(types: str, bodies: bool) -> bool:
    """Whether what a pattern of types shows depends on the actor, not on grants alone."""
    return any(matches(types, type) for type in OF_STREAMS) or (bodies and matches(types, "inbox.sent"))


def may_read(event: Event, actor: str, admin: bool) -> bool:
    """Whether the body of an event may be shown to somebody who may see the event."""
    if event.type == "inbox.sent":
        return admin or actor in (event.sender, event.subject)
    if event.type == "stream.rolled" and (event.subject or "").startswith(DIRECTED):
        return admin or event.subject == DIRECTED + actor or actor == event.data["writer"]
    return True
