"""The orchestrator's store and checkpointer, as a remote body sees them: every operation is a call back."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.store.base import BaseStore, Op, Result

from .._compat import resume_own
from ..errors import NotSupported
from ..stores.batch import Path
from ..stores.updating import Fields, Read, Updating, Value, Written
from .channel import Channel


def store_facts(store: BaseStore | None) -> dict[str, Any] | None:
    """What of a store its users see without asking it."""
    if store is None:
        return None
    return {"supports_ttl": store.supports_ttl, "ttl_config": store.ttl_config, "updates": isinstance(store, Updating)}


def remote_store(channel: Channel, facts: Mapping[str, Any]) -> RemoteStore:
    """The store that has these facts."""
    return RemoteUpdating(channel, facts) if facts.get("updates") else RemoteStore(channel, facts)


class RemoteStore(BaseStore):
    """The store of the graph, which lives with the orchestrator."""

    def __init__(self, channel: Channel, facts: Mapping[str, Any]) -> None:
        self._channel = channel
        self.supports_ttl = facts["supports_ttl"]
        self.ttl_config = facts["ttl_config"]

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        results: list[Result] = self._channel.call("store", list(ops))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        results: list[Result] = await self._channel.acall("store", list(ops))
        return results


class RemoteUpdating(RemoteStore, Updating):
    """A store that compares and sets: what changes an item runs here, with the body."""

    def read_item(self, namespace: Path, key: str) -> Read:
        return Read(*self._channel.call("read_item", namespace, key))

    async def aread_item(self, namespace: Path, key: str) -> Read:
        return Read(*await self._channel.acall("read_item", namespace, key))

    def write_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        return Written(*self._channel.call("write_item", namespace, key, value, revision, index, ttl))

    async def awrite_item(self, namespace: Path, key: str, value: Value | None, revision: int, index: Fields, ttl: float | None) -> Written:
        return Written(*await self._channel.acall("write_item", namespace, key, value, revision, index, ttl))

    def watch(self, namespace: Path = ()) -> NoReturn:
        raise NotSupported("a node that runs on a worker can't watch the graph's store: open a NoLagStore of the room there")


def saver_facts(saver: Any) -> dict[str, Any] | None:
    """None without a saver; else the first version it would give to a channel, which shows what its versions look like."""
    return {"first_version": saver.get_next_version(None, None)} if isinstance(saver, BaseCheckpointSaver) else None


def _plain(config: RunnableConfig | None) -> RunnableConfig | None:
    """A configuration without what means something in this process only."""
    if config is None:
        return None
    conf = {key: value for key, value in config.get("configurable", {}).items() if not key.startswith("__")}
    return {"configurable": conf, "metadata": dict(config.get("metadata") or {})}


class RemoteSaver(BaseCheckpointSaver[Any]):
    """The checkpointer of the graph, for sub-graphs that a remote body runs by itself.

    Args:
        resumes_own: they go on from checkpoints of this very execution only.
    """

    def __init__(self, channel: Channel, facts: Mapping[str, Any], *, resumes_own: bool = False) -> None:
        super().__init__()
        self._channel = channel
        self._resumes_own = resumes_own
        self._first_version = facts["first_version"]

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found: CheckpointTuple | None = self._channel.call("saver", "get_tuple", [_plain(config)], {})
        if self._resumes_own:
            resume_own(config, found)
        return found

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found: CheckpointTuple | None = await self._channel.acall("saver", "get_tuple", [_plain(config)], {})
        if self._resumes_own:
            resume_own(config, found)
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        yield from self._channel.call("saver", "list", [_plain(config)], {"filter": filter, "before": _plain(before), "limit": limit})

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        options = {"filter": filter, "before": _plain(before), "limit": limit}
        for found in await self._channel.acall("saver", "list", [_plain(config)], options):
            yield found

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        stored: RunnableConfig = self._channel.call("saver", "put", [_plain(config), checkpoint, metadata, new_versions], {})
        return stored

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        stored: RunnableConfig = await self._channel.acall("saver", "put", [_plain(config), checkpoint, metadata, new_versions], {})
        return stored

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        self._channel.call("saver", "put_writes", [_plain(config), [*writes], task_id, task_path], {})

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await self._channel.acall("saver", "put_writes", [_plain(config), [*writes], task_id, task_path], {})

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        history: Mapping[str, Any] = self._channel.call(
            "saver", "get_delta_channel_history", [], {"config": _plain(config), "channels": [*channels]}
        )
        return history

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        history: Mapping[str, Any] = await self._channel.acall(
            "saver", "get_delta_channel_history", [], {"config": _plain(config), "channels": [*channels]}
        )
        return history

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """Versions of the same kind as the real saver's: they are compared with each other."""
        if isinstance(self._first_version, str):
            number = 0 if current is None else int(str(current).split(".")[0])
            return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - a tie-breaker, as LangGraph's own savers make it
        return self._first_version if current is None else current + 1
