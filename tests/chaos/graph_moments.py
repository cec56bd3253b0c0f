"""Ends a process of its own accord, with SIGKILL, at an exact moment of what it says to the broker and hears from it.

A moment is when, what, and the how manieth:

    before   a request is about to be handed to the socket
    sent     the message with it is the kernel's; no answer has come
    after    its answer has come, and nobody was told yet
    push     a push has come, and nobody was told yet
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from langgraph_nolag.client.connection import Connection
from langgraph_nolag.client.requests import Pending
from langgraph_nolag.client.sender import Sender
from langgraph_nolag.client.websocket import WebSocket

Moment = tuple[str, str, int]
SAID = (
    "put",
    "put_writes",
    "task.ack",
    "task.begin",
    "task.complete",
    "task.dispatch",
    "task.forget",
    "task.progress",
    "effect.get",
    "effect.put",
)
HEARD = ("task", "result", "progress", "stream")


def name_of(frame: Mapping[str, Any]) -> str:
    """The operation, told apart as LangGraph does: `put` and `put_writes`."""
    if frame["op"] != "record.write":
        return str(frame["op"])
    return written(key for key, *_ in frame.get("puts", ()))


def written(keys: Any) -> str:
    """What it is to write records under these keys."""
    return "put" if any(key.split("/", 3)[2] == "c" for key in keys if key.startswith("checkpoint/")) else "put_writes"


def watch(tell: Callable[[str, str], None], plan: Moment | None) -> None:
    """Tell of every moment of this process, and end it at the planned one.

    Args:
        tell: told when and what, on the I/O thread.
    """
    seen: Counter[tuple[str, str]] = Counter()
    queued: list[str] = []

    def moment(when: str, what: str) -> None:
        if what not in (HEARD if when == "push" else SAID):
            return
        seen[when, what] += 1
        tell(when, what)
        if plan == (when, what, seen[when, what]):
            os.kill(os.getpid(), signal.SIGKILL)

    write, request, note = WebSocket.write, Sender.send_request, Sender.send_note
    answer, push = Connection._on_answer, Connection._on_push

    def on_write(self: WebSocket, message: bytes) -> None:
        names = queued[:]
        queued.clear()
        write(self, message)
        for name in names:
            moment("sent", name)

    def on_request(self: Sender, pending: Pending) -> None:
        moment("before", name_of(pending.frame))
        queued.append(name_of(pending.frame))
        request(self, pending)

    def on_note(self: Sender, frame: dict[str, Any], size: int) -> None:
        moment("before", name_of(frame))
        queued.append(name_of(frame))
        note(self, frame, size)

    def on_answer(self: Connection, frame: dict[str, Any]) -> None:
        if "ok" in frame and (pending := self._unanswered.get(frame["id"])) is not None:
            moment("after", name_of(pending.frame))
        answer(self, frame)

    def on_push(self: Connection, frame: dict[str, Any]) -> None:
        moment("push", frame["push"])
        push(self, frame)

    WebSocket.write = on_write  # type: ignore[method-assign]
    Sender.send_request, Sender.send_note = on_request, on_note  # type: ignore[method-assign]
    Connection._on_answer, Connection._on_push = on_answer, on_push  # type: ignore[method-assign]
