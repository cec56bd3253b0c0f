"""`NoLagStore`: LangGraph's long-term memory, kept in a room of the broker.

The broker holds items as plain maps, finds them by namespace, filter and nearness, and lets them expire. Here are the embeddings, which
are the user's own code. The logic is written once, as `Steps`, and run from sync and async code alike.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from langgraph.store.base import NOT_PROVIDED, BaseStore, IndexConfig, Item, NotProvided, Op, Result, TTLConfig

from ..client.body import decode
from ..client.rooms import open_room
from ..errors import BadRequest, RevisionConflict
from .saver.steps import Steps, arun, run
from .stores.batch import Batch, Path, terms, write
from .stores.embedding import Index, Vector
from .stores.items import Told, encode_value, moment, value_of
from .stores.watching import Watch

if TYPE_CHECKING:
    from ..client.link import RoomLink

Value = dict[str, Any]


class NoLagStore(BaseStore):
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

    # The connection belongs to the process, not to the store: there is nothing to close, or to set up.
    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations: first all that read, then all that write, in one commit (up to 1,000 of them, and 4 MiB).

        Raises:
            ValueError: a filter with an operator that LangGraph does not have, or a negative limit.
            NotEncodable: a value that is not plain; nothing was written.
        """
        batch = Batch(ops, self._index)
        self.link.connection.io.check_may_block()  # before the embeddings are asked
        vectors = self._index.embed(*batch.texts) if self._index is not None else ({}, {})
        with _filters_named():
            return run(self.link, batch.steps(*vectors))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        batch = Batch(ops, self._index)
        vectors = await self._index.aembed(*batch.texts) if self._index is not None else ({}, {})
        with _filters_named():
            return await arun(self.link, batch.steps(*vectors))

    # --- beyond LangGraph's own ---

    def update(
        self,
        namespace: tuple[str, ...],
        key: str,
        change: Callable[[Value | None], Value | None],
        *,
        index: Literal[False] | list[str] | None = None,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> Item | None:
        """Read, change, write, and again if somebody else wrote meanwhile, until it holds: no update is lost.

        Args:
            change: takes the value (None when absent), gives the new one (None: delete it). May run more than once.
            index, ttl: as for `put`.

        Returns the item as it was written; None when it was deleted.
        """
        for pause in _pauses():
            told = run(self.link, _read(namespace, key))
            value = change(_value(told))
            texts = self._texts(value, index)
            vectors = self._index.embed(texts, ())[0] if self._index is not None and texts else {}
            try:
                return run(self.link, self._write(namespace, key, value, told, [vectors[text] for text in texts], ttl))
            except RevisionConflict:
                time.sleep(pause)
        raise AssertionError("unreachable")

    async def aupdate(
        self,
        namespace: tuple[str, ...],
        key: str,
        change: Callable[[Value | None], Value | Awaitable[Value | None] | None],
        *,
        index: Literal[False] | list[str] | None = None,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> Item | None:
        """See `update`; `change` may be async."""
        for pause in _pauses():
            told = await arun(self.link, _read(namespace, key))
            changed = change(_value(told))
            value = await changed if inspect.isawaitable(changed) else changed
            texts = self._texts(value, index)
            vectors = (await self._index.aembed(texts, ()))[0] if self._index is not None and texts else {}
            try:
                return await arun(self.link, self._write(namespace, key, value, told, [vectors[text] for text in texts], ttl))
            except RevisionConflict:
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def watch(self, namespace: tuple[str, ...] = ()) -> Watch:
        """The items of a namespace, and of those below it, then every change of them as it comes: `for` and `async for` both do."""
        return Watch(self.link, tuple(namespace))

    def _texts(self, value: Value | None, index: Literal[False] | list[str] | None) -> list[str]:
        return self._index.texts(value, index) if self._index is not None and value is not None else []

    def _write(
        self, namespace: Path, key: str, value: Value | None, told: Told | None, vectors: list[Vector], ttl: float | NotProvided | None
    ) -> Steps[Item | None]:
        """Write an item that must be as it was told."""
        path, revision = [*namespace, key], 0 if told is None else told["revision"]
        if value is None:
            if told is not None:
                yield [write([], [[path, revision]])]
            return None
        if isinstance(ttl, NotProvided):
            kept = told.get("ttl") if told is not None else None
            ttl = kept / 60.0 if kept is not None else (self.ttl_config or {}).get("default_ttl")
        packed = self._index.pack(vectors) if self._index is not None and vectors else None
        body = encode_value(value)
        [answer] = yield [write([[path, body, terms(ttl, packed, revision)]], [])]
        [(_, created, updated)] = answer["items"]
        return Item(value=decode(body), key=key, namespace=tuple(namespace), created_at=moment(created), updated_at=moment(updated))


def _read(namespace: Path, key: str) -> Steps[Told | None]:
    [answer] = yield [("store.get", {"paths": [[*namespace, key]], "refresh": False})]
    return answer["items"][0]  # type: ignore[no-any-return]


def _value(told: Told | None) -> Value | None:
    return None if told is None else value_of(told)


def _pauses() -> Iterator[float]:
    """Writers who collide spread out over a time that grows with their number. Seconds."""
    longest = 0.002
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter
        longest = min(0.5, longest * 2)


@contextmanager
def _filters_named() -> Iterator[None]:
    """What LangGraph's stores raise for a filter that makes no sense."""
    try:
        yield
    except BadRequest as error:
        if error.detail.get("field") == "filter":
            raise ValueError(error.message) from error
        raise
