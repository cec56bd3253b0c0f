"""How much has come and is not in a commit yet: past a bound, connections are not read until it is."""

from __future__ import annotations

import asyncio
from typing import Final

MAX_WAITING: Final = 32 << 20  # bytes of requests decided or to be decided for the next commit
OVERHEAD: Final = 512  # bytes that a request counts beside its message: many small ones take time and memory too


class Pressure:
    def __init__(self) -> None:
        self._waiting = 0  # bytes
        self._relief: asyncio.Future[None] | None = None

    def add(self, size: int) -> None:
        """So many bytes wait from now on."""
        self._waiting += size

    @property
    def is_high(self) -> bool:
        return self._waiting > MAX_WAITING

    def relief(self) -> asyncio.Future[None]:
        """Until nothing waits any more."""
        if self._relief is None:
            self._relief = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._relief)

    def release(self) -> None:
        """Nothing waits any more."""
        self._waiting = 0
        if self._relief is not None:
            self._relief.set_result(None)
            self._relief = None
