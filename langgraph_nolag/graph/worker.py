"""A worker process: serves nodes of graphs, tools, and handlers of handed-off tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Any, Final, TypeVar

from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

from nolag_broker.ending import End, leave, signals_taken

from ..client.callables import check_callable
from ..client.connection import Connection
from ..client.credentials import Token, parse_address, resolve
from ..client.io import settled
from ..client.link import RoomLink
from ..client.names import names
from ..client.rooms import RoomHandle
from ..errors import BadRequest, Refused
from ._compat import is_entrypoint
from .agents import KIND, ServedAgent
from .at_work import AtWork, Served
from .distribute import Distributed
from .errors import NotSupported
from .remote.key import public_name
from .remote.nodes_of import bodies, check_names, under, wholes
from .remote.place import CANCEL_TIMEOUT
from .remote.serving import Body
from .remote.waiting import served
from .runs.orchestrator import Orchestrated
from .serde.codec import Codec
from .serde.trust import trust_of

log = logging.getLogger("langgraph_nolag")

T = TypeVar("T")

ENDS_WITHIN: Final = 10.0  # seconds after `drain_timeout`, of a process whose handlers do not end
SHOWN: Final = 5  # graphs named in the line that says what is served
TOKEN_TTL: Final = 3600.0  # seconds; of the token a worker mints for itself


class Worker:
    """What one process does for a room. Declare it in a module, and run it with `langgraph-nolag worker module:app`.

    Args:
        room: the room's name, its address `ws://HOST:PORT/ROOM`, or a handle.
        capabilities: what this worker can do.
        concurrency: how many bodies, tool calls and tasks run at a time: so many of each kind.
        url: the broker; None: from the environment, or the credentials of a broker on this machine.
        token: a token or a provider of them; None: likewise. Where it may, the worker mints itself one as `<actor>/<suffix>`, so
            that every process is an actor of its own.
        actor: whose token it must be; None: any.
        drain_timeout: seconds that running work has to finish when the worker is asked to stop; then it is handed back, and the
            process ends within 10 seconds more.
    """

    def __init__(
        self,
        room: str | RoomHandle,
        capabilities: Sequence[str] = (),
        concurrency: int = 5,
        *,
        url: str | None = None,
        token: Token | None = None,
        actor: str | None = None,
        drain_timeout: float = 30.0,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        if not isinstance(room, (str, RoomHandle)):
            raise BadRequest(f"not a room: {room!r}; expected its name, broker.room(name), or 'ws://HOST:PORT/ROOM'")
        self.room = room
        self.capabilities = names(capabilities, "capabilities")
        self._served = Served()
        self.concurrency = concurrency
        self.url = url
        self.token = token
        self.actor = actor
        self.drain_timeout = drain_timeout
        self._at_work: AtWork | None = None  # while it runs, and what ran last
        self._left_behind = 0  # bodies, calls and handlers that were handed back and did not stop

    # --- what it serves -------------------------------------------------------------------------------------

    def graph(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        nodes: Collection[str] | None = None,
        *,
        name: str | None = None,
        allow: Iterable[type] = (),
        resume: bool = False,
        pools: Mapping[str, Sequence[str]] | None = None,
        local: Collection[str] = (),
        whole: Collection[str] = (),
        timeout: float | None = None,
        cancel_timeout: float = CANCEL_TIMEOUT,
        store: BaseStore | None = None,
    ) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Serve a graph's nodes, for whoever distributes this version of it.

        With `resume=True` this worker also runs the graph as a whole: it takes up threads whose gate was decided, whose schedule came or
        whose orchestrator died, and runs that were started with `room.runs.start`. Its checkpoints are in the worker's room.

        Args:
            graph: the compiled graph.
            nodes: only these nodes or sub-graphs; None: all.
            name, allow: as given to `distribute`.
            resume: whether it runs the graph.
            pools, local, whole, timeout, cancel_timeout, store: as for `distribute`, for runs that nobody distributed.

        Raises:
            NotSupported: `resume=True`, and the graph has a checkpointer that is not the room's.
            ValueError: `nodes` names no node of the graph, or another graph of this worker looks the same and has the same name.
        """
        if isinstance(graph, Distributed):
            graph = graph.distribution.original
        if not isinstance(graph, CompiledStateGraph) and not (is_entrypoint(graph) and not resume):
            raise NotSupported(f"a worker serves compiled StateGraphs, and entrypoints without resume=True; not {type(graph).__name__}")
        if nodes is not None:
            check_names(graph, nodes, "nodes=")
        called, codec = public_name(graph, name), Codec(trust_of(graph, allow))
        for path, runnable in (*bodies(graph), *wholes(graph)):
            if nodes is None or under(path, nodes) is not None:
                key = f"{called}/{path}"
                if (known := self._served.bodies.get(key)) is not None and known.runnable is not runnable:
                    raise ValueError(f"two graphs are called {called}: give them a name= here and in distribute()")
                self._served.bodies[key] = Body(called, path, runnable, codec)
        if resume:
            given: dict[str, Any] = {"pools": pools, "local": local, "whole": whole, "timeout": timeout, "cancel_timeout": cancel_timeout}
            orchestrated = Orchestrated(graph, called, store=store, allow=tuple(allow), **given)
            self._served.graphs = [*(known for known in self._served.graphs if known.called != called), orchestrated]
        return graph

    def agent(
        self, graph: CompiledStateGraph[Any, Any, Any, Any], name: str | None = None, *, allow: Iterable[type] = ()
    ) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Serve an agent, as `create_agent` makes it, or any compiled graph with `messages` in its state: for `room_agent(name)`, wherever
        that is. It runs here as a whole; what it streams and asks, its commands for the graph around it, and its checkpoints go to the
        caller.

        Args:
            graph: the agent.
            name: what callers know it by; None: the graph's own name.
            allow: further classes in the values of its state that go over.

        Raises:
            NotSupported: it has no name, or no messages.
            ValueError: this worker serves another agent of that name.
        """
        served = ServedAgent(graph, name)
        key = f"{KIND}/{served.name}"
        if key in self._served.bodies:
            raise ValueError(f"two agents are called {served.name!r}")
        self._served.bodies[key] = Body(KIND, served.name, served, Codec(trust_of(graph, allow)))
        return graph

    def tool(self, tool: Any, *, max_attempts: int = 1) -> Any:
        """Serve a LangChain tool, or a function as one; also a decorator.

        Args:
            max_attempts: as of `room.tools.serve`: more than 1 for a tool that may run again elsewhere when its process died.
        """
        self._served.tools.setdefault(max_attempts, []).append(tool)
        return tool

    def task(self, type: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Serve tasks of a type with `handler(task) -> result`; also a decorator."""

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            check_callable(handler, "handler")
            self._served.handlers[type] = handler
            return handler

        return register

    # --- running --------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        url: str | None = None,
        token: Token | None = None,
        concurrency: int | None = None,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then finish what runs; a second signal ends the process at once. On the main thread.

        The process ends within `drain_timeout` and 10 seconds more, whatever its handlers do: with code 0 where it could hand back what
        still ran, with code 1 where it could not (a handler blocks the event loop): then the room gives that to others once it misses
        this process.

        Args:
            url, token, concurrency: instead of the worker's own.
            on_ready: told one line when the worker serves.

        Raises:
            NoLagError: the broker can't be reached, or refuses the worker, also one that comes back: the room is gone, or its grants are
                narrower. What it still holds then is finished as when it stops.
        """

        end = End(self._last_words)
        with ExitStack() as hearing:  # signals, until the loop has ended

            async def main() -> None:
                stop = asyncio.Event()
                hearing.enter_context(signals_taken(asyncio.get_running_loop(), stop, end, self.drain_timeout + ENDS_WITHIN))
                status = 1
                try:
                    await self.arun(url=url, token=token, concurrency=concurrency, on_ready=on_ready, stop=stop)
                    status = 0
                finally:
                    end.within(ENDS_WITHIN)
                    if self._left_behind:  # they still run: the end would wait for their threads, and for what ignores that
                        if status:
                            traceback.print_exc()
                        leave(status, _flush)

            hearing.callback(end.reached)
            asyncio.run(main())

    async def arun(
        self,
        *,
        url: str | None = None,
        token: Token | None = None,
        concurrency: int | None = None,
        on_ready: Callable[[str], None] | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Serve until `stop` is set or the caller is cancelled, then finish what runs within `drain_timeout`. As `run` otherwise."""
        if not (self._served.bodies or self._served.tools or self._served.handlers):
            raise NotSupported("this worker serves nothing: give it a graph, a tool or a task handler")
        at_work, stop = AtWork(self._served, self.capabilities, concurrency or self.concurrency), stop or asyncio.Event()
        self._at_work = at_work
        async with AsyncExitStack() as stack:

            async def begin() -> RoomLink:
                link = await self._join(stack, url or self.url, token or self.token, concurrency or self.concurrency)
                await at_work.start(link)
                return link

            try:
                link = await _unless(stop, begin())
                if link is None:
                    return  # asked to stop while the broker was away, or the room full
                link.update_presence(status="available")
                line = self._ready_line(link)
                log.info("%s", line)
                if on_ready is not None:
                    on_ready(line)
                await at_work.until(stop.wait())
            finally:
                self._left_behind = await asyncio.shield(at_work.stop(self.drain_timeout))

    def _last_words(self, seconds: float) -> None:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        where = "nowhere" if frame is None else "{0.filename}:{0.lineno} in {0.name}".format(traceback.extract_stack(frame)[-1])
        left = [] if self._at_work is None else self._at_work.running()
        named = ", ".join([*map(repr, left[:SHOWN]), *(["…"] if len(left) > SHOWN else [])])
        what = f"it leaves behind {named}, which others get once the room misses it; " if left else ""
        log.error("the worker did not stop within %g s, and is ended: %sits main thread stands at %s", seconds, what, where)
        _flush()

    def _ready_line(self, link: RoomLink) -> str:
        nodes = [body for body in self._served.bodies.values() if body.graph != KIND]
        agents = sorted(body.node for body in self._served.bodies.values() if body.graph == KIND)
        graphs = sorted({body.graph.partition("@")[0] for body in nodes})
        named = ", ".join(graphs) if len(graphs) <= SHOWN else f"{len(graphs)} graphs"
        served = [f"{len(nodes)} nodes of {named}"] if graphs else []
        served += [f"agents {', '.join(agents)}"] if agents else []
        served += [f"{sum(map(len, self._served.tools.values()))} tools"] if self._served.tools else []
        served += [f"tasks {', '.join(sorted(self._served.handlers))}"] if self._served.handlers else []
        return f"worker ready: {link.actor} in room {link.room}: {'; '.join(served)}"

    async def _join(self, stack: AsyncExitStack, url: str | None, token: Token | None, concurrency: int) -> RoomLink:
        """The room, joined as an actor of this process's own where the token allows that."""
        name = self.room
        if isinstance(name, RoomHandle):
            url, token, name = url or name.url, token or name.token, name.name
        elif "://" in name:
            address = parse_address(name)
            url, name = url or address.url, address.room or ""
        credentials = resolve(url, token)
        base = Connection(credentials.url, credentials.token, actor=self.actor)
        stack.push_async_callback(base.aclose)
        await base.aopen()
        connection = await self._own_connection(stack, base)
        link = connection.link(name, RoomLink)
        facts = {"kind": "worker", "pid": os.getpid(), **served(body.graph for body in self._served.bodies.values() if body.graph != KIND)}
        await settled(link.join(self.capabilities, concurrency, status="starting", metadata=facts))
        return link

    async def _own_connection(self, stack: AsyncExitStack, base: Connection) -> Connection:
        actor = f"{base.actor}/{base.instance[:8]}"

        async def mint() -> str:
            answer = await base.acall("token.mint", actor=actor, ttl=TOKEN_TTL)
            return str(answer["token"])

        try:
            await mint()
        except Refused:
            return base
        own = Connection(base.url, mint)
        stack.push_async_callback(own.aclose)
        await own.aopen()
        return own


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives, unless `stop` is set before it is done: then it is cancelled, and None."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        return None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working, stopping})


def _flush() -> None:
    """What was printed: a process that is left at once would not say it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or none
            stream.flush()
