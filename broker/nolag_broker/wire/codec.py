"""MessagePack, strictly: what comes from outside is bounded before it becomes objects."""

from __future__ import annotations

from typing import Any, Final

import msgpack

from .codes import Refusal

DIALECT: Final = "nolag-rooms/1"
MAX_DEPTH: Final = 32  # of free-form maps inside a frame; bodies are opaque bytes and do not count

pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
"""Encode one object. Not for use from two threads at once: see `new_packer`."""


def new_packer() -> msgpack.Packer:
    """A packer of one's own, for a second thread of the process."""
    return msgpack.Packer(use_bin_type=True, autoreset=True)


def unpack(data: bytes | memoryview) -> Any:
    """Decode one WebSocket message.

    Raises:
        Refusal: `bad_frame`, when the bytes are not one whole MessagePack object, nest too deep, or use
            extension types or keys that are not strings.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_no_extensions)
    except Exception as error:  # msgpack raises a family of unrelated types, ValueError and RecursionError among them
        raise Refusal("bad_frame", f"not a MessagePack frame: {type(error).__name__}") from None


def _no_extensions(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def check_depth(value: Any, limit: int = MAX_DEPTH) -> None:
    """Refuse free-form values that nest deeper than `limit` (iterative: the check itself can't overflow), and what `unpack` has no way
    to refuse by itself: timestamps, and bytes for keys.

    Raises:
        Refusal: `bad_request`.
    """
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, (dict, list, tuple)):
            if depth >= limit:
                raise Refusal("bad_request", f"nested deeper than {limit}")
            if isinstance(item, dict) and not all(type(key) is str for key in item):
                raise Refusal("bad_request", "a key that is no text")
            stack.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
        elif isinstance(item, msgpack.Timestamp):
            raise Refusal("bad_request", "extension type -1 (timestamp): send times as numbers")
