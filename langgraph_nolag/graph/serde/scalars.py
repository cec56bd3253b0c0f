"""Small values with a form of their own: Python's and pydantic's, each by its exact type.

The list is closed. A payload names an entry of it, never a class, and what rebuilds an entry takes plain values and runs no code of
the user's.
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

import pydantic_core
from pydantic import NameEmail, Secret, SecretBytes, SecretStr, networks

from ...errors import NotEncodable

_ADDRESSES: Final[tuple[type, ...]] = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)
_URLS: Final[tuple[type, ...]] = (
    pydantic_core.Url,
    pydantic_core.MultiHostUrl,
    *(getattr(networks, name) for name in networks.__all__ if name.endswith(("Url", "Dsn"))),
)


def _zone(zone: dt.tzinfo | None, moment: dt.datetime | None = None) -> Any:
    """Named zones keep their name; any other is the fixed offset that it has at this moment."""
    if zone is None or isinstance(zone, zoneinfo.ZoneInfo):
        return None if zone is None else zone.key
    offset = zone.utcoffset(moment)
    return None if offset is None else offset / dt.timedelta(microseconds=1)


def _to_zone(plain: Any) -> dt.tzinfo | None:
    if plain is None:
        return None
    return zoneinfo.ZoneInfo(plain) if isinstance(plain, str) else dt.timezone(dt.timedelta(microseconds=plain))


def _url(url: Any) -> str:
    """Raises: NotEncodable: its class, or how it was read, is more than its text tells."""
    cls = type(url)
    if cls not in _URLS or cls(str(url)) != url:
        raise NotEncodable(f"{cls.__module__}.{cls.__qualname__} is not one of pydantic's own, or not read as those are: keep its text")
    return str(url)


SCALARS: Final[dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]] = {
    dt.datetime: (
        "datetime",
        lambda v: [v.replace(tzinfo=None).isoformat(), _zone(v.tzinfo, v), v.fold],
        lambda p: dt.datetime.fromisoformat(p[0]).replace(tzinfo=_to_zone(p[1]), fold=p[2]),
    ),
    dt.date: ("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.time: (
        "time",
        lambda v: [v.replace(tzinfo=None).isoformat(), _zone(v.tzinfo), v.fold],
        lambda p: dt.time.fromisoformat(p[0]).replace(tzinfo=_to_zone(p[1]), fold=p[2]),
    ),
    dt.timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds], lambda p: dt.timedelta(p[0], p[1], p[2])),
    dt.timezone: ("timezone", _zone, _to_zone),
    zoneinfo.ZoneInfo: ("zone", _zone, _to_zone),
    uuid.UUID: ("uuid", lambda v: v.bytes, lambda p: uuid.UUID(bytes=p)),
    decimal.Decimal: ("decimal", str, decimal.Decimal),
    fractions.Fraction: ("fraction", lambda v: [v.numerator, v.denominator], lambda p: fractions.Fraction(*p)),
    pathlib.Path: ("path", str, pathlib.Path),
    pathlib.PurePosixPath: ("pure posix path", str, pathlib.PurePosixPath),
    pathlib.PureWindowsPath: ("pure windows path", str, pathlib.PureWindowsPath),
    re.Pattern: ("pattern", lambda v: [v.pattern, v.flags], lambda p: re.compile(p[0], p[1])),
    complex: ("complex", lambda v: [v.real, v.imag], lambda p: complex(*p)),
    range: ("range", lambda v: [v.start, v.stop, v.step], lambda p: range(*p)),
    SecretStr: ("secret", SecretStr.get_secret_value, SecretStr),
    SecretBytes: ("secret bytes", SecretBytes.get_secret_value, SecretBytes),
    Secret: ("secret value", Secret.get_secret_value, Secret),
    NameEmail: ("name and email", lambda v: [v.name, v.email], lambda p: NameEmail(*p)),
    # subclasses of the plain types are what they hold, as in a checkpoint
    str: ("str", str.__str__, str),
    bytes: ("bytes", bytes, bytes),
    float: ("float", float.__float__, float),
    int: ("int", lambda v: hex(int.__index__(v)), lambda p: int(p, 16)),
    **{cls: (cls.__name__, str, cls) for cls in _ADDRESSES},
    **{cls: (cls.__name__, _url, cls) for cls in _URLS},
}
"""Of each type: its name on the wire, what stands for it, and how it is made again."""

FROM_SCALAR: Final = {name: load for name, _, load in SCALARS.values()}
