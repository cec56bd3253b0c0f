"""Reading a stream: from any chunk on and then live, over reconnects and a slow consumer, without a hole or a repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ..errors import NoLagError, from_wire
from .numbered import Numbered
from .requests import Answer

if TYPE_CHECKING:
    from .link import RoomLink


class Incoming(Numbered):
    """One reading of one stream. Callbacks run on the I/O thread.

    Attributes:
        token: the opening under which chunks are read.
        ct: the content type of the chunks; None: MessagePack.

    Args:
        stream: its id.
        after: begin after this chunk.
        token: the opening under which `after` was read; 0: the current one.
        on_chunks: told the number of the first, and the chunks.
        on_rewind: chunks beyond this number are not valid any more; what comes next is the one after it.
        on_gap: first and last number of chunks that can't be had any more.
        on_end: told once how it ended, as in the protocol.
        on_failed: told once why it can't be read.
    """

    gives_up = "stream.unfollow"

    def __init__(
        self,
        link: RoomLink,
        stream: str,
        after: int,
        token: int,
        *,
        on_chunks: Callable[[int, list[bytes]], None],
        on_rewind: Callable[[int], None],
        on_gap: Callable[[int, int], None],
        on_end: Callable[[Mapping[str, Any]], None],
        on_failed: Callable[[NoLagError], None],
    ) -> None:
        super().__init__(link, on_failed)
        self._stream = stream
        self._n = after
        self.token = token
        self.ct: str | None = None
        self._on_chunks = on_chunks
        self._on_rewind = on_rewind
        self._on_gap = on_gap
        self._on_end = on_end

    def _ask(self) -> None:
        self._establish("stream.follow", {"stream": self._stream, "after": self._n, "token": self.token}, self._on_page)

    def _on_page(self, page: Answer) -> None:
        number = self._number
        self.token, self.ct = page["token"], page.get("ct")
        if (n := page.get("rewind")) is not None:
            self._rewind(n)
        if (gap := page.get("gap")) is not None:
            self._skip(gap[0], gap[1])
        for first, last, body in page["pieces"]:
            self._take(first, last, body)
        if (end := page.get("end")) is not None:
            self._end(end)
        elif page["more"] and number == self._number:  # else what it told of it has paused or closed it
            self._ask()

    def on_push(self, frame: dict[str, Any]) -> None:
        self.token = frame["token"]
        if "body" in frame:
            self._take(frame["first"], frame["last"], frame["body"])
        elif "rewind" in frame:
            self._rewind(frame["rewind"])
        elif "end" in frame:
            self._end(frame["end"])
        elif "err" in frame:
            self._fail(from_wire(frame["err"]))

    # Positions move before the callbacks: those may pause us, and what they are given counts as had.

    def _take(self, first: int, last: int, body: bytes | None) -> None:
        if first > self._n + 1:
            self._skip(self._n + 1, first - 1)
        if body is None:
            self._skip(self._n + 1, last)
        elif last > self._n:
            chunks = msgpack.unpackb(body)[self._n + 1 - first : last + 1 - first]
            first, self._n = self._n + 1, last
            self._on_chunks(first, chunks)

    def _rewind(self, n: int) -> None:
        self._n = n
        self._on_rewind(n)

    def _skip(self, first: int, last: int) -> None:
        self._n = last
        self._on_gap(first, last)

    def _end(self, end: Mapping[str, Any]) -> None:
        if not self.closed:
            self._over()
            self._on_end(end)
