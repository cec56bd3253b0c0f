"""Which of a room's items are nearest to a vector.

The vectors are in the log, with their items; here they are side by side in memory, read when a search first needs them. Nearness is
exact: a library compares the query with every vector of the items in question, which for as many as a room may hold is faster than the
upkeep of an approximate index, forgets what was overwritten at once, and finds what a filter leaves however little that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..core.commands.store import FLOAT
from ..wire.codes import Refusal

if TYPE_CHECKING:
    from ..core.store.item import Item, Version
    from .fetching import Fetcher

AT_ONCE: Final = 64  # items whose vectors are read together
MAX_BYTES: Final = 2 << 30  # of the vectors of one length in a room
SPARE: Final = 256  # rows that may be of no item any more, beside as many as are

Found = tuple["Item", "Version"]


class Vectors:
    """Those of a room that have so many dimensions."""

    def __init__(self, room: str, dims: int) -> None:
        self._room = room
        self._dims = dims
        self._turn = asyncio.Lock()
        self._rows: dict[int, range] = {}  # by revision
        self._matrix: Any = None
        self._used = 0

    async def rank(self, found: Sequence[Found], query: bytes, bodies: Fetcher, holds: Callable[[int], bool]) -> dict[int, float]:
        """Revision and nearness (1: the same direction, 0: none in common) of the items that have such vectors, the nearest first. Of
        an item with several vectors the nearest counts; of equals, the one that was found first comes first.

        Raises:
            Refusal: `bad_request`. The library is not installed where the broker runs. `overloaded`: there are too many vectors.
        """
        async with self._turn:
            await asyncio.to_thread(_library)
            if len(self._rows) > SPARE and sum(map(holds, self._rows)) * 2 < len(self._rows):
                self._rows, self._matrix, self._used = {}, None, 0
            await self._read([version.seq for _, version in found if version.dims == self._dims], bodies)
            wanted = [version.seq for _, version in found if version.dims == self._dims and version.seq in self._rows]
            return await asyncio.to_thread(self._nearest, wanted, query) if wanted else {}

    async def _read(self, revisions: Sequence[int], bodies: Fetcher) -> None:
        missing = [revision for revision in revisions if revision not in self._rows]
        while missing:
            read = await bodies.at(self._room, [revision + 1 for revision in missing[:AT_ONCE]])
            self._add({seq - 1: body for seq, body in read.items() if body is not None})
            missing = missing[len(read) :]

    def _add(self, read: dict[int, bytes]) -> None:
        numpy, _ = _library()
        new = {revision: numpy.frombuffer(body, dtype="<f4").reshape(-1, self._dims) for revision, body in read.items()}
        end = self._used + sum(map(len, new.values()))
        if end * self._dims * FLOAT > MAX_BYTES:
            raise Refusal("overloaded", f"the vectors of this room take more than {MAX_BYTES} bytes of the broker's memory")
        if self._matrix is None or end > len(self._matrix):
            grown = numpy.empty((max(end + end // 2, SPARE), self._dims), dtype="f4")
            if self._matrix is not None:
                grown[: self._used] = self._matrix[: self._used]
            self._matrix = grown
        for revision, vectors in new.items():
            self._rows[revision] = range(self._used, self._used + len(vectors))
            self._matrix[self._used : self._used + len(vectors)] = vectors
            self._used += len(vectors)

    def _nearest(self, wanted: Sequence[int], query: bytes) -> dict[int, float]:
        numpy, index = _library()
        owners = [revision for revision in wanted for _ in self._rows[revision]]
        rows = [row for revision in wanted for row in self._rows[revision]]
        vectors = self._matrix[: self._used] if rows == list(range(self._used)) else self._matrix[rows]
        vector = numpy.frombuffer(query, dtype="<f4").astype("f4")
        matches = index.search(vectors, vector, len(rows), index.MetricKind.Cos, exact=True)
        scores = sorted(zip((1.0 - matches.distances).tolist(), matches.keys.tolist(), strict=True), key=lambda one: (-one[0], one[1]))
        nearest: dict[int, float] = {}
        for score, row in scores:
            nearest.setdefault(owners[row], score)
        return nearest


def _library() -> tuple[Any, Any]:
    try:
        import numpy
        from usearch import index
    except ImportError:
        text = "this broker can't compare vectors: install langgraph-nolag[vectors] where it runs"
        raise Refusal("bad_request", text, detail={"field": "vector"}) from None
    return numpy, index
