"""What a body streams, without a hole: what its orchestrator has not said to have seen goes with the outcome.

Progress is not on disk. It may be lost with the broker, or be said while the orchestrator is away, which then comes back to a task that
has ended. The outcome is on disk. So frames are numbered, the worker keeps them until they are confirmed, and whoever reads the outcome
shows what it has not shown yet.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger("langgraph_nolag")

KEPT: Final = 1 << 20  # bytes of frames that are not confirmed; of more, the oldest go
CONFIRMED: Final = 32 << 10  # bytes of frames after which the orchestrator confirms
_NUMBER: Final = struct.Struct(">I")  # after the byte that says what a frame is
HEAD: Final = 1 + _NUMBER.size  # bytes before a frame's value


class Unseen:
    """The worker's end. From any thread.

    Args:
        send: hands a frame to the room.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._lock = threading.RLock()  # once more in the same thread, where the garbage collector ends something that streams
        self._last = 0
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._to_say: deque[tuple[bytes, bytes]] = deque()
        self._saying = False

    def say(self, kind: bytes, value: bytes) -> None:
        """Send a frame under the next number, and keep it."""
        self._to_say.append((kind, value))
        with self._lock:  # frames leave in the order of their numbers
            if self._saying:
                return
            self._saying = True
            try:
                while self._to_say:
                    self._send(self._next(*self._to_say.popleft()))
            finally:
                self._saying = False

    def _next(self, kind: bytes, value: bytes) -> bytes:
        self._last += 1
        frame = kind + _NUMBER.pack(self._last) + value
        self._frames.append(frame)
        self._size += len(frame)
        while self._size > KEPT and len(self._frames) > 1:
            self._drop()
        return frame

    def seen(self, number: int) -> None:
        """The orchestrator has everything up to this number."""
        with self._lock:
            while self._frames and number_of(self._frames[0]) <= number:
                self._drop()

    def frames(self) -> list[bytes]:
        """What is not confirmed, in order."""
        with self._lock:
            return list(self._frames)

    def _drop(self) -> None:
        self._size -= len(self._frames.popleft())


class Seen:
    """The orchestrator's end, in the order in which it shows.

    Args:
        node: path of the node, for people.
        confirm: tells the worker a number.
    """

    def __init__(self, node: str, confirm: Callable[[int], None]) -> None:
        self._node = node
        self._confirm = confirm
        self._attempt = 0
        self._last = 0
        self._size = 0

    def is_new(self, attempt: int, frame: bytes) -> bool:
        """Whether it is to be shown; each is once. Another attempt begins anew."""
        if attempt != self._attempt:
            self._attempt, self._last, self._size = attempt, 0, 0
        number = number_of(frame)
        if number <= self._last:
            return False
        if (lost := number - self._last - 1) > 0:
            log.warning("%d chunks of node %r are lost: it streamed more than is kept while nobody listened", lost, self._node)
        self._last = number
        self._size += len(frame)
        if self._size >= CONFIRMED:
            self._size = 0
            self._confirm(number)
        return True


def number_of(frame: bytes) -> int:
    number: int = _NUMBER.unpack_from(frame, 1)[0]
    return number
