"""`NoLagSaver`: LangGraph's checkpoints, kept in a room of the broker.

Every put is one request and one commit. The logic is written once, as `Steps` (see `steps.py`), and run from sync and
async code alike; where things lie is told in `checkpoint_keys.py`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgpack
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..client.rooms import open_room
from ..errors import NotDecodable
from . import checkpoint_keys as keys
from . import checkpoint_upkeep as upkeep
from .checkpoint_record import Stored, StoredWrite, unpack_value
from .steps import Steps, arun, chunks, run
from .strict_serializer import StrictSerializer

if TYPE_CHECKING:
    from ..client.link import RoomLink

PAGE: Final = 20  # checkpoints read at once by `list`
SCAN: Final = 500  # keys read at once


class NoLagSaver(BaseCheckpointSaver[str]):
    """Checkpoints in a room: durable when `put` returns, readable from every process, fit for sync and async graphs.

    Sync methods work from every thread but the SDK's own I/O thread (there they raise `WrongThread`), inside a running event
    loop too. Reading a thread that another process writes gives whole checkpoints, never half of one.

    Args:
        room: a room handle, a joined room, or `"ws://HOST:PORT/ROOM"`.
        token: the token of the caller, where `room` is an address; default: the environment's.
        serde: any serializer of LangGraph; default: `StrictSerializer`, which never unpickles and rebuilds data types only.
        lease: (task, fencing token) of the run that writes. A put of a run that lost its lease raises `StaleLease`.

    Raises (all methods):
        NoLagError: what the room refused, or `RequestTimeout`. Nothing is half written.
    """

    def __init__(
        self, room: Any, *, token: str | None = None, serde: SerializerProtocol | None = None, lease: tuple[str, int] | None = None
    ) -> None:
        super().__init__(serde=serde or StrictSerializer())
        self.link: RoomLink = open_room(room, token=token)
        self.lease = lease

    @classmethod
    def from_conn_string(cls, address: str, *, token: str | None = None, serde: SerializerProtocol | None = None) -> Self:
        """A saver for `"ws://HOST:PORT/ROOM"`; may be used in a `with` block, as other savers' are."""
        return cls(address, token=token, serde=serde)

    # The connection belongs to the process, not to the saver: there is nothing to close.
    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    # --- reading ---

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the latest of its thread and namespace; None when there is none."""
        return run(self.link, self._get(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return await arun(self.link, self._get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first, read in pages while the iterator is consumed.

        Args:
            config: a thread, and a namespace and a checkpoint id where it names them; None: all threads of the room.
            filter: metadata that must be equal.
            before: only checkpoints older than the one named here.
            limit: at most so many.
        """
        listing = _Listing.of(config, filter, before, limit)
        while not listing.done:
            yield from run(self.link, self._next_page(listing))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        listing = _Listing.of(config, filter, before, limit)
        while not listing.done:
            for found in await arun(self.link, self._next_page(listing)):
                yield found

    # --- writing ---

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        """Store a checkpoint and the channel values that are new in it, in one commit. Returns the config that names it."""
        return run(self.link, self._put(config, checkpoint, metadata, new_versions))

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        """See `put`."""
        return await arun(self.link, self._put(config, checkpoint, metadata, new_versions))

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Store the writes of one task, in one commit. What is there already stays, but for the special channels
        (errors, interrupts, resume values), which are replaced."""
        run(self.link, self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """See `put_writes`."""
        await arun(self.link, self._put_writes(config, writes, task_id, task_path))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Versions rise with every change; the random part keeps two branches of a thread from sharing one."""
        number = 0 if current is None else current if isinstance(current, int) else int(current.split(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 (it separates, it does not protect)

    # --- upkeep ---

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread, in one commit."""
        run(self.link, upkeep.delete_thread(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await arun(self.link, upkeep.delete_thread(thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints, values and writes; a copy that was cut off shows no checkpoint without its parts."""
        run(self.link, upkeep.copy_thread(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await arun(self.link, upkeep.copy_thread(source_thread_id, target_thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, in all threads of the room. Needs a token for all threads."""
        run(self.link, upkeep.delete_for_runs(run_ids, self.serde))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        await arun(self.link, upkeep.delete_for_runs(run_ids, self.serde))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep the latest checkpoint of every namespace (`keep_latest`, with the ancestors that delta channels are rebuilt
        from), or nothing (`delete`).

        Raises:
            ValueError: another strategy.
        """
        run(self.link, upkeep.prune(thread_ids, strategy, self.serde))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See `prune`."""
        await arun(self.link, upkeep.prune(thread_ids, strategy, self.serde))

    # --- the steps ---

    def _get(self, config: RunnableConfig) -> Steps[CheckpointTuple | None]:
        thread, ns, checkpoint_id = _address(config)
        if checkpoint_id is None:
            [page] = yield [("record.scan", {"prefix": keys.checkpoints(thread, ns), "reverse": True, "limit": 1})]
            items = page["items"]
        else:
            key = keys.checkpoint(thread, ns, checkpoint_id)
            [read] = yield [("record.read", {"keys": [key]})]
            items = [(key, body) for body in read["bodies"] if body is not None]
        found = yield from self._tuples([(key, Stored.unpack(body)) for key, body in items])
        return found[0] if found else None

    def _next_page(self, listing: _Listing) -> Steps[list[CheckpointTuple]]:
        items = yield from listing.next_items()
        chosen: list[tuple[str, Stored]] = []
        for key, body in items:
            stored = Stored.unpack(body)
            if listing.filter:
                metadata = self.serde.loads_typed(stored.metadata)
                if any(metadata.get(name) != wanted for name, wanted in listing.filter.items()):
                    continue
            if listing.take():
                chosen.append((key, stored))
        return (yield from self._tuples(chosen))

    def _tuples(self, found: Sequence[tuple[str, Stored]]) -> Steps[list[CheckpointTuple]]:
        """Whole checkpoints: their values and pending writes, all in one round trip."""
        if not found:
            return []
        names = [keys.names(key) for key, _ in found]
        value_keys = {
            keys.value(thread, ns, channel, version): channel
            for (thread, ns, _), (_, stored) in zip(names, found, strict=True)
            for channel, version in stored.channels.items()
        }
        answers = yield [
            *(("record.scan", {"prefix": keys.writes(*name), "limit": SCAN}) for name in names),
            *(("record.read", {"keys": chunk}) for chunk in chunks(list(value_keys))),
        ]
        pages, reads = answers[: len(names)], answers[len(names) :]
        values = dict(zip(value_keys, (body for read in reads for body in read["bodies"]), strict=True))
        tuples = []
        for (thread, ns, checkpoint_id), (_, stored), page in zip(names, found, pages, strict=True):
            items = list(page["items"])
            while not page["end"]:
                [page] = yield [("record.scan", {"prefix": keys.writes(thread, ns, checkpoint_id), "after": items[-1][0], "limit": SCAN})]
                items += page["items"]
            checkpoint = self.serde.loads_typed(stored.checkpoint)
            checkpoint["channel_values"] = {
                channel: self._value(values[keys.value(thread, ns, channel, version)], thread, channel)
                for channel, version in stored.channels.items()
            }
            tuples.append(
                CheckpointTuple(
                    config=_config(thread, ns, checkpoint_id),
                    checkpoint=checkpoint,
                    metadata=self.serde.loads_typed(stored.metadata),
                    parent_config=_config(thread, ns, stored.parent) if stored.parent else None,
                    pending_writes=self._pending(body for _, body in items),
                )
            )
        return tuples

    def _value(self, body: bytes | None, thread: str, channel: str) -> Any:
        if body is None:
            raise NotDecodable(f"the value of channel {channel!r} in a checkpoint of thread {thread!r} is missing from the room")
        return self.serde.loads_typed(unpack_value(body))

    def _pending(self, bodies: Iterator[bytes]) -> list[PendingWrite]:
        writes = sorted((StoredWrite.unpack(body) for body in bodies), key=StoredWrite.sort_key)
        return [(write.task_id, write.channel, self.serde.loads_typed(write.value)) for write in writes]

    def _put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> Steps[RunnableConfig]:
        thread, ns, parent = _address(config)
        values = checkpoint["channel_values"]
        versions = checkpoint["channel_versions"]
        bare = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        stored = Stored(
            parent=parent,
            channels={channel: versions[channel] for channel in values if channel in versions},
            checkpoint=self.serde.dumps_typed(bare),
            metadata=self.serde.dumps_typed(get_checkpoint_metadata(config, metadata)),
        )
        puts = [
            [keys.value(thread, ns, channel, version), msgpack.packb(self.serde.dumps_typed(values[channel])), False]
            for channel, version in new_versions.items()
            if channel in values
        ]
        puts.append([keys.checkpoint(thread, ns, checkpoint["id"]), stored.pack(), False])
        for chunk in chunks(puts):  # one, but for states of a thousand channels: there the checkpoint comes last
            yield [self._write(chunk)]
        return _config(thread, ns, checkpoint["id"])

    def _put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> Steps[None]:
        thread, ns, checkpoint_id = _address(config)
        if checkpoint_id is None:
            raise ValueError("put_writes needs the checkpoint_id that the writes belong to")
        puts = []
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            write = StoredWrite(task_id, task_path, index, channel, self.serde.dumps_typed(value))
            puts.append([keys.write(thread, ns, checkpoint_id, task_id, index), write.pack(), index >= 0])
        for chunk in chunks(puts):
            yield [self._write(chunk)]

    def _write(self, puts: Sequence[list[Any]]) -> tuple[str, dict[str, Any]]:
        fields: dict[str, Any] = {"puts": list(puts), "deletes": [], "delete_prefixes": []}
        if self.lease is not None:
            fields["lease"] = list(self.lease)
        return "record.write", fields


@dataclass(slots=True)
class _Listing:
    """Where a `list` stands. One namespace is walked in order; what spans several is put in order of ids first, by keys alone."""

    prefix: str
    walk: bool
    only: str | None
    before: str | None
    filter: dict[str, Any]
    left: int | None
    cursor: str | None = None
    keys: list[str] | None = None
    done: bool = field(default=False)

    @classmethod
    def of(cls, config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None, limit: int | None) -> _Listing:
        older_than = get_checkpoint_id(before) if before else None
        listing = cls(f"{keys.KIND}/", False, None, older_than, filter or {}, limit, done=limit is not None and limit <= 0)
        if config is not None:
            thread, ns = str(config["configurable"]["thread_id"]), config["configurable"].get("checkpoint_ns")
            listing.prefix, listing.only = keys.checkpoints(thread, ns), get_checkpoint_id(config)
            listing.walk = ns is not None and listing.only is None
            if listing.walk and older_than is not None:
                listing.cursor = keys.checkpoint(thread, ns, older_than)
        return listing

    def next_items(self) -> Steps[list[tuple[str, bytes]]]:
        if self.walk:
            fields = {"prefix": self.prefix, "reverse": True, "limit": PAGE if self.left is None or self.filter else min(PAGE, self.left)}
            [page] = yield [("record.scan", fields if self.cursor is None else {**fields, "before": self.cursor})]
            items = [(key, body) for key, body in page["items"]]
            self.done = self.done or page["end"] or not items
            self.cursor = items[-1][0] if items else None
            return items
        if self.keys is None:
            self.keys = yield from self._in_order()
        batch, self.keys = self.keys[:PAGE], self.keys[PAGE:]
        self.done = self.done or not self.keys
        if not batch:
            return []
        [read] = yield [("record.read", {"keys": batch})]
        return [(key, body) for key, body in zip(batch, read["bodies"], strict=True) if body is not None]

    def _in_order(self) -> Steps[list[str]]:
        found = []
        for key in (yield from upkeep.scan_keys(self.prefix)):
            names = keys.parse_checkpoint(key)
            if names is None or (self.only is not None and names[2] != self.only) or (self.before is not None and names[2] >= self.before):
                continue
            found.append((names[2], key))
        return [key for _, key in sorted(found, reverse=True)]

    def take(self) -> bool:
        """One more result, if the limit allows."""
        if self.left is None:
            return True
        if self.left == 0:
            return False
        self.left -= 1
        self.done = self.done or self.left == 0
        return True


def _address(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), get_checkpoint_id(config)


def _config(thread: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}
