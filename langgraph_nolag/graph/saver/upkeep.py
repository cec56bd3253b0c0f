"""Deleting, copying and pruning checkpoints, as `Steps`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol

from . import keys
from .record import Stored
from .steps import Request, Steps, chunks

SCAN: Final = 500  # keys at once
COPY: Final = 50  # records at once

Checkpoints = dict[tuple[str, str], Stored]
"""The checkpoints of one thread, by namespace and id."""


def delete_thread(thread_id: str) -> Steps[None]:
    yield [_delete(prefixes=[keys.thread(str(thread_id))])]


def copy_thread(source: str, target: str) -> Steps[None]:
    """Values and writes first: a checkpoint appears when its parts are there."""
    start, goal = keys.thread(str(source)), keys.thread(str(target))
    for part in ("v/", "w/", "c/"):
        after: str | None = None
        while True:
            [page] = yield [_scan(start + part, after, limit=COPY)]
            if page["items"]:
                puts = [[goal + key[len(start) :], body, False] for key, body in page["items"]]
                yield [("record.write", {"puts": puts, "deletes": [], "delete_prefixes": []})]
                after = page["items"][-1][0]
            if page["end"]:
                break


def delete_for_runs(run_ids: Sequence[str], serde: SerializerProtocol) -> Steps[None]:
    """What a checkpoint of another run rebuilds its delta channels from stays: without it that one would silently lose state."""
    wanted = {str(run_id) for run_id in run_ids}
    if not wanted:
        return
    threads = {names[0]: None for key in (yield from scan_keys(f"{keys.KIND}/")) if (names := keys.parse_checkpoint(key))}
    for thread in threads:
        known = yield from _load(thread)
        doomed = {name for name, stored in known.items() if str(serde.loads_typed(stored.metadata).get("run_id")) in wanted}
        needed = {name for ns, checkpoint_id in known.keys() - doomed for name in _with_delta_ancestors(known, ns, checkpoint_id, serde)}
        yield from _drop(thread, known, doomed - needed)


def prune(thread_ids: Sequence[str], strategy: str, serde: SerializerProtocol) -> Steps[None]:
    if strategy not in ("keep_latest", "delete"):
        raise ValueError(f"strategy must be 'keep_latest' or 'delete', not {strategy!r}")
    for thread_id in thread_ids:
        thread = str(thread_id)
        if strategy == "delete":
            yield from delete_thread(thread)
            continue
        known = yield from _load(thread)
        latest: dict[str, str] = {}
        for ns, checkpoint_id in known:
            latest[ns] = max(latest.get(ns, ""), checkpoint_id)
        kept = {name for ns, checkpoint_id in latest.items() for name in _with_delta_ancestors(known, ns, checkpoint_id, serde)}
        yield from _drop(thread, known, known.keys() - kept)


def scan_keys(prefix: str) -> Steps[list[str]]:
    """All keys under a prefix, in order."""
    found: list[str] = []
    while True:
        [page] = yield [_scan(prefix, found[-1] if found else None, bodies=False)]
        found += [key for key, _ in page["items"]]
        if page["end"]:
            return found


def _load(thread: str) -> Steps[Checkpoints]:
    known: Checkpoints = {}
    after: str | None = None
    while True:
        [page] = yield [_scan(keys.checkpoints(thread), after)]
        for key, body in page["items"]:
            _, ns, checkpoint_id = keys.names(key)
            known[ns, checkpoint_id] = Stored.unpack(body)
            after = key
        if page["end"]:
            return known


def _drop(thread: str, known: Checkpoints, doomed: Collection[tuple[str, str]]) -> Steps[None]:
    """Delete checkpoints, their writes, and the values that no other checkpoint of the thread has."""
    if not doomed:
        return
    values: defaultdict[bool, set[str]] = defaultdict(set)
    for name, stored in known.items():
        values[name in doomed].update(keys.value(thread, name[0], channel, version) for channel, version in stored.channels.items())
    for chunk in chunks(sorted(doomed)):
        checkpoints = [keys.checkpoint(thread, ns, checkpoint_id) for ns, checkpoint_id in chunk]
        yield [_delete(checkpoints, [keys.writes(thread, ns, checkpoint_id) for ns, checkpoint_id in chunk])]
    for unused in chunks(sorted(values[True] - values[False])):
        yield [_delete(unused)]


def _with_delta_ancestors(known: Checkpoints, ns: str, checkpoint_id: str, serde: SerializerProtocol) -> list[tuple[str, str]]:
    """A checkpoint and the ancestors whose writes its delta channels are rebuilt from, back to a stored value of each."""
    kept = [(ns, checkpoint_id)]
    stored = known[ns, checkpoint_id]
    missing = set(serde.loads_typed(stored.metadata).get("counters_since_delta_snapshot") or ()) - stored.channels.keys()
    while missing and stored.parent and (ns, stored.parent) in known:
        kept.append((ns, stored.parent))
        stored = known[ns, stored.parent]
        missing -= stored.channels.keys()
    return kept


def _scan(prefix: str, after: str | None, *, limit: int = SCAN, bodies: bool = True) -> Request:
    fields: dict[str, Any] = {"prefix": prefix, "limit": limit, "bodies": bodies}
    return "record.scan", fields if after is None else {**fields, "after": after}


def _delete(deletes: Sequence[str] = (), prefixes: Sequence[str] = ()) -> Request:
    return "record.write", {"puts": [], "deletes": list(deletes), "delete_prefixes": list(prefixes)}
