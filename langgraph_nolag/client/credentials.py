"""Where a broker is and which token opens it: arguments first, then the environment, then the broker's own file."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadRequest, BrokerUnreachable

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A token, or a provider that is asked for a fresh one at every connect and before the old one expires."""

DEFAULT_PATH = ".nolag"
HOW_TO_START = "start a broker with `langgraph-nolag broker`, or use LocalBroker()"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An address, `ws://HOST:PORT`, and a token for it.

    `admin` is true when the token was read from the broker's own file: it may mint tokens for other actors.
    """

    url: str
    token: Token = field(repr=False)
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """`ws://HOST:PORT[/ROOM]`, taken apart."""

    url: str
    room: str | None


def parse_address(address: str) -> Address:
    """Take `ws://HOST:PORT/ROOM` apart; the room is read here, the socket is always `/ws`.

    Raises:
        BadRequest: it is not such an address.
    """
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port or 0) >= 0
    except (ValueError, AttributeError):  # the latter: it is no text at all
        valid = False
    if not valid or parts.query or parts.fragment:
        raise BadRequest(f"{address!r} is not an address: expected ws://HOST:PORT or ws://HOST:PORT/ROOM")
    return Address(f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or None)


def resolve(url: str | None = None, token: Token | None = None, path: str | os.PathLike[str] | None = None) -> Credentials:
    """Complete what the caller left out.

    The address: `url`, else `NOLAG_URL`, else `credentials.json` in `path`, `NOLAG_PATH` or `.nolag`.
    The token: `token`, else `NOLAG_TOKEN`, else the file's admin token, if the file is of this very broker.
    Where a `path` is named, the environment does not count: it may speak of another broker.

    Raises:
        BrokerUnreachable: no address is known; says how to start a broker.
        BadRequest: an address without any token, or a file that can't be read.
    """
    if path is None:
        url = url or os.environ.get("NOLAG_URL")
        token = token or os.environ.get("NOLAG_TOKEN")
    if url and token:
        return Credentials(parse_address(url).url, token)
    file = Path(path or os.environ.get("NOLAG_PATH") or DEFAULT_PATH) / "credentials.json"
    stored = _read(file)
    if url is None:
        if stored is None:
            raise BrokerUnreachable(f"no broker is known: no address, no NOLAG_URL, and no {file}; {HOW_TO_START}")
        url = stored["url"]
    url = parse_address(url).url
    if token:
        return Credentials(url, token)
    if stored is None or parse_address(stored["url"]).url != url:
        raise BadRequest(f"no token for {url}: pass token=, set NOLAG_TOKEN, or point NOLAG_PATH at the broker's directory")
    return Credentials(url, stored["token"], admin=True)


def actor_of(token: str) -> str | None:
    """The actor a token names, unverified (the broker verifies); None when it can't be read."""
    try:
        payload = token.split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        actor = claims["sub"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    return actor if isinstance(actor, str) else None


def _read(file: Path) -> dict[str, str] | None:
    try:
        content = json.loads(file.read_text())
        return {"url": str(content["url"]), "token": str(content["token"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"{file} can't be used: {error}; it is written by `langgraph-nolag broker`") from None
