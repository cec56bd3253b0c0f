"""A room that was joined, with its patterns."""

from __future__ import annotations

from ..client.link import RoomLink


class Room:
    """What `client.join(name)` gives."""

    def __init__(self, link: RoomLink) -> None:
        self.link = link
