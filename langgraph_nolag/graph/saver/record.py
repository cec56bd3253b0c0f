"""The bodies of a checkpoint's records: small MessagePack arrays around what the serializer made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack
from langgraph.checkpoint.base import ChannelVersions

from ...errors import NotDecodable

FORMAT: Final = 1
Typed = tuple[str, bytes]
"""What a LangGraph serializer makes of a value: the name of its encoding, and the bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint without its channel values.

    Attributes:
        parent: id of the checkpoint it follows.
        channels: the channels that have a value, with the version that names it.
        checkpoint: the rest of the checkpoint.
        metadata: its metadata, apart, so that a filter need not decode the rest.
    """

    parent: str | None
    channels: ChannelVersions
    checkpoint: Typed
    metadata: Typed

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb([FORMAT, self.parent, self.channels, *self.checkpoint, *self.metadata])
        return packed

    @classmethod
    def unpack(cls, body: bytes) -> Stored:
        """Raises `NotDecodable`."""
        parent, channels, checkpoint_type, checkpoint, metadata_type, metadata = _fields(body, 6)
        return cls(parent, channels, (checkpoint_type, checkpoint), (metadata_type, metadata))


@dataclass(frozen=True, slots=True)
class StoredWrite:
    """One pending write of a task."""

    task_id: str
    task_path: str
    index: int
    channel: str
    value: Typed

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb([FORMAT, self.task_id, self.task_path, self.index, self.channel, *self.value])
        return packed

    @classmethod
    def unpack(cls, body: bytes) -> StoredWrite:
        """Raises `NotDecodable`."""
        task_id, task_path, index, channel, encoding, value = _fields(body, 6)
        return cls(task_id, task_path, index, channel, (encoding, value))

    def sort_key(self) -> tuple[str, str, int]:
        """The order in which a superstep applies its tasks' writes, as LangGraph's `writes_sort_key` has it."""
        return (self.task_path, self.task_id, self.index)


def unpack_value(body: bytes) -> Typed:
    """Raises `NotDecodable`."""
    encoding, value = _unpack(body, 2)
    return encoding, value


def _fields(body: bytes, count: int) -> list[Any]:
    version, *fields = _unpack(body, count + 1)
    if version != FORMAT:
        raise NotDecodable(f"a checkpoint in format {version}; this version of langgraph-nolag reads {FORMAT}")
    return fields


def _unpack(body: bytes, count: int) -> list[Any]:
    try:
        items = msgpack.unpackb(body, raw=False)
    except Exception as error:  # msgpack raises a family of unrelated types
        raise NotDecodable(f"a record of a checkpoint is not MessagePack: {type(error).__name__}") from None
    if not isinstance(items, list) or len(items) != count:
        raise NotDecodable("a record of a checkpoint has another shape than this version of langgraph-nolag writes")
    return items
