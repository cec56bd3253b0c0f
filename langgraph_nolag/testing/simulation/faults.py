"""What goes wrong: a fault every now and then, of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .network import Link

if TYPE_CHECKING:
    from .world import World

EVERY = 0.3  # seconds between two faults, on average


class Faults:
    """Lets things go wrong in a world until it is told to stop; then everything is well again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinds: dict[str, Callable[[], bool]] = {
            "broker killed": self._crash,
            "broker stopped by its disk": self._disk_fails,
            "disk slow": self._slow_disk,
            "connection reset": self._reset,
            "connection silent": self._silent,
            "connection lags": self._lag,
            "network slow": self._slow_network,
            "requests duplicated": self._duplicate,
            "process killed": self._kill,
            "process paused": self._pause,
            "wall clock set": self._set_clock,
        }
        self._weights = [1, 1, 1, 4, 1, 3, 2, 3, 2, 2, 1]

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """All that can be hit; some of them only when a fault meets the right moment."""
        return (
            "broker killed",
            "broker stopped by its disk",
            "commit lost",
            "commit stored and not said",
            "disk slow",
            "connection reset",
            "connection silent",
            "connection lags",
            "message lost",
            "network slow",
            "requests duplicated",
            "resent",
            "process killed",
            "process paused",
            "paused past its lease",
            "wall clock set",
            "log trimmed",
            "large value put again",
            "gap told",
        )

    async def run(self) -> None:
        world = self._world
        while True:
            await asyncio.sleep(world.chance.expovariate(1 / EVERY))
            (kind,) = world.chance.choices(list(self._kinds), self._weights)
            if self._kinds[kind]():
                world.hit(kind)

    def heal(self) -> None:
        """The disk and the network are fast again, the broker is up, and the clock shows no earlier time than it ever did."""
        world = self._world
        world.weather.slow, world.weather.fails_next = 1.0, None
        world.network.typical = 0.02
        world.moment.skew = max(world.moment.skew, self._furthest)
        world.host.start()

    _furthest = 0.0

    def _crash(self) -> bool:
        world = self._world
        if not world.host.up:
            return False
        world.crash()
        asyncio.get_running_loop().call_later(world.chance.uniform(0.01, 3.0), world.host.start)
        return True

    def _disk_fails(self) -> bool:
        self._world.weather.fails_next = self._world.chance.choice(("before", "after"))
        return True

    def _slow_disk(self) -> bool:
        self._for_a_while(self._world.weather, "slow", self._world.chance.choice((5.0, 50.0)), 1.0)
        return True

    def _slow_network(self) -> bool:
        self._for_a_while(self._world.network, "typical", self._world.chance.choice((0.05, 0.5)), 0.02)
        return True

    def _for_a_while(self, of: object, name: str, value: float, usual: float) -> None:
        setattr(of, name, value)
        asyncio.get_running_loop().call_later(self._world.chance.uniform(0.1, 3.0), setattr, of, name, usual)

    def _reset(self) -> bool:
        return self._break(Link.reset)

    def _silent(self) -> bool:
        return self._break(Link.go_silent)

    def _lag(self) -> bool:
        return self._break(Link.lag)

    def _break(self, how: Callable[[Link], None]) -> bool:
        links = [client.link for client in self._world.clients.values() if client.link is not None]
        if links:
            how(self._world.chance.choice(links))
        return bool(links)

    def _duplicate(self) -> bool:
        """What is unanswered is sent again on another connection, and may arrive on both."""
        links = [client.link for client in self._world.clients.values() if client.waiting and client.link is not None]
        if links:
            self._world.chance.choice(links).lag()
        return bool(links)

    def _kill(self) -> bool:
        actor = self._world.chance.choice(list(self._world.clients))
        self._world.restart(actor)
        return True

    def _pause(self) -> bool:
        world = self._world
        client = world.chance.choice(list(world.clients.values()))
        seconds = world.chance.uniform(0.5, 3 * world.settings.lease)
        if client.paused:
            return False
        client.pause(seconds)
        if seconds > world.settings.lease:
            world.hit("paused past its lease")
        return True

    def _set_clock(self) -> bool:
        moment = self._world.moment
        moment.skew += self._world.chance.choice((-3600.0, -10.0, 10.0, 3600.0))
        self._furthest = max(self._furthest, moment.skew)
        return True
