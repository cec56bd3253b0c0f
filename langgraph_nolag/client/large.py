"""Large values in frames: which bodies leave as references, and which came as such.

A value over 64 KiB does not travel in its frame: it is stored in its room by its hash, once, and a reference is the body in its place.
Nobody above the connection sees one, but for who reads a log without asking for what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nolag_broker.wire.blobs import BLOB, INLINE, Reference

_AT_ONCE: Final = 1 << 20  # bytes that are hashed without a thread of their own
_NO_REFERENCE: Final = frozenset({"task.tell"})  # operations whose body has no content type
_READING: Final = frozenset(
    {
        "blackboard.get",
        "blackboard.list",
        "blackboard.history",
        "effect.get",
        "effect.put",
        "approval.get",
        "approval.list",
        "approval.decide",
        "tool.list",
    }
)
"""Operations whose answers may hold bodies."""


class Value:
    """A large value in a frame that is to be sent: it gives its place to a reference once its hash is known.

    Attributes:
        body: the value, encoded.
        reference: None while the hash is not known.
    """

    __slots__ = ("_holder", "body", "reference")

    def __init__(self, holder: dict[str, Any]) -> None:
        self._holder = holder
        self.body: bytes = holder.pop("body")
        self.reference: Reference | None = None

    async def refer(self) -> Reference:
        """Put the reference in the value's place."""
        if self.reference is None:
            ct = self._holder.get("ct")
            if len(self.body) <= _AT_ONCE:
                self.reference = Reference.to(self.body, ct)
            else:
                self.reference = await asyncio.get_running_loop().run_in_executor(None, Reference.to, self.body, ct)
            self._holder["body"], self._holder["ct"] = self.reference.body, BLOB
        return self.reference


def take_out(frame: dict[str, Any]) -> tuple[Value, ...]:
    """The large values of a frame, which leave it; the frame is changed, what it was made of is not."""
    if frame["op"] in _NO_REFERENCE:
        return ()
    if (approvals := frame.get("approvals")) is not None and any(map(_is_large, approvals)):
        frame["approvals"] = [dict(approval) for approval in approvals]
        return tuple(Value(holder) for holder in (frame, *frame["approvals"]) if _is_large(holder))
    return (Value(frame),) if _is_large(frame) else ()


def _is_large(holder: Mapping[str, Any]) -> bool:
    body = holder.get("body")
    return isinstance(body, bytes) and len(body) > INLINE


def refers(holder: Any) -> bool:
    """Whether what came is a map with a reference for its body."""
    return isinstance(holder, dict) and holder.get("ct") == BLOB and isinstance(holder.get("body"), bytes)


def size_of(holder: dict[str, Any]) -> int:
    """Bytes of the value that a reference stands for."""
    return Reference.from_body(holder["body"]).size


def in_answer(op: str, ok: dict[str, Any]) -> list[dict[str, Any]]:
    """The maps with references in an answer."""
    return [holder for holder in _bodies(ok) if refers(holder)] if op in _READING else []


def _bodies(ok: dict[str, Any]) -> Iterator[Any]:
    yield ok
    for name in ("entry", "approval", "decision"):
        yield ok.get(name)
    for name in ("entries", "approvals", "tools"):
        yield from ok.get(name, ())
    for info in (ok.get("approval"), *ok.get("approvals", ())):
        if isinstance(info, dict):
            yield info.get("decision")


def in_push(frame: dict[str, Any]) -> dict[str, Any] | None:
    """The map with a reference in a push that is told as soon as it comes; those of subscriptions and inboxes wait for who reads them."""
    if "sub" in frame or frame["push"] == "inbox":
        return None
    holder = frame["decision"] if frame["push"] == "decision" else frame
    return holder if refers(holder) else None


def put_in(holder: dict[str, Any], value: bytes) -> None:
    """The value takes the place of its reference."""
    ct = Reference.from_body(holder["body"]).ct
    holder["body"] = value
    if ct is None:
        del holder["ct"]
    else:
        holder["ct"] = ct
