"""Graphs over a room whose only worker is this process: for tests of graphs that no other process could import.

A graph that is made inside a function, of local classes and closures, can't be served elsewhere. Here the worker serves the very graph
object, so it can, and async bodies run on the loop that runs the graph, where a test's fixtures live. All else is real: every node's
input, configuration and outcome is encoded, goes through a broker, and is decoded, so a test finds what would not survive that: state
that can't be serialised, objects that are shared by identity, context variables.

    with LocalBroker() as broker, Loopback(broker.room("test")) as loopback:
        remote = loopback.distribute(graph)
        assert remote.invoke(inputs) == graph.invoke(inputs)
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

from ..client.connection import Connection
from ..client.link import RoomLink
from ..client.rooms import RoomHandle
from ..graph.context import current
from ..graph.distribute import DistributedGraph, Distribution, spread, undistributed
from ..graph.errors import UntrustedType
from ..graph.remote.key import graph_name
from ..graph.remote.nodes_of import bodies, check_names, check_whole, under, wholes
from ..graph.remote.serving import Body, NodeServing
from ..graph.serde.codec import Codec
from ..graph.serde.trust import Trust, is_local, reference, trust_of

SLOTS = 128  # bodies at a time; a test that waits for several at once needs them all
CLOSE_TIMEOUT = 2.0  # seconds for a connection to end


class Loopback:
    """A worker in this process, for graphs distributed with it. Closed with the block, or with `close()`.

    Args:
        room: where the nodes' tasks go. The orchestrators and the worker have a connection each.
        capabilities: what the worker can do, for `pools`.

    Attributes:
        graphs: how many were distributed so far.

    Raises:
        NoLagError: the broker can't be reached, or refuses the token.
    """

    def __init__(self, room: RoomHandle, capabilities: Sequence[str] = ()) -> None:
        self._connections = [Connection(room.url, room.token) for _ in range(2)]
        for connection in self._connections:
            connection.open()
        self._link, self._worker = (connection.link(room.name, RoomLink) for connection in self._connections)
        self._capabilities = list(capabilities)
        self._bodies: dict[str, Body] = {}
        self._serving = _Serving(self._bodies, SLOTS)
        self.graphs = 0

    @property
    def bodies_run(self) -> int:
        """How many nodes' bodies the broker handed to the worker so far."""
        return self._serving.taken

    def distribute(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        *,
        pools: Mapping[str, Sequence[str]] | None = None,
        local: Collection[str] = (),
        whole: Collection[str] = (),
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
        allow: Iterable[type] = (),
    ) -> LoopbackGraph:
        """As `langgraph_nolag.distribute`, and this process serves the graph. Two calls make two graphs, each with tasks of its own.

        Raises:
            ValueError: `pools`, `local` or `whole` name what is not there.
        """
        pools = pools or {}
        check_names(graph, pools, "pools=")
        check_names(graph, local, "local=")
        check_whole(graph, whole, pools, local)
        codec = Codec(HereTrust(trust_of(graph, allow)))
        self.graphs += 1
        name = f"{graph_name(graph)}.{self.graphs}"
        served = [Body(name, path, body, codec) for path, body in (*bodies(graph), *wholes(graph)) if under(path, local) is None]
        self._bodies.update((body.type, body) for body in served)
        self._serving.offer(self._worker, [body.type for body in served], self._capabilities)
        changed = {name: value for name, value in (("checkpointer", checkpointer), ("store", store)) if value is not None}
        here = Here(self._link, name, graph, codec, pools, local, whole, loops=self._serving.loops)
        return spread(LoopbackGraph, here, changed)

    @contextmanager
    def every_graph(self) -> Iterator[None]:
        """Inside the block `compile()` gives graphs that are distributed with this loopback: to run existing code over it."""
        compile: Callable[..., CompiledStateGraph[Any, Any, Any, Any]] = StateGraph.compile

        @functools.wraps(compile)
        def compile_distributed(*args: Any, **kwargs: Any) -> LoopbackGraph:
            return self.distribute(compile(*args, **kwargs))

        setattr(StateGraph, "compile", compile_distributed)  # noqa: B010 - its type is not that of a method
        try:
            yield
        finally:
            setattr(StateGraph, "compile", compile)  # noqa: B010

    def close(self) -> None:
        """Hand back what runs and end the worker. Blocks, within a bound."""
        self._serving.hand_back("the loopback was closed")
        self._serving.stop()
        for connection in self._connections:
            connection.close(CLOSE_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Serving(NodeServing):
    """Runs async bodies on the loop that runs their graph."""

    def __init__(self, bodies: Mapping[str, Body], slots: int) -> None:
        super().__init__(bodies, slots)
        self.loops: dict[str, asyncio.AbstractEventLoop] = {}  # by graph

    def loop_of(self, body: Body) -> asyncio.AbstractEventLoop:
        return self.loops.get(body.graph) or super().loop_of(body)


@dataclass(frozen=True, slots=True)
class Here(Distribution):
    """A distribution over this process.

    Attributes:
        loops: where graphs run, by name.
    """

    loops: dict[str, asyncio.AbstractEventLoop] = field(default_factory=dict)


class LoopbackGraph(DistributedGraph):
    """A distributed graph that is an ordinary one inside a remote node: there a worker would have it as its module made it."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        if _on_worker():
            yield from undistributed(self).stream(input, config, **kwargs)
        else:
            yield from super().stream(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        assert isinstance(self.distribution, Here)
        self.distribution.loops[self.distribution.name] = asyncio.get_running_loop()
        chunks = undistributed(self).astream(input, config, **kwargs) if _on_worker() else super().astream(input, config, **kwargs)
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk


def _on_worker() -> bool:
    context = current()
    return context is not None and context.remote


class HereTrust(Trust):
    """The allow-list of a graph, with the classes that only this process knows, as if they stood at the top of their module."""

    def __init__(self, trust: Trust) -> None:
        super().__init__(trust.classes, trust.modules)

    def check(self, cls: type) -> Any:
        if not is_local(cls):
            return super().check(cls)
        if not self.allows(reference(cls)):
            raise UntrustedType(f"{reference(cls)} is not among the classes of this graph: annotate it in the state")
        return self._remember(cls)

    def exception_name(self, cls: type[BaseException]) -> str:
        return self._remember(cls) if is_local(cls) else super().exception_name(cls)

    def exception(self, ref: str) -> type | None:
        return self._known.get(ref) or super().exception(ref)

    def _remember(self, cls: type) -> str:
        """A name of its own: another call of the same function makes another class of the same name."""
        ref = f"{reference(cls)}#{id(cls):x}"
        self._known[ref] = cls
        return ref
