"""Workers that run whole graphs: runs that were started in the background, threads whose gate was decided or whose schedule came, and
runs whose orchestrator died.

A run is a task of the room. Its lease tells that the orchestrator lives; when it ends, the next worker goes on from the last checkpoint,
with what the run was asked to do, and the nodes' bodies that still run are found again by their keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

from ...client.failure import text_of
from ...client.names import names
from ...errors import BufferFull, Disconnected, MessageTooLarge, Permanent, RequestTimeout, StaleLease, StorageFailed
from ...patterns.handed import HandedTask
from ...patterns.plain import plain
from .._compat import CONFIG_KEY_RUN
from ..checkpoint import NoLagSaver
from ..distribute import Distributed, distribute
from ..errors import NothingToRun, NotSupported
from ..remote.place import CANCEL_TIMEOUT
from ..remote.run import Run
from ..saver import keys
from ..saver.steps import Steps, arun
from .beginning import Begun, brings_answers, continued, read_mark, waiting_interrupts
from .lease import SUPERSEDED, ThreadLease
from .repeats import Repeats
from .request import Request

if TYPE_CHECKING:
    from ...client.link import RoomLink

DURABILITY: Final = "sync"
AWAY: Final = (BufferFull, Disconnected, RequestTimeout, StaleLease, StorageFailed)
LOST: Final = frozenset({SUPERSEDED, "lost", "closing"})  # somebody else goes on with the thread


class Orchestrated:
    """One graph whose runs a worker takes.

    Args:
        graph: as it is compiled.
        called: `name@fingerprint`.
        pools, local, whole, timeout, cancel_timeout: as for `distribute`, for runs that do not say themselves.
        store: instead of the graph's own.

    Raises:
        NotSupported: its checkpoints are not in a room.
    """

    def __init__(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        called: str,
        *,
        pools: Mapping[str, Sequence[str]] | None = None,
        local: Collection[str] = (),
        whole: Collection[str] = (),
        timeout: float | None = None,
        cancel_timeout: float = CANCEL_TIMEOUT,
        store: BaseStore | None = None,
        allow: Sequence[type] = (),
    ) -> None:
        saver = graph.checkpointer
        if saver is not None and not isinstance(saver, (NoLagSaver, bool)):
            raise NotSupported(
                f"resume=True: the graph {called} keeps its checkpoints in a {type(saver).__name__}; compile it without a checkpointer, or "
                "with a NoLagSaver, so that whoever takes a thread up finds them in the room"
            )
        self.graph = graph
        self.called = called
        self.name = called.partition("@")[0]
        self._pools = {node: names(pool, f"pools[{node!r}]") for node, pool in (pools or {}).items()}
        self._local, self._whole, self._store, self._allow = list(local), list(whole), store, tuple(allow)
        self._timeouts = timeout, cancel_timeout
        self._serde = saver.serde if isinstance(saver, NoLagSaver) else None

    def wanted(self, request: Request) -> dict[str, Any]:
        """How this run wants it distributed, and where it does not say, as the worker has it: arguments of `distribute`."""
        pools = self._pools if request.pools is None else request.pools
        timeout, cancel_timeout = self._timeouts if request.timeouts is None else request.timeouts
        return {
            "pools": {node: list(pool) for node, pool in sorted(pools.items())},
            "local": sorted(self._local if request.local is None else request.local),
            "whole": sorted(self._whole if request.whole is None else request.whole),
            "timeout": timeout,
            "cancel_timeout": CANCEL_TIMEOUT if cancel_timeout is None else cancel_timeout,
        }

    def on(self, link: RoomLink, request: Request) -> Distributed:
        """The graph as this run wants it distributed."""
        saver = NoLagSaver(link, serde=self._serde)
        wanted = self.wanted(request)
        return distribute(self.graph, link, checkpointer=saver, store=self._store, name=self.name, allow=self._allow, **wanted)


class Orchestrator:
    """The handler of the run tasks of a worker.

    Args:
        link: the room, as the worker.
        graphs: what it runs.
    """

    def __init__(self, link: RoomLink, graphs: Sequence[Orchestrated]) -> None:
        self._link = link
        self._graphs: dict[str, Orchestrated] = {}
        for each in graphs:
            self._graphs[each.called] = self._graphs[each.name] = each
        self._made: dict[str, Distributed] = {}  # over this link; the declarations outlive it

    @property
    def types(self) -> list[str]:
        return sorted(self._graphs)

    async def __call__(self, task: HandedTask) -> dict[str, Any]:
        try:
            return await self._run(task)
        except Exception as error:
            if isinstance(error, AWAY) or getattr(error, "retryable", False):
                raise  # the room was away, or the thread is another's: the next attempt may fare better
            raise Permanent(text_of(error)) from error  # the graph itself failed, as it would anywhere

    async def _run(self, task: HandedTask) -> dict[str, Any]:
        served = self._graphs[task.type]
        plain_graph = self._distributed(served, Request(served.called, None))
        request = Request.unpack(plain_graph.distribution.codec, task._assigned.body)
        thread = request.thread or task.id
        request = replace(request, thread=thread)
        request = await arun(self._link, _as_before(plain_graph, served, request))
        graph = self._distributed(served, request)
        saver = cast(NoLagSaver, graph.checkpointer)
        lease = ThreadLease(
            self._link,
            thread,
            task.id,
            task.fencing_token,
            request=replace(request.onward(), graph=served.called).pack(graph.distribution.codec),
        )
        lease.in_background = task.attempt == 1 and brings_answers(request.input)
        task._on_cancelled = lambda reason: lease.lose(SUPERSEDED if reason in LOST else reason)
        begun = await arun(self._link, _begun(saver, request, lease, fresh=task.attempt == 1))
        if begun is not None:
            await self._go(task, graph, request, lease, begun)
        return await _outcome(graph, thread)

    def _distributed(self, served: Orchestrated, request: Request) -> Distributed:
        """One graph for all runs that want it alike."""
        key = repr((served.called, served.wanted(request)))
        if (made := self._made.get(key)) is None:
            made = self._made[key] = served.on(self._link, request)
        return made

    async def _go(self, task: HandedTask, graph: Distributed, request: Request, lease: ThreadLease, begun: Begun) -> None:
        stream = await task.open_stream("run", topic=f"runs/{task.id}", keep=None)
        mark = await arun(self._link, read_mark(cast(NoLagSaver, graph.checkpointer), lease.thread))
        repeats = await Repeats.of(self._link, stream.id, mark.position if mark.task == task.id else 0, stream.n)

        def position() -> int:
            repeats.forget()
            return int(stream.n)

        lease.position = position
        options = {"durability": DURABILITY, **request.options}
        lease.ahead = options["durability"] == "sync"
        chunks = graph.astream(
            begun.input,
            _config(request, lease, addressed=begun.addressed),
            context=request.context,
            stream_mode=list(request.modes),
            subgraphs=request.subgraphs,
            **options,
        )
        async for chunk in chunks:
            shown = _shown(chunk, request.subgraphs)
            if repeats.new(shown):
                try:
                    await stream.write(shown)
                except MessageTooLarge as error:
                    await stream.write([shown[0], {"too_large": error.message}, shown[2]])


def _as_before(graph: Distributed, served: Orchestrated, request: Request) -> Steps[Request]:
    """The request, with what the thread was run with before where it does not say itself.

    Raises:
        NothingToRun: another version of the graph has run the thread.
    """
    [read] = yield [("record.read", {"keys": [keys.run_request(str(request.thread))]})]
    if (body := read["bodies"][0]) is None:
        return request
    former = Request.unpack(graph.distribution.codec, body)
    if former.graph != served.called and request.graph != served.called:
        raise NothingToRun(
            f"thread {request.thread!r} was run by {former.graph}, and this worker serves {served.called}; start a worker of that version, "
            f"or name {served.called} to go on with this one"
        )
    if not request.look:
        return request
    return replace(former, thread=request.thread, graph=served.called, input=None, look=True)


def _begun(saver: NoLagSaver, request: Request, lease: ThreadLease, *, fresh: bool) -> Steps[Begun | None]:
    """How the run goes on; None where there is nothing to do."""
    begun = yield from continued(saver, request, lease, fresh=fresh)
    if request.look and begun.input is None and (yield from waiting_interrupts(saver, lease.thread)):
        return None  # nothing was decided that it waits for
    return begun


def _config(request: Request, lease: ThreadLease, *, addressed: bool) -> RunnableConfig:
    configurable = dict(request.config.get("configurable") or {})
    if not addressed:
        configurable.pop("checkpoint_id", None)
    configurable.update(thread_id=lease.thread)
    configurable[CONFIG_KEY_RUN] = Run(lease.link, "", lease)
    return cast(RunnableConfig, {**request.config, "configurable": configurable})


def _shown(chunk: Any, subgraphs: bool) -> list[Any]:
    """`[mode, data, namespace]`, in plain values."""
    namespace, mode, data = chunk if subgraphs else ((), *chunk)
    return [mode, plain(data), list(namespace)]


async def _outcome(graph: Distributed, thread: str) -> dict[str, Any]:
    state = await graph.aget_state({"configurable": {"thread_id": thread}})
    shown = graph.output_channels
    values = state.values
    if isinstance(values, dict) and not isinstance(shown, str):
        values = {name: values[name] for name in shown if name in values}
    return {
        "status": "interrupted" if state.interrupts or state.next else "done",
        "thread_id": thread,
        "values": plain(values),
        "next": list(state.next),
        "interrupts": [{"id": each.id, "value": plain(each.value)} for each in state.interrupts],
    }
