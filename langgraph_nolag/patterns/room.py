"""A room that was joined, with its patterns."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..client.io import settled
from ..client.link import RoomLink
from .approve import Approve
from .blackboard import Blackboard
from .handoff import Handoff
from .inbox import Inbox
from .observe import Observe
from .presence import Presence
from .runs import Runs
from .streams import Streams
from .topics import Topics

if TYPE_CHECKING:
    from .tools import Tools

LEAVE_TIMEOUT: Final = 2.0  # seconds


class Room:
    """What `client.join(name)` gives. Awaitable from any loop.

    Attributes:
        name: the room's name.
        link: the low-level seam: requests of this room, as in the protocol.
        handoff, inbox, blackboard, observe, approve, tools, presence: the patterns.
        runs: graphs that run in the background.
        publish, subscribe, delete_cursor, delete_group: topics.
        open_stream, streams, stream: chunks as they come.
    """

    def __init__(self, link: RoomLink, capabilities: tuple[str, ...] = (), max_concurrency: int = 1, *, held_by: object = None) -> None:
        self.link = link
        self.name = link.room
        self._held_by = held_by
        self._left = False
        self.handoff = Handoff(link, capabilities, max_concurrency)
        self.inbox = Inbox(link)
        self.blackboard = Blackboard(link)
        self.observe = Observe(link)
        self.approve = Approve(link)
        self.presence = Presence(link)
        self.runs = Runs(link)
        topics = Topics(link)
        self.publish = topics.publish
        self.subscribe = topics.subscribe
        self.delete_cursor = topics.delete_cursor
        self.delete_group = topics.delete_group
        streams = Streams(link)
        self.open_stream = streams.open_stream
        self.streams = streams.streams
        self.stream = streams.stream

    @functools.cached_property
    def tools(self) -> Tools:
        from .tools import Tools  # LangChain is loaded by those who use tools

        return Tools(self.link)

    def __repr__(self) -> str:
        return f"Room({self.link.connection.url}/{self.name}, actor={self.link.actor!r})"

    async def configure(self, *, retention: Mapping[str, float | None]) -> dict[str, float | None]:
        """Set how much of its log this room keeps. What is dropped is a `Gap` to whoever reads from before it; what is still referred to
        (tasks, results, values, messages, approvals) stays. Needs the verb `admin`.

        Args:
            retention: bounds by name: `age` in seconds, `count` of events, `bytes`; None: no bound of this kind. What is not named is the
                broker's setting (30 days and 10 GiB unless it was started otherwise).

        Returns:
            What holds now, all three.

        Raises:
            NotAuthorized, BadRequest
        """
        answer = await self.link.acall("room.configure", retention=dict(retention))
        return dict(answer["retention"])

    async def leave(self) -> None:
        """Be present no longer. What we serve or follow in this room ends, and what only members may (serving, writing streams, an inbox)
        raises `NotJoined` until the room is joined again. A second call does nothing.

        Returns when the broker has heard it, within 2 seconds; one that is away lets go of us when the grace of a reconnect has passed.
        """
        if self._left:
            return
        self._left = True
        left = self.link.close(self._held_by)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await settled(left)
