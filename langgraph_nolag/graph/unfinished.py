"""Streams of graphs that nobody reads to their end.

One that is left in a reference cycle is closed by the garbage collector, on whichever thread it comes. A run waits for its nodes when it is
closed, and for the room: on the I/O thread, which alone brings both, it would wait for ever, and everything else with it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import Any, Final

from ..client.io import IoThread

_under_way: Final[set[Generator[Any, None, None]]] = set()
"""What is read is held here, out of the collector's sight: it finds only who reads. (Where what runs refers to who reads it, as where an
object keeps the stream of a graph whose node is one of its methods, it finds neither: close such a stream.)"""


def ended_elsewhere(io: IoThread, chunks: Generator[Any, None, None]) -> Iterator[Any]:
    """The same chunks; closed early on the I/O thread, they are ended on a thread of their own."""
    _under_way.add(chunks)
    try:
        for chunk in chunks:  # noqa: UP028 - `yield from` would close them here
            yield chunk
    finally:
        _under_way.discard(chunks)
        if io.is_current:
            threading.Thread(target=chunks.close, name="nolag-unfinished", daemon=True).start()
        else:
            chunks.close()
