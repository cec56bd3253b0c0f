"""`NoLagStore`: LangGraph's long-term memory, kept in a room of the broker.

The broker holds items as plain maps, finds them by namespace, filter and nearness, and lets them expire. Here are the embeddings, which
are the user's own code. The logic is written once, as `Steps`, and run from sync and async code alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from langgraph.store.base import IndexConfig, Item, Op, Result, TTLConfig

from ..client.body import decode
from ..client.rooms import open_room
from ..errors import BadRequest, Overloaded, RevisionConflict
from .nothing_to_close import NothingToClose
from .saver.steps import TIMEOUT, Steps, arun, run
from .stores.batch import Batch, Path, terms, write
from .stores.embedding import Index, Vector
from .stores.items import encode_value, moment, value_of
from .stores.updating import Fields, Read, Updating, Value, Written, pauses
from .stores.watching import Watch

if TYPE_CHECKING:
    from ..client.link import RoomLink


class NoLagStore(NothingToClose, Updating):
    """Items in a room: durable when `put` returns, one and the same for every process, fit for sync and async graphs.

    Sync methods work from every thread but the SDK's own I/O thread (there they raise `WrongThread`), inside a running event loop too.
    Values are maps of plain values with texts for keys. Searches give the oldest items first, as LangGraph's `InMemoryStore` does, or
    the nearest where there is a query; expired items are not there, whether or not anybody swept them.

    Args:
        room: a room handle, a joined room, or `"ws://HOST:PORT/ROOM"`.
        token: the token of the caller, where `room` is an address; default: the environment's.
        index: `{"dims": …, "embed": …, "fields": […]}`, as for other stores of LangGraph: any embeddings, sync or async functions. All
            stores of a room should have the same. The broker needs `langgraph-nolag[vectors]`.
        ttl: minutes that items stay after they were written or read last, or a `TTLConfig` of LangGraph's.

    Raises (all methods):
        NoLagError: what the room refused, or `RequestTimeout`.
    """

    supports_ttl = True

    def __init__(
        self, room: Any, *, token: str | None = None, index: IndexConfig | None = None, ttl: TTLConfig | float | None = None
    ) -> None:
        self.link: RoomLink = open_room(room, token=token)
        self.index_config = index
        self.ttl_config = {"default_ttl": float(ttl)} if isinstance(ttl, int | float) else ttl
        self._index = Index(index) if index else None

    @classmethod
    def from_conn_string(
        cls, address: str, *, token: str | None = None, index: IndexConfig | None = None, ttl: TTLConfig | float | None = None
    ) -> Self:
        """A store for `"ws://HOST:PORT/ROOM"`; may be used in a `with` block, as other stores are."""
        return cls(address, token=token, index=index, ttl=ttl)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations: first all that read, then all that write, in one commit (up to 1,000 of them, and 4 MiB). Where a
        busy broker refuses to read, it is asked again for half a minute.

        Raises:
            ValueError: a filter with an operator that LangGraph does not have, or a negative limit.
            NotEncodable: a value that is not plain; nothing was written.
        """
        batch = Batch(ops, self._index)
        self.link.connection.io.check_may_block()  # before the embeddings are asked
        vectors = self._index.embed(*batch.texts) if self._index is not None else ({}, {})
        for pause in pauses(TIMEOUT):
            try:
                with _filters_named():
                    return run(self.link, batch.steps(*vectors))
            except Overloaded:
                if batch.writing or not pause:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        batch = Batch(ops, self._index)
        vectors = await self._index.aembed(*batch.texts) if self._index is not None else ({}, {})
        for pause in pauses(TIMEOUT):
            try:
                with _filters_named():
                    return await arun(self.link, batch.steps(*vectors))
            except Overloaded:
                if batch.writing or not pause:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    # --- beyond LangGraph's own: `update` and `aupdate` are inherited ---

    def read_item(self, namespace: Path, key: str) -> Read:
        """An item, without its time beginning anew."""
        return run(self.link, _read(namespace, key))

    async def aread_item(self, namespace: Path, key: str) -> Read:
        """See `read_item`."""
        return await arun(self.link, _read(namespace, key))

    def write_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        """Write or delete an item that must have this revision.

        Args:
            revision: 0: there must be none.
            ttl: minutes.
        """
        texts = self._texts(value, index)
        vectors = self._index.embed(texts, ())[0] if self._index is not None and texts else {}
        try:
            return run(self.link, self._write(namespace, key, value, revision, [vectors[text] for text in texts], ttl))
        except RevisionConflict:
            return Written(False, None)

    async def awrite_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        """See `write_item`."""
        texts = self._texts(value, index)
        vectors = (await self._index.aembed(texts, ()))[0] if self._index is not None and texts else {}
        try:
            return await arun(self.link, self._write(namespace, key, value, revision, [vectors[text] for text in texts], ttl))
        except RevisionConflict:
            return Written(False, None)

    def watch(self, namespace: tuple[str, ...] = ()) -> Watch:
        """The items of a namespace, and of those below it, then every change of them as it comes: `for` and `async for` both do."""
        return Watch(self.link, tuple(namespace))

    def _texts(self, value: Value | None, index: Fields) -> list[str]:
        return self._index.texts(value, index) if self._index is not None and value is not None else []

    def _write(
        self, namespace: Path, key: str, value: Value | None, revision: int, vectors: list[Vector], ttl: float | None
    ) -> Steps[Written]:
        path = [*namespace, key]
        if value is None:
            if revision:
                yield [write([], [[path, revision]])]
            return Written(True, None)
        packed = self._index.pack(vectors) if self._index is not None and vectors else None
        body = encode_value(value)
        [answer] = yield [write([[path, body, terms(ttl, packed, revision)]], [])]
        [(_, created, updated)] = answer["items"]
        item = Item(value=decode(body), key=key, namespace=tuple(namespace), created_at=moment(created), updated_at=moment(updated))
        return Written(True, item)


def _read(namespace: Path, key: str) -> Steps[Read]:
    [answer] = yield [("store.get", {"paths": [[*namespace, key]], "refresh": False})]
    [told] = answer["items"]
    if told is None:
        return Read(None, 0, None)
    ttl = told.get("ttl")
    return Read(value_of(told), told["revision"], None if ttl is None else ttl / 60.0)


@contextmanager
def _filters_named() -> Iterator[None]:
    """What LangGraph's stores raise for a filter that makes no sense."""
    try:
        yield
    except BadRequest as error:
        if error.detail.get("field") == "filter":
            raise ValueError(error.message) from error
        raise
