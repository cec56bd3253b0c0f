"""`distribute()`: the same graph, with its nodes' bodies on worker processes.

Only the bodies leave. Edges, reducers, writers, retries, caches, timeouts and checkpoints stay in LangGraph's own loop,
in the process that invokes the graph.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

from ..client.names import names
from ..client.rooms import open_room
from ._compat import (
    CONFIG_KEY_INTERRUPTION,
    CONFIG_KEY_RUN,
    INSTANCE_ATTRIBUTES,
    Pregel,
    PregelNode,
    ambient_configurable,
    has_body,
    node_function,
)
from .checkpoint import NoLagSaver
from .ctrl_c import Interruption
from .errors import NoLagWarning, NotImportable, NotSupported
from .remote.calling import CallingNode
from .remote.key import group_of, public_name
from .remote.nodes_of import Resident, bodies, body_of, calls_tasks, check_names, check_whole, under
from .remote.place import CANCEL_TIMEOUT, Place
from .remote.proxy import LocalNode, RemoteNode
from .remote.run import Run
from .runs.opening import inherited, opening
from .saver.steps import arun as arun_steps
from .saver.steps import run as run_steps
from .serde.codec import Codec
from .serde.trust import Trust, is_local, schemas_of, trust_of, unimportable, values_of
from .unfinished import ended_elsewhere

if TYPE_CHECKING:
    from ..client.link import RoomLink
    from ..client.rooms import RoomHandle
    from ..patterns.room import Room

STEP_SLACK: Final = 1.0  # seconds that the room gives a node beyond its graph's `step_timeout`, so that LangGraph's own error comes first


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a distributed graph knows beyond LangGraph's own.

    Attributes:
        link: the room.
        name: `name@fingerprint`, as in the type of its tasks.
        original: the graph that was distributed.
        codec, pools, local, whole, timeout, cancel_timeout: how its nodes are.
    """

    link: RoomLink
    name: str
    original: Any
    codec: Codec = field(default_factory=lambda: Codec(Trust()))
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    local: Collection[str] = ()
    whole: Collection[str] = ()
    timeout: float | None = None
    cancel_timeout: float = CANCEL_TIMEOUT


class Distributed(Pregel[Any, Any, Any, Any]):
    """What runs its bodies on workers."""

    _warned = False

    def __init__(self, *, distribution: Distribution, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distribution = distribution

    def copy(self, update: dict[str, Any] | None = None) -> Any:
        return _with_attributes_of(self, super().copy(update))

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Any:
        return self.distribution.original.get_graph(config, xray=xray)

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Any:
        return await self.distribution.original.aget_graph(config, xray=xray)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        return ended_elsewhere(self.distribution.link.connection.io, self._stream(input, config, kwargs))

    def _stream(self, input: Any, config: RunnableConfig | None, kwargs: Any) -> Generator[Any, None, None]:
        run, conf, config = self._begin(config, kwargs)
        config, interruption = self._interruptible(config)
        try:
            with interruption.on_signal():
                if run is not None and (steps := opening(self, run, conf, input, config, kwargs)) is not None:
                    input, config = run_steps(self.distribution.link, steps)
                yield from super().stream(input, config, **kwargs)
                if run is not None:
                    run.stored()
        finally:
            if run is not None:
                run.end()

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        run, conf, config = self._begin(config, kwargs)
        try:
            if run is not None and (steps := opening(self, run, conf, input, config, kwargs)) is not None:
                input, config = await arun_steps(self.distribution.link, steps)
            async with aclosing(super().astream(input, config, **kwargs)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
            if run is not None:
                await run.astored()
        finally:
            if run is not None:
                await run.aend()

    def _begin(self, config: RunnableConfig | None, options: Mapping[str, Any]) -> tuple[Run | None, dict[str, Any], RunnableConfig]:
        """The run that begins, its `configurable`, and a config through which its nodes find it. Without a thread nothing outlives a
        crash."""
        given: dict[str, Any] = {**((self.config or {}).get("configurable") or {}), **((config or {}).get("configurable") or {})}
        conf = given if given.get("thread_id") is not None else {**ambient_configurable(), **given}
        thread = conf.get("thread_id")
        if thread is None:
            return None, conf, config or {}
        group = group_of(self.distribution.name, str(thread), str(conf.get("checkpoint_ns") or ""))
        run = Run(self.distribution.link, group, inherited({**ambient_configurable(), **given}, str(thread)))
        self._warn_of_durability(options.get("durability"))
        configurable = {**((config or {}).get("configurable") or {}), CONFIG_KEY_RUN: run}
        return run, conf, {**(config or {}), "configurable": configurable}

    def _interruptible(self, config: RunnableConfig) -> tuple[RunnableConfig, Interruption]:
        """The configuration through which nodes find what interrupts them: of the graph around this one, where there is one."""
        configurable = config.get("configurable") or {}
        interruption = configurable.get(CONFIG_KEY_INTERRUPTION) or ambient_configurable().get(CONFIG_KEY_INTERRUPTION) or Interruption()
        if self.checkpointer and not configurable:
            return config, interruption  # LangGraph's own error says that a thread_id is missing
        return {**config, "configurable": {**configurable, CONFIG_KEY_INTERRUPTION: interruption}}, interruption

    def _warn_of_durability(self, durability: str | None) -> None:
        saver, cls = self.checkpointer, type(self)
        survives = isinstance(saver, BaseCheckpointSaver) and not isinstance(saver, InMemorySaver)
        if durability == "sync" or cls._warned or not survives:
            return
        cls._warned = True
        cost = "everything since the run began runs" if durability == "exit" else "nodes that had finished may run"
        warnings.warn(
            f"durability={durability or 'async'!r}: if this process dies, {cost} again; pass durability='sync' to run each node once",
            NoLagWarning,
            stacklevel=_levels_to_the_caller(),
        )


def _levels_to_the_caller() -> int:
    """How far up, for whoever asks, the first frame is that is neither ours nor LangGraph's: LangGraph's calls are of any depth."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("langgraph_nolag", "langgraph"):
        frame, levels = frame.f_back, levels + 1
    return levels


class DistributedGraph(Distributed, CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose nodes' bodies run on workers; used like any other."""


class DistributedEntrypoint(Distributed):
    """A function under `@entrypoint` whose tasks run on workers; used like any other."""


def _with_attributes_of(graph: Pregel[Any, Any, Any, Any], made: Any) -> Any:
    """`copy()` hands constructor arguments on and loses what compile() sets afterwards."""
    for name in INSTANCE_ATTRIBUTES:
        if hasattr(graph, name):
            setattr(made, name, getattr(graph, name))
    return made


def distribute(
    graph: Pregel[Any, Any, Any, Any],
    room: RoomHandle | Room | RoomLink | str,
    *,
    pools: Mapping[str, Sequence[str]] | None = None,
    local: Collection[str] = (),
    whole: Collection[str] = (),
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    store: BaseStore | None = None,
    name: str | None = None,
    allow: Iterable[type] = (),
    timeout: float | None = None,
    cancel_timeout: float = CANCEL_TIMEOUT,
) -> Distributed:
    """A copy of a compiled graph whose nodes run on the room's workers.

    Workers serve it with `Worker.graph(graph)`; a task reaches only those that have this version of the graph. With a
    checkpointer and `durability="sync"` a node that has finished never runs again, whoever dies: a process that invokes
    the thread after a crash finds what runs or is done.

    Args:
        graph: as `compile()` gives it, or a function under `@entrypoint`, whose tasks go to workers; it stays as it is.
        room: where the workers are.
        pools: by node (or sub-graph): the capabilities that a worker must have to run it.
        local: nodes (or sub-graphs) that stay in this process. Others, also those of sub-graphs as `outer/inner`, run on workers.
        whole: sub-graphs that run on one worker from beginning to end, each time one is called; of others each node is a task of its own.
        checkpointer: instead of the graph's own.
        store: instead of the graph's own.
        name: of the graph, for its workers; give `Worker.graph` the same. None: the graph's own, or its module.
        allow: further classes that nodes exchange, where the schemas do not name them.
        timeout: seconds that a node on a worker may take each time it runs, waiting for a worker included; then `TaskTimeout`, within 5
            seconds more if the broker is away. None: no bound, but that of the graph's `step_timeout`.
        cancel_timeout: seconds that a node on a worker has to end when it is cancelled, by whatever; the caller waits for that, as it does
            in one process. Then nothing that the node still does counts, and the caller goes on. 0: it does not wait.

    Raises:
        NotImportable: a node or a class of the state is defined where no worker can import it.
        NotSupported: this is neither a compiled StateGraph nor an entrypoint, or a sub-graph can't run whole.
        BadRequest: one of `pools` is no list.
        ValueError: `pools` or `local` name no node of this graph, or `whole` no sub-graph, or `pools` and `local` what is in one.
    """
    if isinstance(graph, StateGraph):
        raise NotSupported("distribute() takes a compiled graph: call builder.compile() first")
    if not isinstance(graph, CompiledStateGraph) and not calls_tasks(graph):
        raise NotSupported(f"distribute() takes a compiled StateGraph or an entrypoint, not {type(graph).__name__}")
    pools = {node: names(pool, f"pools[{node!r}]") for node, pool in (pools or {}).items()}
    check_names(graph, pools, "pools=")
    check_names(graph, local, "local=")
    check_whole(graph, whole, pools, local)
    check_importable(graph, [(path, body) for path, body in bodies(graph) if under(path, local) is None])
    distribution = Distribution(
        open_room(room), public_name(graph, name), graph, Codec(trust_of(graph, allow)), pools, local, whole, timeout, cancel_timeout
    )
    changed = {name: value for name, value in (("checkpointer", checkpointer), ("store", store)) if value is not None}
    cls: Any = DistributedGraph if isinstance(graph, CompiledStateGraph) else DistributedEntrypoint
    made: Distributed = spread(cls, distribution, changed)
    return made


Made = TypeVar("Made", bound=Distributed)


def spread(cls: type[Made], distribution: Distribution, changed: Mapping[str, Any]) -> Made:
    """The distributed copy of a graph that was found fit for it.

    Args:
        cls: what the copy is.
        changed: other attributes for the copy.
    """
    codec, pools = distribution.codec, distribution.pools

    def place(path: str, timeout: float | None) -> Place:
        pool = under(path, pools)
        capabilities = tuple(pools[pool]) if pool is not None else ()
        return Place(distribution.link, distribution.name, path, capabilities, codec, timeout, distribution.cancel_timeout)

    graph = distribution.original
    attributes = {**_attributes(graph), "nodes": _nodes(graph, "", distribution, place, distribution.timeout), **changed}
    if isinstance(saver := attributes["checkpointer"], NoLagSaver):
        attributes["checkpointer"] = saver.trusting(codec.trust.allows)
    made: Made = _with_attributes_of(graph, cls(distribution=distribution, **attributes))
    return made


def undistributed(graph: DistributedGraph) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The same graph with its nodes' own bodies, to be run in this process."""
    made: CompiledStateGraph[Any, Any, Any, Any] = _plain(graph, _own_nodes(graph))
    return made


def _own_nodes(graph: Pregel[Any, Any, Any, Any]) -> dict[str, PregelNode]:
    return {
        name: node.copy({"bound": _plain(node.bound, _own_nodes(node.bound)) if isinstance(node.bound, Pregel) else body_of(node)})
        for name, node in graph.nodes.items()
    }


def _attributes(graph: Pregel[Any, Any, Any, Any]) -> dict[str, Any]:
    return {key: value for key, value in vars(graph).items() if key not in ("__orig_class__", "distribution")}


def _plain(graph: Pregel[Any, Any, Any, Any], nodes: Mapping[str, Any]) -> Any:
    """A graph with other nodes, which is not distributed by itself."""
    if not isinstance(graph, CompiledStateGraph):
        return graph.copy({"nodes": nodes})
    cls = CompiledStateGraph if isinstance(graph, DistributedGraph) else type(graph)
    return _with_attributes_of(graph, cls(**{**_attributes(graph), "nodes": nodes}))


def _nodes(
    graph: Pregel[Any, Any, Any, Any], prefix: str, given: Distribution, place: Callable[[str, float | None], Place], bound: float | None
) -> dict[str, Any]:
    if graph.step_timeout is not None:  # LangGraph waits no longer than that: a node that still waits for a worker then is given up too
        bound = min(graph.step_timeout + STEP_SLACK, bound or math.inf)
    nodes: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        path, body = prefix + name, body_of(node)
        if not has_body(node):
            nodes[name] = node
        elif under(path, given.local) is not None or isinstance(body, Resident):
            nodes[name] = node.copy({"bound": LocalNode(place(path, bound), body)})
        elif isinstance(body, Pregel) and path not in given.whole:
            # LangGraph only looks at `subgraphs`; it runs what is bound.
            nodes[name] = node.copy({"bound": _plain(body, _nodes(body, f"{path}/", given, place, bound))})
        elif calls_tasks(graph):
            nodes[name] = node.copy({"bound": CallingNode(place(path, bound), body)})
        else:
            nodes[name] = node.copy({"bound": RemoteNode(place(path, bound), body)})
    return nodes


def check_importable(graph: Pregel[Any, Any, Any, Any], remote: Sequence[tuple[str, Any]]) -> None:
    """Raises: NotImportable: naming the node or class, and what to do."""
    if not remote:
        return
    for path, body in remote:
        if getattr(node_function(body), "__module__", None) == "__main__":
            raise NotImportable(f"{unimportable(f'node {path!r}', node_function(body))}, or keep it here with local=[{path!r}]")
    for schema in schemas_of(graph):
        for cls in values_of(schema):
            if is_local(cls):
                nodes = ", ".join(path for path, _ in remote)
                raise NotImportable(f"{unimportable(f'the class {cls.__qualname__} in the state of nodes {nodes}', cls)}")
