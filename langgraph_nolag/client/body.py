"""Values and bodies: a body is plain MessagePack, with timestamps for datetimes.

Tuples become lists, but for those that are keys of a dict; everything else comes back as it went. Objects of one's own do not travel: the
sender says how (`model_dump()`, `asdict()`), so that the reader needs none of the sender's classes.
"""

from __future__ import annotations

from typing import Any

import msgpack

from ..errors import NotDecodable, NotEncodable

CONTENT_TYPE = "msgpack"
_PLAIN = (str, bytes, bytearray, memoryview, int, float, bool, type(None))


def encode(value: Any) -> bytes:
    """The body of a value.

    Raises:
        NotEncodable: names the path to what has no MessagePack form, for example `.steps[2].run`.
    """
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True, datetime=True)
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise NotEncodable(_explain(value, error)) from None
    return packed


def decode(body: bytes | None, ct: str | None = None) -> Any:
    """The value of a body (None when there is none). A body of another content type is handed out as the bytes it is.

    Raises:
        NotDecodable: the bytes are not MessagePack.
    """
    if body is None:
        return None
    if ct is not None and ct != CONTENT_TYPE:
        return body
    try:
        try:
            return _unpack(body)
        except TypeError:  # a tuple was a key: as a list it can be none. To look for one in every body would cost more than the rest
            return _unpack(body, object_pairs_hook=lambda pairs: {_as_key(key): value for key, value in pairs})
    except Exception as error:  # msgpack raises a family of unrelated types
        raise NotDecodable(f"a body of {len(body)} bytes is not MessagePack: {type(error).__name__}: {error}") from None


def read(body: bytes | None, ct: str | None = None) -> Any:
    """As `decode`, but what is not MessagePack is handed out as the bytes it is: for lists and streams of what others wrote, where one of
    them must not hide all the rest."""
    try:
        return decode(body, ct)
    except NotDecodable:
        return body


def _unpack(body: bytes, **hooks: Any) -> Any:
    return msgpack.unpackb(body, raw=False, strict_map_key=False, timestamp=3, **hooks)


def _as_key(key: Any) -> Any:
    return tuple(map(_as_key, key)) if isinstance(key, list) else key


def _explain(value: Any, error: Exception) -> str:
    path, culprit = _find(value)
    what = f"{type(culprit).__name__} at {path or 'the top'}"
    if isinstance(culprit, int):
        return f"can't encode {what}: integers have at most 64 bits"
    if hasattr(culprit, "tzinfo"):
        return f"can't encode {what}: a datetime needs a time zone"
    if isinstance(culprit, (dict, list, tuple, *_PLAIN)):
        return f"can't encode {what}: {error}"
    return f"can't encode {what}: only plain values travel (None, bool, int, float, str, bytes, datetime, list, dict); convert it first"


def _find(value: Any) -> tuple[str, Any]:
    """The path to the first thing that can't be packed by itself; only walked once packing has failed."""
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    while stack:
        path, item, depth = stack.pop()
        if depth > 500:
            return path[:60] + "…", item
        if isinstance(item, dict):
            stack.extend((f"{path}.{key}", child, depth + 1) for key, child in reversed(item.items()))
            stack.extend((f"{path} (a key)", key, depth + 1) for key in item if not isinstance(key, _PLAIN))
        elif isinstance(item, (list, tuple)):
            stack.extend((f"{path}[{index}]", child, depth + 1) for index, child in reversed(list(enumerate(item))))
        else:
            try:
                msgpack.packb(item, use_bin_type=True, datetime=True)
            except Exception:
                return path, item
    return "", value
