"""Readers of a request's fields: each takes what came off the wire and gives the checked value, or refuses by name.

A command declares its fields as `name: Annotated[type, reader]`; `commands.parse` runs the readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Final, NoReturn

from ...wire.codec import check_depth, pack
from ...wire.codes import Refusal
from ...wire.topics import MAX_LENGTH, check_pattern

Reader = Callable[[Any, str], Any]

MAX_TEXT: Final = 8192  # characters of a reason, a message, a label
MAX_LIST: Final = 1000  # things named in one request
MAX_CRON: Final = 256  # characters
MAX_SET: Final = 128  # capabilities of one agent or task
MAX_MAP: Final = 64 << 10  # bytes of a free-form map
MAX_SECONDS: Final = 10 * 366 * 86400.0
MAX_MOMENT: Final = 253_402_300_799.0  # the end of the year 9999
MAX_INT: Final = 2**53

RECORD_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}/[^/]{1,512}/.{0,1024}")
KIND_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}/")
OUR_RECORDS: Final = frozenset({"done", "kept", "effect"})  # kinds of record that the room itself writes


def refuse(field: str, expected: str) -> NoReturn:
    raise Refusal("bad_request", f"{field} must be {expected}", detail={"field": field})


def read_name(value: Any, field: str) -> str:
    if type(value) is not str or not value or len(value) > MAX_LENGTH or "*" in value or not value.isprintable():
        refuse(field, f"1 to {MAX_LENGTH} printable characters without '*'")
    return value


def read_text(value: Any, field: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        refuse(field, f"a text of at most {MAX_TEXT} characters")
    return value


def read_bytes(value: Any, field: str) -> bytes:
    if type(value) is not bytes:
        refuse(field, "bytes")
    return value


def read_bool(value: Any, field: str) -> bool:
    if type(value) is not bool:
        refuse(field, "true or false")
    return value


def read_seconds(value: Any, field: str) -> float:
    if (type(value) is not float and type(value) is not int) or not 0 <= value <= MAX_SECONDS:  # nan compares false
        refuse(field, f"a number of seconds from 0 to {MAX_SECONDS:.0f}")
    return float(value)


def read_positive_seconds(value: Any, field: str) -> float:
    if not (seconds := read_seconds(value, field)):
        refuse(field, "more than 0 seconds")
    return seconds


def read_moment(value: Any, field: str) -> float:
    if (type(value) is not float and type(value) is not int) or not 0 <= value <= MAX_MOMENT:
        refuse(field, "a moment, in seconds since 1970")
    return float(value)


def read_map(value: Any, field: str) -> dict[str, Any]:
    if type(value) is not dict:
        refuse(field, "a map")
    check_depth(value)
    if not _finite(value):
        refuse(field, "free of nan and infinite numbers")
    if len(pack(value)) > MAX_MAP:
        refuse(field, f"at most {MAX_MAP} bytes")
    return value


def _finite(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, float) and not isfinite(item):
            return False
    return True


def read_pattern(value: Any, field: str) -> str:
    if type(value) is not str:
        refuse(field, "a pattern")
    return check_pattern(value)


def integer(low: int, high: int) -> Reader:
    def read(value: Any, field: str) -> int:
        if type(value) is not int or not low <= value <= high:
            refuse(field, f"a whole number from {low} to {high}")
        return value

    return read


def choice(*values: str) -> Reader:
    allowed = frozenset(values)

    def read(value: Any, field: str) -> str:
        if type(value) is not str or value not in allowed:
            refuse(field, "one of " + ", ".join(values))
        return value

    return read


def choices(*values: str) -> Reader:
    allowed = frozenset(values)

    def read(value: Any, field: str) -> tuple[str, ...]:
        if type(value) is not list or not value or any(type(item) is not str or item not in allowed for item in value):
            refuse(field, "a list of " + ", ".join(values))
        return tuple(dict.fromkeys(value))

    return read


def listed(read_item: Reader, limit: int = MAX_LIST) -> Reader:
    def read(value: Any, field: str) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > limit:
            refuse(field, f"a list of at most {limit}")
        return tuple([read_item(item, field) for item in value])

    return read


def read_name_set(value: Any, field: str) -> frozenset[str]:
    if type(value) is not list or len(value) > MAX_SET:
        refuse(field, f"a list of at most {MAX_SET} names")
    return frozenset([read_name(item, field) for item in value]) if value else EMPTY


EMPTY: Final[frozenset[str]] = frozenset()


def read_lease(value: Any, field: str) -> tuple[str, int]:
    if type(value) is not list or len(value) != 2:
        refuse(field, "[task, token]")
    return read_name(value[0], field), _token(value[1], field)


def read_followed(value: Any, field: str) -> tuple[str, int, int]:
    """`[task, after]` or `[task, after, attempt]` -> (task, after, attempt; 0: whichever runs)."""
    if type(value) is not list or not 2 <= len(value) <= 3:
        refuse(field, "a list of [task, after] or [task, after, attempt]")
    return read_name(value[0], field), _token(value[1], field), _token(value[2], field) if len(value) == 3 else 0


def read_retry(value: Any, field: str) -> tuple[float, float, float, float]:
    """-> (initial, factor, maximum, jitter)"""
    if type(value) is not dict or not value.keys() <= {"initial", "factor", "maximum", "jitter"}:
        refuse(field, "a map of initial, factor, maximum and jitter")
    policy = tuple(value.get(name, default) for name, default in zip(("initial", "factor", "maximum", "jitter"), RETRY, strict=True))
    if any(type(part) not in (int, float) or not isfinite(part) for part in policy):
        refuse(field, "of finite numbers")
    initial, factor, maximum, jitter = policy
    if not (0 <= initial <= MAX_SECONDS and 1 <= factor <= 100 and 0 <= maximum <= MAX_SECONDS and 0 <= jitter <= 1):
        refuse(field, "initial and maximum in seconds, factor from 1 to 100, jitter from 0 to 1")
    return float(initial), float(factor), float(maximum), float(jitter)


RETRY: Final = (0.5, 2.0, 60.0, 0.1)


def read_rate(value: Any, field: str) -> tuple[int, float]:
    """-> (how many, in how many seconds)"""
    if type(value) is not list or len(value) != 2:
        refuse(field, "[how many, in how many seconds]")
    return _rate_count(value[0], field), read_positive_seconds(value[1], field)


def read_cron(value: Any, field: str) -> str:
    """What the line means is the calendar's to say."""
    if type(value) is not str or not value.isprintable() or not 1 <= len(value) <= MAX_CRON:
        refuse(field, f"a cron line of at most {MAX_CRON} characters")
    return value


def read_error(value: Any, field: str) -> dict[str, str]:
    """An error is kept for every attempt, so its text is cut rather than refused."""
    if type(value) is not dict or type(value.get("type")) is not str or type(value.get("message", "")) is not str:
        refuse(field, "a map of type and message")
    return {"type": value["type"][:MAX_LENGTH], "message": value.get("message", "")[:MAX_TEXT]}


def read_retention(value: Any, field: str) -> dict[str, Any]:
    """Bounds by name; None: no bound. A name that is absent is left to the broker."""
    if type(value) is not dict or not value.keys() <= {"age", "count", "bytes"}:
        refuse(field, "a map of age, count and bytes")
    readers = {"age": read_positive_seconds, "count": integer(1, MAX_INT), "bytes": integer(1, MAX_INT)}
    return {name: None if bound is None else readers[name](bound, f"{field}.{name}") for name, bound in value.items()}


def read_specs(value: Any, field: str) -> dict[str, bytes]:
    if type(value) is not dict or len(value) > MAX_LIST:
        refuse(field, f"a map of at most {MAX_LIST} tools to their descriptions")
    return {read_name(name, field): read_bytes(spec, field) for name, spec in value.items()}


def read_record_key(value: Any, field: str) -> str:
    if type(value) is not str or not RECORD_KEY.fullmatch(value) or not value.isprintable() or value.split("/", 1)[0] in OUR_RECORDS:
        refuse(field, "a printable key 'kind/owner/...', of a kind that is not reserved")
    return value


def read_scan_prefix(value: Any, field: str) -> str:
    if type(value) is str and KIND_PREFIX.fullmatch(value) and value[:-1] not in OUR_RECORDS:
        return value
    return read_record_key(value, field)


def read_put(value: Any, field: str) -> tuple[str, bytes, bool]:
    if type(value) is not list or len(value) != 3:
        refuse(field, "a list of [key, body, if_absent]")
    return read_record_key(value[0], field), read_bytes(value[1], field), read_bool(value[2], field)


_token = integer(0, MAX_INT)
_rate_count = integer(1, MAX_LIST)

Name = Annotated[str, read_name]
Text = Annotated[str, read_text]
Body = Annotated[bytes, read_bytes]
Flag = Annotated[bool, read_bool]
Seconds = Annotated[float, read_seconds]
PositiveSeconds = Annotated[float, read_positive_seconds]
Moment = Annotated[float, read_moment]
Pattern = Annotated[str, read_pattern]
Map = Annotated[dict[str, Any], read_map]
NameSet = Annotated[frozenset[str], read_name_set]
Names = Annotated[tuple[str, ...], listed(read_name)]
Sequence = Annotated[int, _token]
Sequences = Annotated[tuple[int, ...], listed(_token)]
Token = Annotated[int, _token]
Lease = Annotated[tuple[str, int], read_lease]
Limit = Annotated[int, integer(1, MAX_LIST)]
Slots = Annotated[int, integer(1, 10_000)]
