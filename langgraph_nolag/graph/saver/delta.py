"""The history of delta channels: what a checkpoint does not hold of them is replayed from its ancestors' writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite
from langgraph.checkpoint.serde.base import SerializerProtocol

from . import keys, reading
from .record import Stored
from .steps import Steps

PAGE: Final = 20  # ancestors looked at in one round trip

History = Mapping[str, DeltaChannelHistory]


def history(serde: SerializerProtocol, config: RunnableConfig, channels: Sequence[str]) -> Steps[History]:
    """For each channel, the writes from its last stored value (`seed`; absent: it began empty) to the checkpoint, oldest first.

    Two round trips for twenty ancestors, however many channels; nothing but the seeds and these channels' writes is decoded.
    """
    thread, ns, checkpoint_id = reading.address(config)
    found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    remaining = set(channels)
    target = (yield from _stored(thread, ns, checkpoint_id)) if remaining else None
    ancestor = target.parent if target is not None else None
    while ancestor is not None and remaining:
        path: list[tuple[str, set[str], set[str]]] = []  # an ancestor, whose writes of which channels, which values are there
        known = yield from _page(thread, ns, ancestor)
        while remaining and ancestor is not None and (stored := known.get(ancestor)) is not None:
            seeds = remaining & stored.channels.keys()
            path.append((ancestor, set(remaining), seeds))
            remaining -= seeds
            ancestor = stored.parent
        if not path:
            break  # the chain ends in what was deleted
        yield from _collect(serde, thread, ns, path, known, found)
    for channel in found.values():
        channel["writes"].reverse()
    return found


def _collect(
    serde: SerializerProtocol,
    thread: str,
    ns: str,
    path: Sequence[tuple[str, set[str], set[str]]],
    known: Mapping[str, Stored],
    found: dict[str, DeltaChannelHistory],
) -> Steps[None]:
    values = {keys.value(thread, ns, channel, known[id].channels[channel]): channel for id, _, seeds in path for channel in seeds}
    scans = [("record.scan", {"prefix": keys.writes(thread, ns, id), "limit": reading.SCAN}) for id, _, _ in path]
    answers = yield [*scans, ("record.read", {"keys": list(values)})]
    for (id, wanted, _), page in zip(path, answers, strict=False):
        rows = yield from reading.rest(keys.writes(thread, ns, id), page)
        for write in reversed(reading.in_order(body for _, body in rows)):
            if write.channel in wanted:
                pending: PendingWrite = (write.task_id, write.channel, serde.loads_typed(write.value))
                found[write.channel]["writes"].append(pending)
    for channel, body in zip(values.values(), answers[-1]["bodies"], strict=True):
        found[channel]["seed"] = reading.value(serde, body, thread, channel)


def _stored(thread: str, ns: str, checkpoint_id: str | None) -> Steps[Stored | None]:
    if checkpoint_id is None:
        [page] = yield [("record.scan", {"prefix": keys.checkpoints(thread, ns), "reverse": True, "limit": 1})]
        bodies = [body for _, body in page["items"]]
    else:
        [read] = yield [("record.read", {"keys": [keys.checkpoint(thread, ns, checkpoint_id)]})]
        bodies = [body for body in read["bodies"] if body is not None]
    return Stored.unpack(bodies[0]) if bodies else None


def _page(thread: str, ns: str, newest: str) -> Steps[dict[str, Stored]]:
    """This checkpoint and the ones before it; ancestors are older, so they come in the order of a walk."""
    key = keys.checkpoint(thread, ns, newest)
    read, page = yield [
        ("record.read", {"keys": [key]}),
        ("record.scan", {"prefix": keys.checkpoints(thread, ns), "before": key, "reverse": True, "limit": PAGE}),
    ]
    items = [(key, read["bodies"][0]), *page["items"]]
    return {keys.names(key)[2]: Stored.unpack(body) for key, body in items if body is not None}
