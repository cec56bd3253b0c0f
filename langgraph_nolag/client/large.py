"""Large values in frames: which bodies leave as references, and which came as such.

A value over 64 KiB does not travel in its frame: it is stored in its room by its hash, once, and a reference is the body in its place.
Nobody above the connection sees one, but for who reads a log without asking for what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from nolag_broker.wire.blobs import BLOB, INLINE, MARK, PIECE, Reference

_AT_ONCE: Final = 1 << 20  # bytes that are hashed without a thread of their own
_TOGETHER: Final = 1 << 20  # bytes of records of one request, none of them larger than a piece
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
        "task.begin",
        "tool.list",
        "store.get",
        "store.search",
    }
)
"""Operations whose answers may hold bodies."""


class Body:
    """The body of a map, where a value or its reference is."""

    __slots__ = ("_map",)

    def __init__(self, map: dict[str, Any]) -> None:
        self._map = map

    def value(self) -> tuple[bytes, str | None]:
        return self._map["body"], self._map.get("ct")

    def refer(self, reference: Reference) -> None:
        """Put a reference in the value's place."""
        self._map["body"], self._map["ct"] = reference.body, BLOB

    def reference(self) -> Reference:
        """Raises `Refusal` where there is none."""
        return Reference.from_body(self._map["body"])

    def fill(self, value: bytes) -> None:
        """Put the value in the reference's place."""
        ct = self.reference().ct
        self._map["body"] = value
        if ct is None:
            del self._map["ct"]
        else:
            self._map["ct"] = ct


class Record:
    """The same for an item of a list of records, or of what makes one."""

    __slots__ = ("_index", "_list")

    def __init__(self, list: list[Any], index: int) -> None:
        self._list = list
        self._index = index

    def value(self) -> tuple[bytes, str | None]:
        return self._list[self._index], None

    def refer(self, reference: Reference) -> None:
        self._list[self._index] = reference.record

    def reference(self) -> Reference:
        return Reference.from_record(self._list[self._index])

    def fill(self, value: bytes) -> None:
        self._list[self._index] = value


Place = Body | Record


class Value:
    """A large value in a frame that is to be sent: it gives its place to a reference once its hash is known.

    Attributes:
        body: the value, encoded.
    """

    __slots__ = ("_ct", "_place", "_reference", "body")

    def __init__(self, place: Place) -> None:
        self.body, self._ct = place.value()
        self._place = place
        self._reference: Reference | None = None

    async def refer(self) -> Reference:
        """Put the reference in the value's place."""
        if self._reference is None:
            if len(self.body) <= _AT_ONCE:
                self._reference = Reference.to(self.body, self._ct)
            else:
                self._reference = await asyncio.get_running_loop().run_in_executor(None, Reference.to, self.body, self._ct)
            self._place.refer(self._reference)
        return self._reference


def take_out(frame: dict[str, Any]) -> tuple[Value, ...]:
    """The large values of a frame, which are to leave it; what the frame was made of is left as it is."""
    if frame["op"] in _NO_REFERENCE:
        return ()
    if "puts" in frame:
        return _records(frame)
    if (approvals := frame.get("approvals")) is not None and any(map(_is_large, approvals)):
        frame["approvals"] = [dict(approval) for approval in approvals]
        return tuple(Value(Body(map)) for map in (frame, *frame["approvals"]) if _is_large(map))
    return (Value(Body(frame)),) if _is_large(frame) else ()


def _is_large(map: dict[str, Any] | str) -> bool:
    body = map.get("body") if isinstance(map, dict) else None  # approvals that are followed are named by their ids
    return isinstance(body, bytes) and len(body) > INLINE


def _records(frame: dict[str, Any]) -> tuple[Value, ...]:
    """Of the records that are to be written. They are many, and most are written with others: so one alone may be larger."""
    puts = frame["puts"]
    inline = PIECE if sum(len(put[1]) for put in puts) <= _TOGETHER else INLINE
    if all(len(put[1]) <= inline for put in puts):
        return ()
    frame["puts"] = puts = [list(put) for put in puts]
    return tuple(Value(Record(put, 1)) for put in puts if len(put[1]) > inline)


def refers(map: Any) -> bool:
    """Whether what came is a map with a reference for its body."""
    return isinstance(map, dict) and map.get("ct") == BLOB and isinstance(map.get("body"), bytes)


def size_of(map: dict[str, Any]) -> int:
    """Bytes of the value that a reference stands for."""
    return Body(map).reference().size


def in_answer(op: str, ok: dict[str, Any]) -> list[Place]:
    """Where an answer holds references."""
    if op in _READING:
        return [Body(map) for map in _maps(ok) if refers(map)]
    if op == "record.read":
        return [Record(ok["bodies"], index) for index, body in enumerate(ok["bodies"]) if _is_reference(body)]
    if op == "record.scan":
        return [Record(item, 1) for item in ok["items"] if _is_reference(item[1])]
    return []


def _is_reference(record: bytes | None) -> bool:
    return record is not None and record.startswith(MARK)


def _maps(ok: dict[str, Any]) -> Iterator[Any]:
    """Those that may have a body."""
    yield ok
    for name in ("entry", "approval", "decision"):
        yield ok.get(name)
    for name in ("entries", "approvals", "tools", "items"):
        yield from ok.get(name, ())
    for info in (ok.get("approval"), *ok.get("approvals", ())):
        if isinstance(info, dict):
            yield info.get("decision")
            yield from info.get("votes", ())


def in_push(frame: dict[str, Any]) -> Body | None:
    """The reference in a push that is told as soon as it comes; those of subscriptions and inboxes wait for who reads them."""
    if "sub" in frame or frame["push"] == "inbox":
        return None
    map = frame["decision"] if frame["push"] == "decision" else frame
    return Body(map) if refers(map) else None
