"""The machine that the broker runs on: it starts the process, and kills it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, cast

from nolag_broker.core.turn import Env
from nolag_broker.engine.base import StorageFailed
from nolag_broker.server.attending import attend
from nolag_broker.server.auth import EVERYTHING, Authority, Identity, Revocations
from nolag_broker.server.blobs import Blobs
from nolag_broker.server.broker import PATIENCE
from nolag_broker.server.calendar import CALENDAR
from nolag_broker.server.connection import Connection
from nolag_broker.server.context import Context
from nolag_broker.server.handshake import welcome
from nolag_broker.server.hosted import HostedRoom
from nolag_broker.server.inside import Inside
from nolag_broker.server.node import Node
from nolag_broker.server.retention import Retention
from nolag_broker.server.sessions import Sessions
from nolag_broker.server.unloading import Unloading
from nolag_broker.server.waking import wake_rooms, watch_the_clock
from nolag_broker.settings import Settings
from nolag_broker.wire.grants import Grants

from .disk import Disk, SimulatedEngine, Weather
from .network import Link, ServerEnd

WALL = 1_800_000_000.0  # seconds since 1970, when a simulation begins


class Moment:
    """The clocks of the machine and its chance. The wall clock can be set; the other one can't."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.skew = 0.0
        self._ids = 0
        self._loop = asyncio.get_running_loop()

    def env(self) -> Env:
        now = self._loop.time()
        return Env(now, WALL + now + self.skew, self.chance.random, self._new_id, CALENDAR)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:032x}"


class SimulatedNode(Node):
    """The node, at simulated moments."""

    moment: Moment
    on_defect: Callable[[Exception], None]

    def env(self) -> Env:
        return self.moment.env()

    def _report(self, what: str, hosted: HostedRoom, error: Exception) -> None:
        """A broker lives on with it; a simulation is there to find it."""
        self.on_defect(error)


class TrustingAuthority(Authority):
    """A token is the actor's name: signatures are not what is simulated."""

    def __init__(self) -> None:
        super().__init__(b"", Revocations())
        self._grants = Grants.parse(EVERYTHING)

    def verify(self, token: Any) -> Identity:
        return Identity(token, self._grants, frozenset(), token, (), 0.0, 1e12)


class Host:
    """Runs one broker process at a time on the disk.

    Args:
        engine, node: of each process; a test may plant its own.
    """

    def __init__(
        self,
        disk: Disk,
        weather: Weather,
        moment: Moment,
        settings: Settings,
        engine: type[SimulatedEngine] = SimulatedEngine,
        node: type[SimulatedNode] = SimulatedNode,
        when_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.disk = disk
        self.settings = settings
        self.lives = 0
        self._weather = weather
        self._moment = moment
        self._engine_type = engine
        self._node_type = node
        self._when_failed = when_failed
        self._life: _Life | None = None
        self.unexpected: list[BaseException] = []

    @property
    def up(self) -> bool:
        return self._life is not None

    def start(self) -> None:
        if self._life is None:
            self.lives += 1
            self._life = _Life(self, self._engine_type(self.disk, self._weather), self._node_type, self._moment)

    def accept(self, link: Link) -> bool:
        """False: nobody listens."""
        if self._life is None:
            return False
        self._life.serve(link)
        return True

    def crash(self) -> None:
        """kill -9, and the power too: what is not synced is gone."""
        life, self._life = self._life, None
        if life is not None:
            life.end(Link.go_silent)
            self.disk.crash()

    def failed(self, error: BaseException) -> None:
        """The process can't go on: it says so, and ends."""
        if not isinstance(error, StorageFailed):
            self.unexpected.append(error)
        life, self._life = self._life, None
        if life is not None:
            life.end(Link.closed_by_server)
            self.disk.crash()
            self._when_failed()


class _Life:
    """One broker process."""

    def __init__(self, host: Host, engine: SimulatedEngine, node_type: type[SimulatedNode], moment: Moment) -> None:
        self.engine = engine
        self._host = host
        settings, authority = host.settings, TrustingAuthority()
        revocations = Revocations()
        sessions = Sessions(2 * settings.heartbeat + PATIENCE, revocations)
        self.node = node = node_type(
            engine, settings, on_failure=self._failed, on_lost=sessions.close_lost, on_absent=sessions.leave_absent
        )
        node.moment, node.on_defect = moment, host.unexpected.append
        node.spawn(wake_rooms(node))
        node.spawn(watch_the_clock(node))
        self._context = Context(
            settings=settings,
            node=node,
            blobs=Blobs(engine, settings.keep_uploads, settings.trim_every, asyncio.get_running_loop().time),
            inside=Inside(node),
            authority=authority,
            revocations=revocations,
            sessions=sessions,
            open_rooms=True,
        )
        unloading = Unloading(node, self._context.sessions, settings.unload_after)
        node.spawn(Retention(node, unloading, settings.trim_every).run())
        node.spawn(self._context.blobs.run())
        self._links: dict[Link, asyncio.Task[None]] = {}

    def serve(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(link.server))
        self._links[link] = task
        task.add_done_callback(lambda _: self._links.pop(link, None))

    async def _serve(self, end: ServerEnd) -> None:
        session = await welcome(self._context, cast("Connection", end))
        if session is not None:
            await attend(session)
        await end.close()

    def _failed(self, error: BaseException) -> None:
        if self.engine.alive:
            asyncio.get_running_loop().call_soon(self._host.failed, error)

    def end(self, cut: Callable[[Link], None]) -> None:
        self.engine.alive = False
        self._context.sessions.stop()
        for link, task in list(self._links.items()):
            cut(link)
            link.server.broke()
            task.cancel()
            asyncio.get_running_loop().call_later(0.01, link.client.broke, link)
        self._ending = asyncio.get_running_loop().create_task(self.node.stop())
