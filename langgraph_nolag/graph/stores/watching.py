"""Watching a namespace: what is there, then what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from nolag_broker.wire.paths import name_of
from nolag_broker.wire.topics import MAX_LENGTH

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


class Watch:
    """What `NoLagStore.watch` gives: for `async for`, on any loop, or for `for`, on any thread but the SDK's own. Ends when it is closed.

    Nothing is missed over reconnects and restarts of the broker. What can't be had any more, because the room has forgotten so much of
    its log, is made up for by how things are now.
    """

    def __init__(self, link: RoomLink, namespace: Path) -> None:
        self._link = link
        self._reading = _Reading()
        self._changes = _changes(link, namespace, self._reading)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        if self._reading.closed:
            raise StopAsyncIteration
        return await anext(self._changes)

    def __iter__(self) -> Iterator[Change]:
        io = self._link.connection.io
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield io.run(self.__anext__())
        finally:
            self._reading.close()

    async def aclose(self) -> None:
        """Stop watching. Whoever waits for a change, in another task or thread, comes to the end."""
        self._reading.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


class _Reading:
    """What of the log is read just now. From any thread: a generator that somebody waits in can't be closed itself.

    Attributes:
        closed: nothing is read any more.
    """

    def __init__(self) -> None:
        self.closed = False
        self._stream: Stream[Any] | None = None

    def goes_on(self, stream: Stream[Any]) -> None:
        self._stream = stream
        if self.closed:  # meanwhile
            stream.close()

    def close(self) -> None:
        self.closed = True
        if self._stream is not None:
            self._stream.close()


async def _changes(link: RoomLink, namespace: Path, reading: _Reading) -> AsyncGenerator[Change, None]:
    known: dict[Path, int] = {}
    read_in = ""
    while not reading.closed:
        present, since, epoch = await _present(link, namespace)
        for path in known.keys() - present.keys():
            yield _change(path, None, known.pop(path), 0.0)
        if epoch != read_in:
            known.clear()  # the same revision is another value in a log that began anew
            read_in = epoch
        for path, told in present.items():
            if known.get(path) != told["revision"]:
                known[path] = told["revision"]
                yield _change(path, value_of(told), told["revision"], told["updated"])
        stream: Stream[dict[str, Any] | Gap] = log_stream(link, "store.*", _as_it_is, subject=_pattern(namespace), since=since, epoch=epoch)
        reading.goes_on(stream)
        async with stream:
            async for event in stream:
                if isinstance(event, Gap):
                    break
                if event["type"] not in ("store.put", "store.deleted"):
                    continue
                path, deleted = tuple(event["data"]["path"]), event["type"] == "store.deleted"
                revision = event["data"]["revision"] if deleted else event["seq"]
                if path[: len(namespace)] != namespace or len(path) == len(namespace) or (revision <= known.get(path, 0) and not deleted):
                    continue
                if deleted:
                    if known.pop(path, None) is None:
                        continue
                else:
                    known[path] = revision
                yield _change(path, None if deleted else value_of(event), revision, event["time"])


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


def _as_it_is(event: dict[str, Any] | Gap) -> dict[str, Any] | Gap:
    return event
