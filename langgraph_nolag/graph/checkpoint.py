"""`NoLagSaver`: LangGraph's checkpoints, kept in a room of the broker.

Every put is one request and one commit, and waited for but where a distributed graph runs (see `ThreadLease.store`). The
logic is written once, as `Steps` (see `steps.py`), and run from sync and async code alike; where things lie is told in
`saver/keys.py`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgpack
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import RESUME

from nolag_broker.wire.blobs import INLINE

from ..client.rooms import open_room
from ..errors import NotEncodable
from ._compat import CONFIG_KEY_RUN, INTERRUPT, NULL_TASK_ID
from .nothing_to_close import NothingToClose
from .runs.lease import ThreadLease, fencing
from .saver import delta, keys, reading, upkeep
from .saver.latest import Latest
from .saver.record import Stored, StoredWrite
from .saver.steps import Steps, arun, chunks, run
from .serde.strict import StrictSerializer

if TYPE_CHECKING:
    from ..client.link import RoomLink


class NoLagSaver(NothingToClose, BaseCheckpointSaver[str]):
    """Checkpoints in a room: durable when `put` returns (in a run of a distributed graph: before the next body begins), readable
    from every process, fit for sync and async graphs.

    Sync methods work from every thread but the SDK's own I/O thread (there they raise `WrongThread`), inside a running event
    loop too. Reading a thread that another process writes gives whole checkpoints, never half of one.

    Args:
        room: a room handle, a joined room, or `"ws://HOST:PORT/ROOM"`.
        token: the token of the caller, where `room` is an address; default: the environment's.
        serde: any serializer of LangGraph; default: `StrictSerializer`, which never unpickles and rebuilds data types only. An
            `EncryptedSerializer` around LangGraph's default one gets a `StrictSerializer` in its place: a value that claims not to be
            encrypted would otherwise be read by one that runs what it names.
        lease: (task, fencing token) of the run that writes. A put of a run that lost its lease raises `StaleLease`.

    Raises (all methods):
        NoLagError: what the room refused, or `RequestTimeout`. Nothing is half written.
    """

    def __init__(
        self, room: Any, *, token: str | None = None, serde: SerializerProtocol | None = None, lease: tuple[str, int] | None = None
    ) -> None:
        if isinstance(serde, EncryptedSerializer) and type(serde.serde) is JsonPlusSerializer:
            serde = EncryptedSerializer(serde.cipher, StrictSerializer())
        super().__init__(serde=serde or StrictSerializer())
        self.link: RoomLink = open_room(room, token=token)
        self.lease = lease
        self.known = Latest()

    @classmethod
    def from_conn_string(cls, address: str, *, token: str | None = None, serde: SerializerProtocol | None = None) -> Self:
        """A saver for `"ws://HOST:PORT/ROOM"`; may be used in a `with` block, as other savers' are."""
        return cls(address, token=token, serde=serde)

    def trusting(self, allows: Callable[[str], bool]) -> Self:
        """The same saver for one graph, whose data types `allows` knows by `module:name`: others are not rebuilt. A serializer of your
        own stays as it is."""
        serde, inner = self.serde, self.serde.serde if isinstance(self.serde, EncryptedSerializer) else self.serde
        if not isinstance(inner, StrictSerializer):
            return self
        made, strict = copy.copy(self), inner.within(allows)
        made.serde = EncryptedSerializer(serde.cipher, strict) if isinstance(serde, EncryptedSerializer) else strict
        return made

    # --- reading ---

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the latest of its thread and namespace; None when there is none."""
        return run(self.link, reading.get(self.serde, config, self.known))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return await arun(self.link, reading.get(self.serde, config, self.known))

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
        listing = reading.Listing.of(config, filter, before, limit)
        while not listing.done:
            yield from run(self.link, reading.next_page(self.serde, listing))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        listing = reading.Listing.of(config, filter, before, limit)
        while not listing.done:
            for found in await arun(self.link, reading.next_page(self.serde, listing)):
                yield found

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """For each channel, its last value stored before the checkpoint (`seed`), and the writes since, oldest first."""
        return run(self.link, delta.history(self.serde, config, channels))

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """See `get_delta_channel_history`."""
        return await arun(self.link, delta.history(self.serde, config, channels))

    # --- writing ---

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        """Store a checkpoint and the channel values that are new in it, in one commit. Returns the config that names it."""
        with fencing(self._lease_of(config)):
            return run(self.link, self._put(config, checkpoint, metadata, new_versions))

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        """See `put`."""
        with fencing(self._lease_of(config)):
            return await arun(self.link, self._put(config, checkpoint, metadata, new_versions))

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Store the writes of one task, in one commit: as a rule in that of the checkpoint that they lead to. What is there already
        stays, but for the special channels (errors, interrupts, resume values), which are replaced."""
        with fencing(self._lease_of(config)):
            run(self.link, self._put_writes(config, writes, task_id, task_path), patient=True)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """See `put_writes`."""
        with fencing(self._lease_of(config)):
            await arun(self.link, self._put_writes(config, writes, task_id, task_path), patient=True)

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

    def _put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> Steps[RunnableConfig]:
        thread, ns, parent = reading.address(config)
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
            [keys.value(thread, ns, channel, version), msgpack.packb(self._dumped(channel, values[channel])), False]
            for channel, version in new_versions.items()
            if channel in values
        ]
        lease = self._lease_of(config)
        if lease is not None:
            puts += lease.marks(root=not ns, applies=True, steps=True)
        puts.append([keys.checkpoint(thread, ns, checkpoint["id"]), stored.pack(), False])
        *others, last = chunks(puts)  # only a state of a thousand channels needs more than one; the checkpoint itself is in the last
        for chunk in others:
            yield [self._write(chunk, lease=lease)]
        request, new = self._write(last, lease=lease), {key: body for key, body, _ in puts}
        if lease is not None and lease.ahead and not ns and sum(len(body) for _, body, _ in last) <= INLINE:  # small enough for one frame
            lease.store(*request, lambda answer: self.known.put(thread, ns, answer, checkpoint["id"], stored, new))
        else:
            [answer] = yield [request]
            self.known.put(thread, ns, answer, checkpoint["id"], stored, new)
        return reading.config_of(thread, ns, checkpoint["id"])

    def _put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> Steps[None]:
        thread, ns, checkpoint_id = reading.address(config)
        if checkpoint_id is None:
            raise ValueError("put_writes needs the checkpoint_id that the writes belong to")
        puts = []
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            write = StoredWrite(task_id, task_path, index, channel, self._dumped(channel, value))
            puts.append([keys.write(thread, ns, checkpoint_id, task_id, index), write.pack(), index >= 0])
        # An answer given without an interrupt's id waits as a write of no task. Once a task has taken it, it is nobody else's: left
        # where it is, LangGraph would answer the next interrupt with it.
        taken = task_id != NULL_TASK_ID and any(channel == RESUME for channel, _ in writes)
        deletes = [keys.write(thread, *where, NULL_TASK_ID, WRITES_IDX_MAP[RESUME]) for where in _with_ancestors(config)] if taken else []
        if (lease := self._lease_of(config)) is not None:
            puts += lease.marks(root=not ns, applies=task_id == NULL_TASK_ID, steps=False)
        asks = lease is not None and any(channel == INTERRUPT for channel, _ in writes)
        behind = config["configurable"][CONFIG_KEY_RUN].forget_question(task_id) if asks else []
        for chunk in chunks(puts):
            answer, *_ = yield [self._write(chunk, deletes, lease), *behind]
            self.known.put_writes(thread, answer, [(ns, checkpoint_id), *(_with_ancestors(config) if taken else ())])

    def forget_answer(self, lease: ThreadLease) -> Steps[None]:
        """Drop the answer that the thread's latest checkpoint has for whichever interrupt asks first."""
        found = yield from reading.get(self.serde, {"configurable": {"thread_id": lease.thread, "checkpoint_ns": ""}}, self.known)
        if found is not None:
            checkpoint = found.config["configurable"]["checkpoint_id"]
            key = keys.write(lease.thread, "", checkpoint, NULL_TASK_ID, WRITES_IDX_MAP[RESUME])
            [answer] = yield [self._write([], [key], lease)]
            self.known.put_writes(lease.thread, answer, [("", checkpoint)])

    def _dumped(self, channel: str, value: Any) -> tuple[str, bytes]:
        try:
            return self.serde.dumps_typed(value)
        except NotEncodable as error:
            raise NotEncodable(f"{channel!r} of the state: {error}") from None

    def _lease_of(self, config: RunnableConfig) -> ThreadLease | None:
        """The lease under which the run that writes has its thread, where it is of this room."""
        run = config["configurable"].get(CONFIG_KEY_RUN)
        lease: ThreadLease | None = None if run is None else run.lease
        if lease is None or lease.link is not self.link or lease.thread != str(config["configurable"]["thread_id"]):
            return None
        return lease

    def _write(
        self, puts: Sequence[Sequence[Any]], deletes: Sequence[str] = (), lease: ThreadLease | None = None
    ) -> tuple[str, dict[str, Any]]:
        fields: dict[str, Any] = {"puts": list(puts), "deletes": list(deletes), "delete_prefixes": []}
        if self.lease is not None:
            fields["lease"] = list(self.lease)
        elif lease is not None:
            fields["lease"] = lease.fields()
        return "record.write", fields


def _with_ancestors(config: RunnableConfig) -> set[tuple[str, str]]:
    """Namespace and id of a checkpoint, and of those of the graphs around its graph."""
    _, ns, checkpoint_id = reading.address(config)
    around: dict[str, str] = config["configurable"].get("checkpoint_map") or {}
    return {(ns, str(checkpoint_id)), *around.items()}
