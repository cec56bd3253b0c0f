"""A saver or a store in a `with` block, as those of others are used."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class NothingToClose:
    """The connection belongs to the process, not to what uses it: blocks begin and end, and nothing is set up or closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None
