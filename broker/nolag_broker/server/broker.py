"""The broker: everything put together, started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..engine.base import Engine
from ..engine.memory import MemoryEngine
from ..engine.sqlite import SqliteEngine
from ..settings import Settings
from .attending import attend
from .auth import EVERYTHING, KEY_FILE, Authority, Revocations, load_key, new_key
from .blobs import Blobs
from .connection import Connection
from .context import Context
from .handshake import welcome
from .inside import Inside
from .logs import get_logger
from .node import Node
from .operations import COMPILED, SERVER, load_revocations
from .private import write_private
from .retention import Retention
from .sessions import Sessions
from .transport import CLOSE_TIMEOUT, Transport, is_loopback
from .unloading import Unloading
from .waking import wake_rooms, watch_the_clock

log = get_logger("broker")

STOP_WITHIN: Final = 5.0  # seconds
PATIENCE: Final = 4.0  # seconds of silence, beyond two heartbeats, after which a connection is taken for dead; looked at every second
ADMIN_TTL: Final = 365 * 86400.0  # of the token in credentials.json, made anew at every start
TOKEN_TTL: Final = 30 * 86400.0


class Broker:
    """A broker in this process, on the running event loop.

    Example:
        broker = Broker(Settings(engine="memory", port=0))
        await broker.start()
        ... broker.url, broker.mint("planner") ...
        await broker.stop()
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = ""
        self.failure: BaseException | None = None
        self._engine: Engine = MemoryEngine() if settings.engine == "memory" else SqliteEngine(settings.path)
        self._transport: Transport | None = None
        self._context: Context
        self._status = "starting"
        self._broken = asyncio.Event()

    async def start(self) -> None:
        """Open the storage and listen.

        Raises:
            CannotStart, DatabaseInUse, DatabaseTooNew, StorageFailed: the message says what to do.
        """
        settings = self.settings
        await self._engine.open()
        try:
            # The key is read after the database is ours: two brokers that start at once can't both make one.
            key = new_key() if settings.engine == "memory" else load_key(settings.path / KEY_FILE)
            revocations = Revocations()
            await load_revocations(self._engine, revocations)
            sessions = Sessions(2 * settings.heartbeat + PATIENCE, revocations)
            node = Node(self._engine, settings, on_failure=self._failed, on_lost=sessions.close_lost, on_absent=sessions.leave_absent)
            self._context = Context(
                settings=settings,
                node=node,
                blobs=Blobs(self._engine, settings.keep_uploads, settings.trim_every, asyncio.get_running_loop().time),
                inside=Inside(node),
                authority=Authority(key, revocations),
                revocations=revocations,
                sessions=sessions,
                open_rooms=is_loopback(settings.host) if settings.open_rooms is None else settings.open_rooms,
            )
            self._transport = Transport(settings, self._serve, self._health)
            self.url = f"ws://{_for_url(settings.host)}:{await self._transport.start()}"
            if settings.engine != "memory":
                _write_credentials(settings.path, self.url, self.mint("admin", EVERYTHING, ttl=ADMIN_TTL))
        except BaseException:
            if self._transport is not None:
                await self._transport.stop(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)
                self._context.sessions.stop()
            await self._engine.close()
            raise
        unloading = Unloading(node, self._context.sessions, settings.unload_after)
        node.spawn(Retention(node, unloading, settings.trim_every).run())
        node.spawn(wake_rooms(node))
        node.spawn(watch_the_clock(node))
        node.spawn(self._context.blobs.run())
        self._status = "ok"

    def mint(self, actor: str, grants: Sequence[Mapping[str, Any]] | None = None, roles: Iterable[str] = (), ttl: float = TOKEN_TTL) -> str:
        """A token for one actor, good for `ttl` seconds; without grants it covers every room and every verb but `admin`.

        Raises:
            Refusal: `bad_request`.
        """
        return self._context.authority.mint(actor, grants, roles, ttl)

    async def stop(self) -> None:
        """Take nothing more, store what is decided, close every connection (1012), close the storage. Bounded."""
        if self._transport is None or self._status in ("stopping", "stopped"):
            return
        self._status = "stopping"
        deadline = asyncio.get_running_loop().time() + STOP_WITHIN
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline - CLOSE_TIMEOUT):
                await self._context.node.drain()
        await self._transport.stop(deadline)
        self._context.sessions.stop()
        await self._context.node.stop()
        await self._engine.close()
        if self.settings.engine != "memory":
            (self.settings.path / "credentials.json").unlink(missing_ok=True)
        self._status = "stopped"

    async def failed(self) -> BaseException:
        """Wait until the broker can't go on; why. (Stop it then.)"""
        await self._broken.wait()
        assert self.failure is not None
        return self.failure

    async def _serve(self, connection: Connection) -> None:
        session = await welcome(self._context, connection)
        if session is not None:
            await attend(session)

    def _health(self) -> dict[str, Any]:
        if self._status != "ok":
            return {"status": self._status, "server": SERVER}
        context = self._context
        return {
            "status": "ok",
            "server": SERVER,
            "compiled": COMPILED,
            "durability": self._engine.durability,
            "rooms": context.node.room_count,
            "connections": len(context.sessions),
        }

    def _failed(self, error: BaseException) -> None:
        self._status = "failed"
        self.failure = error
        self._broken.set()


def _for_url(host: str) -> str:
    if ":" in host:
        return f"[{host}]"
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - the address to connect to, not to listen at


def _write_credentials(folder: Path, url: str, token: str) -> None:
    """The address and an admin token, for commands on this machine; mode 0600, there as long as the broker runs."""
    write_private(folder / "credentials.json", json.dumps({"url": url, "token": token}).encode())
