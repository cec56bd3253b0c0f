"""The stream of a run over take-overs: what the next orchestrator shows again is not written again.

LangGraph goes on from the last checkpoint. What it shows of that superstep may be in the stream already: chunks of nodes that had
finished, or that run on and are followed from their beginning. Those are told by being equal.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...client.body import encode
from ...client.link import RoomLink
from ...patterns.streams import IncomingStream

CACHED = {"cached": True}


class Repeats:
    """What the stream holds of the superstep that is done again."""

    def __init__(self, there: Counter[bytes] | None = None) -> None:
        self._there = there or Counter()

    @classmethod
    async def of(cls, link: RoomLink, stream: str, after: int, last: int) -> Repeats:
        """Reads the chunks after `after` up to `last`, which are there."""
        there: Counter[bytes] = Counter()
        if last > after:
            incoming = IncomingStream(link, stream, after=after)
            try:
                while incoming.n < last:
                    there[encode(await anext(incoming))] += 1
            finally:
                incoming.close()
        return cls(there)

    def new(self, chunk: list[Any]) -> bool:
        """Whether the stream does not hold this chunk yet. LangGraph marks what nodes had written before as cached: here it is new or it is
        not."""
        if not self._there:
            return True
        mode, data, _ = chunk
        if mode == "updates" and isinstance(data, dict) and data.get("__metadata__") == CACHED:
            del data["__metadata__"]
        encoded = encode(chunk)
        if not self._there[encoded]:
            del self._there[encoded]
            return True
        self._there[encoded] -= 1
        return False

    def forget(self) -> None:
        """The superstep is over: what comes now is new."""
        self._there.clear()
