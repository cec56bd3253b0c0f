"""Who reads a room's log, and what they see of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from ..core.event import Event
from ..engine.base import StorageFailed
from ..wire.codes import Refusal
from ..wire.grants import Grants
from ..wire.topics import matcher
from .errors import failed_push, storage_failed
from .logs import get_logger, trace
from .visibility import is_personal, may_read, may_see

log = get_logger("readers")

CHUNK_EVENTS, CHUNK_BYTES = 500, 256 << 10  # of a log, read at a time

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task whose failure somebody notices: what is read for readers."""


class Reader(Protocol):
    """Whoever subscribes: a session."""

    id: str
    actor: str
    grants: Grants
    last_heard: float

    def send(self, frame: bytes) -> None: ...
    def congestion(self) -> asyncio.Future[None] | None: ...
    def end_subscription(self, number: int, refusal: Refusal) -> None: ...

    def give_up(self) -> None: ...
    @property
    def behind(self) -> bool: ...


class Subscriber(Protocol):
    """What a reader has under a number of its connection."""

    number: int
    reader: Reader


@contextlib.contextmanager
def telling(subscribers: Callable[[], Sequence[Subscriber]], **where: Any) -> Iterator[None]:
    """Reading for them does not end in silence: they are told that storage failed, and after a defect their connections are closed: the
    clients come back."""
    try:
        yield
    except StorageFailed:
        for subscriber in subscribers():
            subscriber.reader.send(failed_push(subscriber.number, storage_failed()))
        raise
    except Exception as error:
        log.error("reading a log for subscribers broke", **where, trace=trace(error))
        for subscriber in subscribers():
            subscriber.reader.give_up()


async def room_for_replay(reader: Reader) -> None:
    """Wait until the reader has room for more of what it may wait for."""
    while (congestion := reader.congestion()) is not None:
        await congestion


class View:
    """What one reader sees of a room through a pair of patterns."""

    def __init__(self, room: str, reader: Reader, types: str, subject: str | None, bodies: bool) -> None:
        self.room = room
        self.types = types
        self.subject = subject
        self.bodies = bodies
        self.actor = reader.actor
        self.grants = reader.grants
        self._admin = reader.grants.is_admin(room)
        self._of_type = matcher(types)
        self._of_subject = None if subject is None else matcher(subject)

    def under(self, reader: Reader) -> View:
        """The same patterns with the grants that the reader has now."""
        return View(self.room, reader, self.types, self.subject, self.bodies)

    def covers(self, type: str, subject: str) -> bool:
        return self._of_type(type) and self.matches_subject(subject) and may_see(self.grants, self.actor, self.room, type, subject)

    def matches_subject(self, subject: str) -> bool:
        return self._of_subject is None or self._of_subject(subject)

    def encode(self, event: Event) -> bytes:
        """The event as this reader may have it."""
        if event.body is None:
            return event.encoded
        if self.bodies and may_read(event, self.actor, self._admin):
            return event.encoded
        return event.encoded_bare

    @property
    def key(self) -> tuple[Any, ...]:
        """Views with the same key see the same bytes."""
        personal = is_personal(self.types, self.bodies)
        return (self.types, self.subject, self.bodies, self.grants.key, self.actor if personal else None)
