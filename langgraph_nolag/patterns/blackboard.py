"""Blackboard: shared state with revisions. Two writers never lose an update."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..client.body import encode, read
from ..client.callables import check_callable
from ..client.chance import CHANCE
from ..client.link import RoomLink
from ..client.stream import Stream, log_stream
from ..client.subscription import Gap
from ..client.watching import Watch
from ..errors import RevisionConflict


@dataclass(frozen=True, slots=True)
class Entry:
    """One key at one revision.

    Attributes:
        value: None when it was deleted. What is not MessagePack is handed out as the bytes it is.
        revision: rises by one with every set and delete of the key.
        seq: sequence of the event that wrote it.
        time: seconds since 1970.
        writer: the actor.

    A deletion that `watch` learns of only because the key is missing after a gap in the log has `time` 0.0 and an empty `writer`, since
    nobody knows them any more, the `seq` of that look, and a `revision` higher than the last one seen.
    """

    key: str
    value: Any
    revision: int
    seq: int
    time: float
    writer: str
    deleted: bool = False


Entries = list[Entry]  # in the class, `list` is the method


class Blackboard:
    """`room.blackboard`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def get(self, key: str) -> Entry | None:
        """The entry, or None when there is none."""
        entry = (await self._link.acall("blackboard.get", key=key))["entry"]
        return None if entry is None else _entry(entry)

    async def list(self, pattern: str = "**") -> list[Entry]:
        """All entries whose key matches."""
        return [_entry(entry) for entry in (await self._link.acall("blackboard.list", pattern=pattern))["entries"]]

    async def set(self, key: str, value: Any, *, expected: int | None = None) -> Entry:
        """Write a key.

        Args:
            key: segments end with `.` or `/`.
            value: plain values.
            expected: the revision that it must have now; 0: it must be new; None: whatever it has. A room whose log began anew (a
                restored backup) counts again from what it kept: a revision from before says nothing of one after.

        Raises:
            RevisionConflict: it has another revision (`error.revision`); nothing was written.
            NotEncodable, NotAuthorized, MessageTooLarge: nothing was written.
            Overloaded: the key is new, and the blackboard has as many as it takes.
            StaleLease: in a handler, whose task is another worker's by now.
            RequestTimeout, Disconnected, BufferFull.
        """
        answer = await self._link.acall("blackboard.set", key=key, body=encode(value), expected=expected)
        return self._written(key, value, answer)

    async def update(self, key: str, change: Callable[[Any], Any | Awaitable[Any]]) -> Entry:
        """Read, change, write, and again if somebody else wrote meanwhile, until it holds.

        Args:
            key: the key.
            change: sync or async; takes the value (None when absent), gives the new one. May run more than once.

        Raises:
            NotEncodable, NotAuthorized, MessageTooLarge, Overloaded, StaleLease, RequestTimeout, Disconnected, BufferFull: as `set`. Never
                `RevisionConflict`.
            Whatever `change` raises; nothing was written then.
        """
        check_callable(change, "change")
        tries = 0
        while True:
            entry = await self.get(key)
            value = change(None if entry is None else entry.value)
            if inspect.isawaitable(value):
                value = await value
            try:
                return await self.set(key, value, expected=0 if entry is None else entry.revision)
            except RevisionConflict:
                # The writers who collide spread out over a time that grows with their number.
                await asyncio.sleep(CHANCE.uniform(0, min(0.5, 0.002 * 2**tries)))
                tries = min(tries + 1, 10)

    async def delete(self, key: str, *, expected: int | None = None) -> Entry:
        """Delete a key. Raises `RevisionConflict` as `set` does."""
        answer = await self._link.acall("blackboard.delete", key=key, expected=expected)
        return self._written(key, None, answer, deleted=True)

    async def history(self, key: str, limit: int = 20) -> Entries:
        """Its last revisions, the newest first; the last 100 are kept."""
        return [_entry(entry) for entry in (await self._link.acall("blackboard.history", key=key, limit=limit))["entries"]]

    def watch(self, pattern: str = "**") -> Watch[Entry]:
        """The present values first, then every change as it comes. Changes that can't be had any more are made up for by present values."""
        known: dict[str, int] = {}
        epoch = ""

        async def look() -> tuple[Entries, Stream[Entry | Gap]]:
            nonlocal epoch
            listing = await self._link.acall("blackboard.list", pattern=pattern)
            present = [_entry(entry) for entry in listing["entries"]]
            gone = known.keys() - {entry.key for entry in present}
            news = [Entry(key, None, known.pop(key) + 1, listing.seq, 0.0, "", deleted=True) for key in gone]
            if listing.epoch != epoch:
                known.clear()  # the same revision is another value in a log that began anew
            epoch = listing.epoch
            news += [entry for entry in present if known.get(entry.key) != entry.revision]
            known.update((entry.key, entry.revision) for entry in present)
            return news, log_stream(self._link, "blackboard.*", changed, subject=pattern, since=listing.seq, epoch=epoch)

        def changed(event: dict[str, Any] | Gap) -> Entry | Gap:
            change = _changed(event)
            if isinstance(change, Gap):
                return change
            if change.deleted:
                known.pop(change.key, None)
            else:
                known[change.key] = change.revision
            return change

        return Watch(look)

    def _written(self, key: str, value: Any, answer: Mapping[str, Any], deleted: bool = False) -> Entry:
        return Entry(key, value, answer["revision"], answer["seq"], answer["time"], self._link.actor, deleted)


def _entry(entry: Mapping[str, Any]) -> Entry:
    body = entry.get("body")
    value = read(body, entry.get("ct"))
    return Entry(entry["key"], value, entry["revision"], entry["seq"], entry["time"], entry["writer"], deleted=body is None)


def _changed(event: dict[str, Any] | Gap) -> Entry | Gap:
    if isinstance(event, Gap):
        return event
    deleted = event["type"] == "blackboard.deleted"
    value = read(event.get("body"), event.get("ct"))
    return Entry(event["subject"], value, event["data"]["revision"], event["seq"], event["time"], event["sender"], deleted)
