"""Reading checkpoints, as `Steps`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, CheckpointTuple, get_checkpoint_id
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...errors import NotDecodable
from . import keys, upkeep
from .latest import Guess, Latest, State
from .record import Stored, StoredWrite, Typed, unpack_value
from .steps import Request, Steps, chunks

PAGE: Final = 20  # checkpoints read at once by `list`
SCAN: Final = 500  # keys read at once

Name = tuple[str, str, str]
"""Thread, namespace and id of a checkpoint."""


def get(serde: SerializerProtocol, config: RunnableConfig, known: Latest) -> Steps[CheckpointTuple | None]:
    """The checkpoint that the config names, or the latest of its thread and namespace."""
    thread, ns, checkpoint_id = address(config)
    if checkpoint_id is None:
        return (yield from _latest(serde, thread, ns, known))
    key = keys.checkpoint(thread, ns, checkpoint_id)
    [read] = yield [("record.read", {"keys": [key]})]
    found = yield from _tuples(serde, [(key, Stored.unpack(body)) for body in read["bodies"] if body is not None])
    return found[0] if found else None


def _latest(serde: SerializerProtocol, thread: str, ns: str, known: Latest) -> Steps[CheckpointTuple | None]:
    """In one round trip where this process stored or read it last; and nothing is sent that it still has."""
    question: dict[str, Any] = {"prefix": keys.checkpoints(thread, ns), "reverse": True, "limit": 1}
    answers: Sequence[dict[str, Any]] = ()
    guess: Guess | None = None
    if (held := known.state(thread, ns)) is not None:
        state, since, epoch = held
        [page] = yield [("record.scan", {**question, "since": since, "epoch": epoch})]
        if page.get("same"):
            known.same(thread, since, page)
            return _tuple(serde, (thread, ns, state.id), state.stored, state.values.values(), state.writes or ())
    else:
        guess = known.guess(thread, ns)
        [page, *answers] = yield [("record.scan", question), *([] if guess is None else _parts((thread, ns, guess[0]), guess[1]))]
    if not page["items"]:
        return None
    [(key, body)] = page["items"]
    name, stored = keys.names(key), Stored.unpack(body)
    if guess != (name[2], stored.channels):
        answers = yield _parts(name, stored.channels)
    written, *reads = answers
    rows = yield from rest(keys.writes_of_all(thread, ns), written)
    values = dict(zip(keys.values_of(*name[:2], stored.channels), (body for read in reads for body in read["bodies"]), strict=True))
    writes = tuple(body for key, body in rows if keys.names_of_write(key) == name)
    found = _tuple(serde, name, stored, values.values(), writes)
    ahead = frozenset(id for key, _ in rows if (id := keys.names_of_write(key)[2]) != name[2])
    known.read(thread, ns, page, State(name[2], stored, values, writes, ahead))
    return found


def _parts(name: Name, channels: ChannelVersions) -> list[Request]:
    """For what the latest checkpoint has beside its own record, and for the pending writes of those that are not stored yet."""
    thread, ns, _ = name
    return [
        ("record.scan", {"prefix": keys.writes_of_all(thread, ns), "after": keys.writes(*name), "limit": SCAN}),
        *(("record.read", {"keys": chunk}) for chunk in chunks(keys.values_of(thread, ns, channels))),
    ]


def next_page(serde: SerializerProtocol, listing: Listing) -> Steps[list[CheckpointTuple]]:
    items = yield from listing.next_items()
    chosen: list[tuple[str, Stored]] = []
    for key, body in items:
        stored = Stored.unpack(body)
        if listing.filter:
            metadata = serde.loads_typed(stored.metadata)
            if any(metadata.get(name) != wanted for name, wanted in listing.filter.items()):
                continue
        if listing.take():
            chosen.append((key, stored))
    return (yield from _tuples(serde, chosen))


def _tuples(serde: SerializerProtocol, found: Sequence[tuple[str, Stored]]) -> Steps[list[CheckpointTuple]]:
    """Whole checkpoints: their values and pending writes, all in one round trip."""
    if not found:
        return []
    named = [(keys.names(key), stored) for key, stored in found]
    value_keys = _value_keys([(name, stored.channels) for name, stored in named])
    answers = yield _requests([name for name, _ in named], value_keys)
    return (yield from _built(serde, named, value_keys, answers))


def _value_keys(named: Sequence[tuple[Name, ChannelVersions]]) -> list[str]:
    """The keys of all values of these checkpoints, each once."""
    return list(dict.fromkeys(key for (thread, ns, _), channels in named for key in keys.values_of(thread, ns, channels)))


def _requests(names: Sequence[Name], value_keys: Sequence[str]) -> list[Request]:
    """For what these checkpoints have beside their own records."""
    return [
        *(("record.scan", {"prefix": keys.writes(*name), "limit": SCAN}) for name in names),
        *(("record.read", {"keys": chunk}) for chunk in chunks(value_keys)),
    ]


def _built(
    serde: SerializerProtocol, named: Sequence[tuple[Name, Stored]], value_keys: Sequence[str], answers: Sequence[dict[str, Any]]
) -> Steps[list[CheckpointTuple]]:
    pages, reads = answers[: len(named)], answers[len(named) :]
    values = dict(zip(value_keys, (body for read in reads for body in read["bodies"]), strict=True))
    tuples = []
    for (name, stored), page in zip(named, pages, strict=True):
        writes = yield from rest(keys.writes(*name), page)
        bodies = [values[key] for key in keys.values_of(*name[:2], stored.channels)]
        tuples.append(_tuple(serde, name, stored, bodies, [body for _, body in writes]))
    return tuples


def _tuple(
    serde: SerializerProtocol, name: Name, stored: Stored, values: Iterable[bytes | None], writes: Iterable[bytes]
) -> CheckpointTuple:
    thread, ns, checkpoint_id = name
    checkpoint, metadata = _map(serde, stored.checkpoint), _map(serde, stored.metadata)
    checkpoint["channel_values"] = {
        channel: value(serde, body, thread, channel) for channel, body in zip(stored.channels, values, strict=True)
    }
    return CheckpointTuple(
        config=config_of(thread, ns, checkpoint_id),
        checkpoint=checkpoint,
        metadata=metadata,
        parent_config=config_of(thread, ns, stored.parent) if stored.parent else None,
        pending_writes=[(write.task_id, write.channel, serde.loads_typed(write.value)) for write in in_order(writes)],
    )


def value(serde: SerializerProtocol, body: bytes | None, thread: str, channel: str) -> Any:
    """The value of a channel. Raises `NotDecodable`."""
    if body is None:
        raise NotDecodable(f"the value of channel {channel!r} in a checkpoint of thread {thread!r} is missing from the room")
    return serde.loads_typed(unpack_value(body))


def _map(serde: SerializerProtocol, typed: Typed) -> Any:
    value = serde.loads_typed(typed)
    if not isinstance(value, dict):
        raise NotDecodable(f"a checkpoint or its metadata is not a map, but {type(value).__name__}")
    return value


def rest(prefix: str, page: Mapping[str, Any]) -> Steps[list[tuple[str, bytes]]]:
    """The keys and bodies of a scan whose first page is here."""
    items = list(page["items"])
    while not page["end"]:
        [page] = yield [("record.scan", {"prefix": prefix, "after": items[-1][0], "limit": SCAN})]
        items += page["items"]
    return [(key, body) for key, body in items]


def in_order(bodies: Iterable[bytes]) -> list[StoredWrite]:
    """Pending writes, as a superstep applies them."""
    return sorted((StoredWrite.unpack(body) for body in bodies), key=StoredWrite.sort_key)


@dataclass(slots=True)
class Listing:
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
    def of(cls, config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None, limit: int | None) -> Listing:
        older_than = get_checkpoint_id(before) if before else None
        listing = cls(f"{keys.KIND}/", False, None, older_than, filter or {}, limit, done=limit is not None and limit <= 0)
        if config is not None:
            thread, ns = str(config["configurable"]["thread_id"]), config["configurable"].get("checkpoint_ns")
            listing.prefix, listing.only = keys.checkpoints(thread, ns), get_checkpoint_id(config)
            if ns is not None and listing.only is None:
                listing.walk = True
                listing.cursor = None if older_than is None else keys.checkpoint(thread, ns, older_than)
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


def address(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), get_checkpoint_id(config)


def config_of(thread: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}
