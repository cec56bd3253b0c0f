"""Finding the broker, asking it, and ending well: what every command that talks to a broker shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest, BrokerUnreachable, NoLagError, RoomNotFound
from .output import INTERRUPTED, NO, WRONG_USE, Output

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..client.link import RoomLink

CONNECT_TIMEOUT = 3.0  # seconds; a broker on the way up gets that long
REQUEST_TIMEOUT = 15.0

Url = Annotated[
    str | None, typer.Option("--url", help="Address, ws://HOST:PORT. Else NOLAG_URL, else credentials.json.", show_default=False)
]
Token = Annotated[str | None, typer.Option("--token", help="Token. Else NOLAG_TOKEN, else credentials.json.", show_default=False)]
DataPath = Annotated[
    Path | None,
    typer.Option("--path", help="The broker's directory, with credentials.json. Else NOLAG_PATH, else .nolag.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Room = Annotated[str | None, typer.Option("--room", help="Only this room; else all that the token covers.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Access:
    """What the user said about where the broker is."""

    url: str | None
    token: str | None
    path: Path | None


class Session:
    """A connection for one command. It joins no room: whoever looks is not there."""

    def __init__(self, connection: Connection, out: Output) -> None:
        self._connection = connection
        self.out = out
        self.url = connection.url

    def link(self, room: str) -> RoomLink:
        """What subscriptions are made on."""
        from ..client.link import RoomLink

        return self._connection.link(room, RoomLink)

    async def ask(self, op: str, room: str | None = None, *, within: float = REQUEST_TIMEOUT, **fields: Any) -> dict[str, Any]:
        """One request; `within` in seconds.

        Raises:
            NoLagError: the broker's refusal, or no answer in time.
        """
        if room is not None:
            fields["room"] = room
        return await self._connection.acall(op, within=within, **fields)

    async def rooms(self, named: str | None) -> list[str]:
        """The rooms a command is about: the one that was named, or all that the token covers.

        Raises:
            RoomNotFound: the named one is not there.
        """
        known = [room["name"] for room in (await self.ask("rooms.list"))["rooms"]]
        if named is None:
            return sorted(known)
        if named not in known:
            there = ", ".join(sorted(known)[:10]) or "none yet"
            raise RoomNotFound(f"there is no room {named!r} that this token covers; there are: {there}")
        return [named]


Command = Callable[[Session], Awaitable[int | None]]


def with_broker(access: Access, as_json: bool, command: Command) -> None:
    """Run one command against the broker and end the process with its answer: 0 yes, 1 no, 2 wrong use."""
    run(as_json, lambda out: _connected(access, out, command))


def run(as_json: bool, main: Callable[[Output], Awaitable[int | None]]) -> None:
    """Run the asynchronous part of a command; typed errors become one line."""
    out = Output(as_json)

    async def wait() -> int | None:
        return await main(out)

    try:
        status = asyncio.run(wait())
    except NoLagError as error:
        out.fail(error, WRONG_USE if isinstance(error, BadRequest) else NO)
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C, or a signal that a command takes for one
        out.fail("interrupted", INTERRUPTED)
    if status:
        raise typer.Exit(status)


async def _connected(access: Access, out: Output, command: Command) -> int | None:
    from ..client.connection import Connection
    from ..client.credentials import resolve

    credentials = resolve(access.url, access.token, access.path)
    connection = Connection(credentials.url, credentials.token, connect_timeout=CONNECT_TIMEOUT)
    try:
        await connection.aopen()
        return await command(Session(connection, out))
    except BrokerUnreachable:
        where = f"no broker answers at {credentials.url}"
        raise BrokerUnreachable(f"{where}; start one with `langgraph-nolag broker`, or name another with --url or --path") from None
    finally:
        await connection.aclose(timeout=1.0)
