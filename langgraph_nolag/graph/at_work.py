"""A worker while it runs: its nodes, tools and handlers stand in the room, until it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..client.io import settled
from ..client.link import RoomLink
from ..patterns.serving import Serving
from ..patterns.threads import RUN
from .remote.serving import Body, NodeServing
from .runs.orchestrator import Orchestrated, Orchestrator

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from ..patterns.handed import HandedTask

log = logging.getLogger("langgraph_nolag")

RUNS_AT_A_TIME: Final = 100  # of a worker: they do little but wait for nodes


@dataclass(slots=True)
class Served:
    """What a worker serves.

    Attributes:
        bodies: of nodes and agents, by graph and path.
        tools: by how often a call may be tried.
        handlers: of tasks, by type.
        graphs: those that it runs as a whole.
    """

    bodies: dict[str, Body] = field(default_factory=dict)
    tools: dict[int, list[BaseTool | Callable[..., Any]]] = field(default_factory=dict)
    handlers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    graphs: list[Orchestrated] = field(default_factory=list)


class AtWork:
    """From the first offer to the last answer."""

    def __init__(self, served: Served, capabilities: Sequence[str], concurrency: int) -> None:
        self._served = served
        self._capabilities = capabilities
        self._concurrency = concurrency
        self._nodes = NodeServing(served.bodies, concurrency)
        self._others: list[Serving] = []  # tools, handlers and runs
        self._link: RoomLink | None = None

    async def start(self, link: RoomLink) -> None:
        """Stand in the room. Raises: NoLagError: an offer was refused."""
        self._link = link
        for offer in self._nodes.offer(link, sorted(self._served.bodies), self._capabilities):
            await settled(offer.ready)
        if self._served.tools or self._served.handlers:
            from ..patterns.room import Room

            room = Room(link)
            for max_attempts, tools in self._served.tools.items():
                self._others.append(room.tools.serve(tools, concurrency=self._concurrency, max_attempts=max_attempts))
            for type, handler in self._served.handlers.items():
                self._others.append(
                    room.handoff.serve(handler, types=[type], capabilities=self._capabilities, concurrency=self._concurrency)
                )
        if self._served.graphs:
            runs = Orchestrator(link, self._served.graphs)
            self._others.append(
                Serving(link, runs, kind=RUN, types=runs.types, capabilities=self._capabilities, concurrency=RUNS_AT_A_TIME)
            )
        for serving in self._others:
            await serving.start()

    def running(self) -> list[HandedTask]:
        """Tool calls and tasks whose handlers have not ended. From any thread."""
        return [handed for serving in self._others for handed in serving.handed()]

    async def until(self, stop: Any) -> None:
        """Wait for the sign to stop. Raises: NoLagError: why not all is served any more: whoever started this worker is to know."""
        assert self._link is not None
        stopping, shut_out = asyncio.ensure_future(stop), asyncio.ensure_future(self._link.shut_out.wait())
        try:
            await asyncio.wait({stopping, shut_out}, return_when=asyncio.FIRST_COMPLETED)
            if shut_out.done():
                raise shut_out.result()
        finally:
            stopping.cancel()
            shut_out.cancel()

    async def stop(self, drain_timeout: float) -> int:
        """Take nothing new, of any kind, finish what runs, hand back what takes too long. Returns how many bodies still run."""
        left = 0
        others = [asyncio.ensure_future(serving.close(drain_timeout)) for serving in self._others]
        idle = self._nodes.drain()
        try:
            async with asyncio.timeout(drain_timeout):
                for each in idle:
                    await settled(each)
        except TimeoutError:
            left = self._nodes.hand_back("the worker stops")
            log.warning("handed back %d running nodes: they did not finish within %s s", left, drain_timeout)
        await asyncio.gather(*others)
        await asyncio.to_thread(self._nodes.stop)
        return max(left, self._nodes.running) + sum(serving.running for serving in self._others)
