"""Large values: a body over 64 KiB is stored once in its room, by its hash, and a reference to it is the body in its place.

A reference is a body like any other (its content type says what it is): it is stored, compared and told as it stands, and only who
wants the value itself asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from .codes import Refusal

BLOB: Final = "application/x-nolag-blob"
"""The content type of a body that is a reference."""

MARK: Final = b"\xc1blob"
"""What a record begins with that is a reference: records have no content type, and no MessagePack begins with this byte."""

INLINE: Final = 64 << 10  # bytes; larger bodies are sent as references
PIECE: Final = 252 << 10  # bytes of a large value in one frame: all but the last, so that a frame stays under 256 KiB
HASH_BYTES: Final = 32
_SIZE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a large value is.

    Attributes:
        hash: SHA-256 of the value.
        size: its bytes.
        ct: its own content type; None: the usual one.
    """

    hash: bytes
    size: int
    ct: str | None = None

    @classmethod
    def to(cls, value: bytes, ct: str | None = None) -> Reference:
        return cls(sha256(value).digest(), len(value), ct)

    @classmethod
    def from_body(cls, body: bytes) -> Reference:
        """Raises `Refusal` (`bad_request`) for what is no reference."""
        try:
            if type(body) is not bytes or len(body) < HASH_BYTES + _SIZE_BYTES:
                raise ValueError
            size = int.from_bytes(body[HASH_BYTES : HASH_BYTES + _SIZE_BYTES])
            return cls(body[:HASH_BYTES], size, body[HASH_BYTES + _SIZE_BYTES :].decode() or None)
        except ValueError:
            raise Refusal("bad_request", f"a body of the type {BLOB} is hash, size and content type", detail={"field": "body"}) from None

    @classmethod
    def from_record(cls, record: bytes) -> Reference:
        """Raises `Refusal` (`bad_request`) for what is no reference."""
        return cls.from_body(record.removeprefix(MARK))

    @property
    def record(self) -> bytes:
        return MARK + self.body

    @property
    def body(self) -> bytes:
        return self.hash + self.size.to_bytes(_SIZE_BYTES) + (self.ct or "").encode()


def referred(body: bytes | None, ct: str | None) -> bytes | None:
    """The hash that a stored body refers to; None: it is a value itself."""
    return body[:HASH_BYTES] if ct == BLOB and body is not None else None


def referred_by_record(record: bytes) -> bytes | None:
    """The hash that a stored record refers to; None: it is a value itself."""
    return record[len(MARK) : len(MARK) + HASH_BYTES] if record.startswith(MARK) else None
