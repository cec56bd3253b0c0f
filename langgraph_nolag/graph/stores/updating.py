"""Compare-and-set: an item is read, changed and written, and again if somebody else wrote meanwhile."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, NamedTuple

from langgraph.store.base import NOT_PROVIDED, BaseStore, Item, NotProvided

from ...client.chance import CHANCE
from .batch import Path

Value = dict[str, Any]
Fields = Literal[False] | list[str] | None
"""What of a value is embedded, as for `put`."""


class Read(NamedTuple):
    """An item as it was read.

    Attributes:
        value: None: there is none.
        revision: 0: there is none.
        ttl: minutes.
    """

    value: Value | None
    revision: int
    ttl: float | None


class Written(NamedTuple):
    """Whether an item was as it was expected to be, and what it is then (None: it was deleted)."""

    done: bool
    item: Item | None


class Updating(BaseStore):
    """A store whose items can be compared and set."""

    def read_item(self, namespace: Path, key: str) -> Read:
        """An item, without its time beginning anew."""
        raise NotImplementedError

    async def aread_item(self, namespace: Path, key: str) -> Read:
        raise NotImplementedError

    def write_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        """Write or delete an item that must have this revision."""
        raise NotImplementedError

    async def awrite_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        raise NotImplementedError

    def update(
        self,
        namespace: Path,
        key: str,
        change: Callable[[Value | None], Value | None],
        *,
        index: Fields = None,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> Item | None:
        """Read, change, write, and again if somebody else wrote meanwhile, until it holds: no update is lost.

        Args:
            change: takes the value (None when absent), gives the new one (None: delete it). May run more than once.
            index: as for `put`.
            ttl: minutes; default: what the item has, or what new items get.

        Returns the item as it was written; None when it was deleted.
        """
        for pause in pauses():
            read = self.read_item(namespace, key)
            written = self.write_item(namespace, key, change(read.value), read.revision, index, self._time_of(read, ttl))
            if written.done:
                return written.item
            time.sleep(pause)
        raise AssertionError("unreachable")

    async def aupdate(
        self,
        namespace: Path,
        key: str,
        change: Callable[[Value | None], Value | Awaitable[Value | None] | None],
        *,
        index: Fields = None,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> Item | None:
        """See `update`; `change` may be async."""
        for pause in pauses():
            read = await self.aread_item(namespace, key)
            changed = change(read.value)
            value = await changed if inspect.isawaitable(changed) else changed
            written = await self.awrite_item(namespace, key, value, read.revision, index, self._time_of(read, ttl))
            if written.done:
                return written.item
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def _time_of(self, read: Read, ttl: float | NotProvided | None) -> float | None:
        if not isinstance(ttl, NotProvided):
            return ttl
        return read.ttl if read.revision else (self.ttl_config or {}).get("default_ttl")


def pauses(until: float = math.inf) -> Iterator[float]:
    """Those who collide spread out over a time that grows with their number. Seconds; 0 is the last one, when so many have passed."""
    longest, end = 0.002, time.monotonic() + until
    while time.monotonic() < end:
        yield CHANCE.uniform(0.1, 1.0) * longest
        longest = min(0.5, longest * 2)
    yield 0.0
