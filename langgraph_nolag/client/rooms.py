"""Rooms by handle or address: one connection for each broker and token in a process, one link for each room on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import BadRequest
from .connection import Connection
from .credentials import Token, parse_address, resolve
from .io import on_fork
from .link import RoomLink

if TYPE_CHECKING:
    from ..patterns.room import Room


@dataclass(frozen=True, slots=True)
class RoomHandle:
    """Where a room is and what opens it: for `distribute`, `NoLagSaver`, `remote_tools` and the like. Nothing is connected yet.

    Attributes:
        url: `ws://HOST:PORT`.
        name: the room's name.
        token: a token, or a provider of fresh ones.
    """

    url: str
    name: str
    token: Token = field(repr=False)


_connections: dict[tuple[str, Token], Connection] = {}
_lock = threading.Lock()


def open_room(room: RoomHandle | Room | RoomLink | str, token: Token | None = None) -> RoomLink:
    """The link to a room, connected on first use and shared by the whole process.

    Args:
        room: a handle (`broker.room("demo")`), a joined room, or `"ws://HOST:PORT/ROOM"`.
        token: for an address; else `NOLAG_TOKEN` or the broker's own file.

    Raises:
        BadRequest: no such address, or no token for it.
    """
    if isinstance(room, RoomLink):
        return room
    if isinstance(room, str):
        address = parse_address(room)
        if address.room is None:
            raise BadRequest(f"{room!r} names no room: expected ws://HOST:PORT/ROOM")
        room = RoomHandle(address.url, address.room, resolve(address.url, token).token)
    if isinstance(room, RoomHandle):
        return shared_connection(room.url, token or room.token).link(room.name, RoomLink).hold()
    link = getattr(room, "link", None)
    if isinstance(link, RoomLink):
        return link
    raise BadRequest(f"not a room: {room!r}; expected broker.room(name), a joined room, or 'ws://HOST:PORT/ROOM'")


def shared_connection(url: str, token: Token) -> Connection:
    """The process's one connection to a broker with a token; a new one where the old one ended for good."""
    with _lock:
        connection = _connections.get((url, token))
        if connection is None or connection.ended is not None:
            connection = _connections[url, token] = Connection(url, token)
        return connection


def close_shared(url: str | None = None) -> None:
    """Close the shared connections, of one broker or all. Blocks, within a bound."""
    with _lock:
        gone = [key for key in _connections if url is None or key[0] == url]
        connections = [_connections.pop(key) for key in gone]
    for connection in connections:
        connection.close()


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _connections.clear()


on_fork(_forget)
