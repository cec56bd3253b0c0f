"""Connections between simulated processes: late, in order as long as they hold, and then broken in one of several ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from websockets.exceptions import ConnectionClosedError
from websockets.protocol import State

from nolag_broker.server.inlet import Inlet

STEP: Final = 1e-6  # seconds between two messages of a connection: they keep their order


class Peer(Protocol):
    """The client's side of a connection."""

    def received(self, link: Link, message: bytes) -> None: ...
    def broke(self, link: Link) -> None: ...


class Network:
    """How long messages take, and how many there were."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.typical = 0.02  # seconds a message takes
        self.delivered = 0
        self.lost = 0

    def latency(self) -> float:
        return self.chance.expovariate(1 / self.typical)


class Link:
    """One connection: both directions of it."""

    def __init__(self, network: Network, client: Peer) -> None:
        self.client = client
        self.server = ServerEnd(self)
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._up = self._down = 0.0  # when the last message of a direction arrives
        self._up_open = self._down_open = True

    def to_server(self, message: bytes) -> None:
        self._up = max(self._up + STEP, self._loop.time() + self._network.latency())
        self._loop.call_at(self._up, self._arrive_up, message)

    def to_client(self, message: bytes) -> None:
        self._down = max(self._down + STEP, self._loop.time() + self._network.latency())
        self._loop.call_at(self._down, self._arrive_down, message)

    def _arrive_up(self, message: bytes) -> None:
        if self._up_open and self.server.state is State.OPEN:
            self._network.delivered += 1
            self.server.arrived(message)
        else:
            self._network.lost += 1

    def _arrive_down(self, message: bytes) -> None:
        if self._down_open:
            self._network.delivered += 1
            self.client.received(self, message)
        else:
            self._network.lost += 1

    def reset(self) -> None:
        """What is under way is lost; both sides learn of it, one after the other."""
        self.go_silent()
        self._loop.call_later(self._network.chance.uniform(0, 0.5), self.client.broke, self)
        self._loop.call_later(self._network.chance.uniform(0, 0.5), self.server.broke)

    def go_silent(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._up_open = self._down_open = False

    def lag(self) -> None:
        """The client sees it broken at once; what it had sent arrives, late, while it may be back on another connection."""
        self._down_open = False
        self._up += self._network.chance.uniform(0, 3.0)
        self._loop.call_soon(self.client.broke, self)
        self._loop.call_at(self._up + STEP, self.server.broke)

    def closed_by_server(self) -> None:
        """In order, after what the server had said."""
        self._down = max(self._down + STEP, self._loop.time() + self._network.latency())
        self._loop.call_at(self._down, self._told)
        self._up_open = False

    def _told(self) -> None:
        if self._down_open:
            self._down_open = False
            self.client.broke(self)


class ServerEnd:
    """What the server takes for a WebSocket connection: as much of one as it uses."""

    def __init__(self, link: Link) -> None:
        self.held = False
        self.writer: Any = None
        self.state = State.OPEN
        self.protocol = self.transport = self  # the server looks through the connection at these
        self.inlet = Inlet(lambda: None, lambda: None)
        self.on_data: Callable[[], None] | None = None
        self._link = link
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def admit(self, max_message: int) -> None: ...

    def arrived(self, message: bytes) -> None:
        if self.on_data is not None:
            self.on_data()
        self.inlet.put(message)

    def broke(self) -> None:
        self.state = State.CLOSED
        self.inlet.end()
        if not self._closed.done():
            self._closed.set_result(None)

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    async def send(self, message: bytes) -> None:
        if self.state is not State.OPEN:
            raise ConnectionClosedError(None, None)
        self._link.to_client(message)

    def write(self, data: bytes) -> None:
        """A WebSocket frame, as the writer puts it together."""
        short = data[1] & 0x7F
        self._link.to_client(data[2 if short < 126 else 4 if short == 126 else 10 :])

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.state is State.OPEN:
            self._link.closed_by_server()
            self.broke()

    def abort(self) -> None:
        if self.state is State.OPEN:
            self._link.closed_by_server()
            self.broke()
