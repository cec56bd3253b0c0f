"""Frames that are put together from bytes already encoded, so that a fan-out encodes an event once.

MessagePack is concatenative: an array header followed by encoded items is an encoded array.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .codec import pack

_SUB = pack("sub")
_LOG_HEAD = b"\x84" + pack("push") + pack("log") + _SUB
_THROUGH = pack("through")
_EVENTS = pack("events")
_DEALT_HEAD = b"\x85" + pack("push") + pack("dealt") + _SUB
_ATTEMPTS = pack("attempts")
_EPOCH = pack("epoch")


def array_header(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    if count < 65536:
        return struct.pack(">BH", 0xDC, count)
    return struct.pack(">BI", 0xDD, count)


def batch(frames: Sequence[bytes]) -> bytes:
    """One WebSocket message from encoded frames: the frame itself, or an array of several."""
    if len(frames) == 1:
        return frames[0]
    return array_header(len(frames)) + b"".join(frames)


def log_push(sub: int, events: Sequence[bytes], through: int) -> bytes:
    """A push of events, already encoded, to one subscription: `{push: log, sub, through, events}`."""
    return b"".join((_LOG_HEAD, pack(sub), _THROUGH, pack(through), _EVENTS, array_header(len(events)), *events))


def dealt_push(sub: int, epoch: str, events: Sequence[bytes], attempts: Sequence[int]) -> bytes:
    """A push of events, already encoded, to one member of a group: `{push: dealt, sub, epoch, attempts, events}`."""
    parts = (_DEALT_HEAD, pack(sub), _EPOCH, pack(epoch), _ATTEMPTS, pack(list(attempts)), _EVENTS, array_header(len(events)), *events)
    return b"".join(parts)


def gap_push(sub: int, room: str, first: int, last: int, epoch: str) -> bytes:
    """What one subscription is told of sequences that can't be had any more: `{push: gap, sub, room, from, to, epoch}`."""
    push: bytes = pack({"push": "gap", "sub": sub, "room": room, "from": first, "to": last, "epoch": epoch})
    return push
