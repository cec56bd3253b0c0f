"""An agent: a client that joins rooms."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ..client.asking import REQUEST_TIMEOUT
from ..client.callables import check_callback
from ..client.connection import Connection
from ..client.credentials import Token, actor_of, resolve
from ..client.io import settled
from ..client.link import RoomLink
from ..client.moment import check_seconds
from ..client.names import names
from ..client.tokens import MINT_TIMEOUT, minting
from ..errors import NoLagError, RequestTimeout
from .room import Room


class Client:
    """A connection as one actor. Awaitable from any loop; it reconnects by itself, for ever.

    Attributes:
        actor: who the token says we are.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"Client({self._connection.url}, actor={self.actor!r})"

    @property
    def actor(self) -> str:
        return self._connection.actor

    @property
    def url(self) -> str:
        return self._connection.url

    async def join(
        self,
        room: str,
        *,
        capabilities: Sequence[str] = (),
        max_concurrency: int = 1,
        status: str = "available",
        metadata: Mapping[str, Any] | None = None,
    ) -> Room:
        """Be present in a room, now and after every reconnect. Joining again changes what others see of us, or nothing where it is refused;
        `leave` of any of the rooms that it gave leaves it.

        Args:
            room: its name.
            capabilities: what this agent can do.
            max_concurrency: how many tasks at a time.
            status: anything short, for example `available`.
            metadata: a small map for others to see.

        Raises:
            RoomNotFound, NotAuthorized: we may not.
            BadRequest: `capabilities` is no list.
            RequestTimeout: the broker is away, or the room is full, for longer than 30 seconds; it is not joined later either.
        """
        capabilities = names(capabilities, "capabilities")
        this = object()  # this call holds the room until it has joined it, and we do from then on
        link = self._connection.link(room, RoomLink).hold(this)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await settled(link.join(capabilities, max_concurrency, status, metadata))
            link.hold(self)
        except TimeoutError:
            raise RequestTimeout(f"room {room} could not be joined within {REQUEST_TIMEOUT:g} s", maybe_applied=True) from None
        finally:
            link.close(this)
        return Room(link, tuple(capabilities), max_concurrency, held_by=self)

    async def rooms(self) -> list[str]:
        """The names of the rooms that our token speaks of."""
        return [room["name"] for room in (await self._connection.acall("rooms.list"))["rooms"]]

    async def ping(self) -> float:
        """Seconds to the broker and back."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self._connection.acall("ping")
        return loop.time() - start

    async def close(self) -> None:
        """Leave the rooms and close, within 2 seconds or so. What is still under way raises `Disconnected`."""
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class Connecting:
    """What `connect()` gives: `async with connect(…) as client`, or `client = await connect(…)`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def _open(self) -> Client:
        try:
            await self._connection.aopen()
        except BaseException:
            await self._connection.aclose()
            raise
        return Client(self._connection)

    async def __aenter__(self) -> Client:
        return await self._open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._connection.aclose()


def connect(
    url: str | None = None,
    *,
    token: Token | None = None,
    actor: str | None = None,
    path: str | os.PathLike[str] | None = None,
    timeout: float | None = 10.0,
    max_buffer: int = 128 << 20,
    on_disconnected: Callable[[NoLagError], object] | None = None,
) -> Connecting:
    """Connect to a broker as one actor.

    Args:
        url: `ws://HOST:PORT`; else `NOLAG_URL`, else what a broker on this machine wrote into its directory.
        token: a token, or a provider (sync or async callable) that is asked for a fresh one at every connect and before
            the old one expires; else `NOLAG_TOKEN`, else the local broker's admin token, with which a token for `actor` is minted.
        actor: who we mean to be; must be the token's actor.
        path: the broker's directory; else `NOLAG_PATH`, else `.nolag`.
        timeout: seconds until a broker that is not there is an error; None: wait for ever.
        max_buffer: bytes that may wait for the broker; more raises `BufferFull`.
        on_disconnected: called, on the SDK's own thread, when the connection ended for good; not async.

    Raises:
        BadRequest: an address, a token or a timeout that is none.

    Raises (when awaited or entered):
        BrokerUnreachable: there is no broker.
        AccessDenied: the token was refused, or the provider gave none.
        ActorMismatch: the token is for another actor.
    """
    if on_disconnected is not None:
        check_callback(on_disconnected, "on_disconnected")
    if timeout is not None:
        check_seconds(timeout, "timeout")
    credentials = resolve(url, token, path)
    address, opens = credentials.url, credentials.token
    if credentials.admin and actor is not None and isinstance(opens, str) and actor_of(opens) != actor:
        admin = opens

        def base() -> Connection:
            return Connection(address, admin, connect_timeout=MINT_TIMEOUT if timeout is None else min(timeout, MINT_TIMEOUT))

        opens = minting(base, actor)
    return Connecting(
        Connection(address, opens, actor=actor, connect_timeout=timeout, max_buffer=max_buffer, on_disconnected=on_disconnected)
    )
