"""Moments and sequences: where in a log a time is."""

from __future__ import annotations

from ..engine.base import Engine


async def first_since(engine: Engine, room: str, first: int, last: int, time: float) -> int:
    """The sequence of the first event at this wall-clock time or after it, from `first` to `last`; `last + 1` when there is none. Where the
    clock was set back the log holds some times twice: it is one of the places then."""
    low, high = first, last + 1
    while low < high:
        middle = (low + high) // 2
        found = await engine.events(room, middle - 1, 1)
        if found and found[0].time < time:
            low = max(middle + 1, found[0].seq + 1)
        else:
            high = middle
    return min(low, last + 1)
