"""Which checkpoint is likely a thread's latest: a read asks for its parts along with the question which one it is."""

from __future__ import annotations

import threading
from typing import Final

from langgraph.checkpoint.base import ChannelVersions

KNOWN: Final = 1000  # threads and namespaces

Guess = tuple[str, ChannelVersions]
"""The id of a checkpoint, and the channels that have a value in it."""


class Latest:
    """What this process stored or read last, of the threads that it was busy with lately. From any thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Guess] = {}
        self._lock = threading.Lock()

    def note(self, thread: str, ns: str, checkpoint_id: str, channels: ChannelVersions) -> None:
        with self._lock:
            self._known.pop((thread, ns), None)
            self._known[thread, ns] = checkpoint_id, channels
            if len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]

    def guess(self, thread: str, ns: str) -> Guess | None:
        return self._known.get((thread, ns))
