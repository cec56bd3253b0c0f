"""Watching a namespace: what is there, then what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nolag_broker.wire.paths import name_of
from nolag_broker.wire.topics import MAX_LENGTH

from ...client import watching
from ...client.stream import Stream, log_stream
from ...client.subscription import Gap
from ...errors import Overloaded
from .batch import Path
from .items import Told, value_of

if TYPE_CHECKING:
    from ...client.link import RoomLink

PAGE: Final = 100  # items that are there, read at once
LISTINGS: Final = 100  # that are begun anew, because items went meanwhile


@dataclass(frozen=True, slots=True)
class Change:
    """An item as it is, or as it has become.

    Attributes:
        value: None when it was deleted, or its time was over.
        revision: rises with every write in the room; of a deletion, the one that was deleted.
        time: of the change, in seconds since 1970.
        deleted: it is there no more.
    """

    namespace: Path
    key: str
    value: dict[str, Any] | None
    revision: int
    time: float

    @property
    def deleted(self) -> bool:
        return self.value is None


class Watch(watching.Watch[Change]):
    """What `NoLagStore.watch` gives: for `async for`, on any loop, or for `for`, on any thread but the SDK's own. Ends when it is closed.

    Nothing is missed over reconnects and restarts of the broker. What can't be had any more, because the room has forgotten so much of
    its log, is made up for by how things are now.
    """

    def __init__(self, link: RoomLink, namespace: Path) -> None:
        super().__init__(_looking(link, namespace))
        self._io = link.connection.io

    def __iter__(self) -> Iterator[Change]:
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self._io.run(self.__anext__())
        finally:
            self.close()


def _looking(link: RoomLink, namespace: Path) -> watching.Look[Change]:
    known: dict[Path, int] = {}
    read_in = ""

    async def look() -> tuple[list[Change], Stream[Change | Gap]]:
        nonlocal read_in
        present, since, epoch = await _present(link, namespace)
        news = [_change(path, None, known.pop(path), 0.0) for path in known.keys() - present.keys()]
        if epoch != read_in:
            known.clear()  # the same revision is another value in a log that began anew
            read_in = epoch
        for path, told in present.items():
            if known.get(path) != told["revision"]:
                known[path] = told["revision"]
                news.append(_change(path, value_of(told), told["revision"], told["updated"]))
        return news, log_stream(link, "store.*", changed, subject=_pattern(namespace), since=since, epoch=epoch)

    def changed(event: dict[str, Any] | Gap) -> Change | Gap | None:
        if isinstance(event, Gap):
            return event
        if event["type"] not in ("store.put", "store.deleted"):
            return None
        path, deleted = tuple(event["data"]["path"]), event["type"] == "store.deleted"
        revision = event["data"]["revision"] if deleted else event["seq"]
        if path[: len(namespace)] != namespace or len(path) == len(namespace) or (revision <= known.get(path, 0) and not deleted):
            return None
        if deleted:
            if known.pop(path, None) is None:
                return None
        else:
            known[path] = revision
        return _change(path, None if deleted else value_of(event), revision, event["time"])

    return look


async def _present(link: RoomLink, namespace: Path) -> tuple[dict[Path, Told], int, str]:
    """The items that are there, and the sequence and epoch of the log after which changes of them come.

    Raises:
        Overloaded: they come and go faster than they can be listed.
    """
    for _ in range(LISTINGS):
        listed: list[Told] = []
        while True:
            # Each page begins with the last item of the one before: if it is another one, items have moved, and some may be missed.
            offset = max(len(listed) - 1, 0)
            page = await link.acall("store.search", prefix=list(namespace), limit=PAGE, offset=offset, refresh=False)
            items = page["items"]
            if not listed:
                since, epoch = page["through"], page["epoch"]
            elif not items or items[0]["path"] != listed[-1]["path"]:
                break
            listed[offset:] = items
            if len(items) < PAGE:
                return {tuple(told["path"]): told for told in listed}, since, epoch
    raise Overloaded(f"the items of {namespace!r} come and go faster than they can be listed")


def _pattern(namespace: Path) -> str:
    """Of what is in a namespace; of more, where its name is longer than patterns are."""
    while len(pattern := name_of(namespace) + "/**") > MAX_LENGTH:
        namespace = namespace[:-1]
    return pattern


def _change(path: Path, value: dict[str, Any] | None, revision: int, time: float) -> Change:
    return Change(path[:-1], path[-1], value, revision, time)
