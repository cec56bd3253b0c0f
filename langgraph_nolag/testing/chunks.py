"""Judges streams of chunks: what their writers were told is kept, and what readers had at the end, against the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from .history import Fact, Operation

Opening = tuple[str, int]
"""A stream, and the sequence of the opening under which something was written or read."""


class Chunks:
    """The content of every stream, as the log tells it."""

    def __init__(self) -> None:
        self.ends: dict[Opening, tuple[str, list[Any]]] = {}  # state and content
        self.kept: defaultdict[Opening, list[tuple[int, int]]] = defaultdict(list)  # from which sequence on how many are in the log
        self.written: list[tuple[Opening, int, Any]] = []
        self._content: dict[str, list[Any]] = {}
        self._opening: dict[str, Opening] = {}

    def event(self, event: Fact) -> None:
        if not event.type.startswith("stream.") or event.type == "stream.read":
            return
        id = event.data["stream"]
        content = self._content.setdefault(id, [])
        if event.type == "stream.opened":
            self._opening[id] = id, event.seq
            del content[event.data["kept"] :]
        elif event.type == "stream.rolled":
            chunks = msgpack.unpackb(event.body) if isinstance(event.body, bytes) else event.body
            self.written.extend((self._opening[id], n, chunk) for n, chunk in enumerate(chunks, event.data["first"]))
            content.extend(chunks)
        else:
            self.ends[self._opening[id]] = event.type.removeprefix("stream."), list(content)
        self.kept[self._opening[id]].append((event.seq, len(content)))


def judge(operations: Sequence[Operation], events: Sequence[Fact], wrong: Callable[[str, str], None]) -> None:
    """Operations are `stream.write`, `stream.close`, and observed: `stream.end` (args: stream, token; result: state, chunks; a chunk that
    was said to be gone is None)."""
    log = Chunks()
    for event in events:
        log.event(event)
    asked: defaultdict[Opening, set[tuple[int, Any]]] = defaultdict(set)
    for operation in operations:
        args, ok = operation.args, operation.ok
        opening = str(args.get("stream")), int(args.get("token", 0))
        if operation.name == "stream.write":
            asked[opening].update(enumerate(args["chunks"], args["n"]))
            if ok is not None and not any(seq <= (operation.at or 0) and n >= ok["kept"] for seq, n in log.kept[opening]):
                wrong("lost", f"{ok['kept']} chunks were said to be kept: {operation}")
        elif operation.name == "stream.close" and ok is not None and ok["closed"]:
            state, chunks = log.ends.get(opening, ("open", []))
            if state not in ("closed", "failed") or len(chunks) != ok["n"]:
                wrong("lost", f"the log has {state} with {len(chunks)} chunks, but {operation}")
        elif operation.name == "stream.end" and ok is not None:
            state, chunks = log.ends.get(opening, ("open", []))
            same = len(chunks) == len(ok["chunks"]) and all(had in (None, chunk) for had, chunk in zip(ok["chunks"], chunks, strict=True))
            if state != ok["state"] or not same:
                wrong("stream", f"the log has {state} with {chunks}, but {operation}")
    if asked:
        for opening, n, chunk in log.written:
            if (n, chunk) not in asked[opening]:
                wrong("phantom", f"the chunk {n} of {opening[0]} under {opening[1]} is one that nobody wrote there: {chunk!r:.60}")
