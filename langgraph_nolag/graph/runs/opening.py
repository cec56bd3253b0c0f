"""What a distributed graph does before LangGraph's loop begins: where its thread is kept in the room, the run gets the thread's lease."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import RunnableConfig

from .._compat import CONFIG_KEY_RUN
from ..checkpoint import NoLagSaver
from ..saver.steps import Steps
from .beginning import begin
from .request import Request, plain_config

if TYPE_CHECKING:
    from ..distribute import Distributed
    from ..remote.run import Run

OPTIONS: Final = ("durability", "interrupt_before", "interrupt_after")


def saver_of(graph: Distributed) -> NoLagSaver | None:
    """The saver whose threads can be leased: one that writes on the graph's own connection, under no lease of its user's."""
    saver = graph.checkpointer
    mine = isinstance(saver, NoLagSaver) and saver.lease is None and saver.link is graph.distribution.link
    return saver if mine else None  # type: ignore[return-value]


def opening(
    graph: Distributed, run: Run, conf: Mapping[str, Any], input: Any, config: RunnableConfig, options: Mapping[str, Any]
) -> Steps[tuple[Any, RunnableConfig]] | None:
    """Steps that give the input and the configuration to go on with; None where there is nothing to get: the thread is not kept in this
    room, or is run by the graph around this one.

    Args:
        run: gets the lease.
        conf: the `configurable` of the run, with what it inherits.
        options: the arguments of `stream`.
    """
    saver = saver_of(graph)
    if saver is None or run.lease is not None or conf.get("checkpoint_ns"):
        return None
    return _opening(graph, saver, run, conf, input, config, options)


def _opening(
    graph: Distributed,
    saver: NoLagSaver,
    run: Run,
    conf: Mapping[str, Any],
    input: Any,
    config: RunnableConfig,
    options: Mapping[str, Any],
) -> Steps[tuple[Any, RunnableConfig]]:
    distribution = graph.distribution
    request = Request(
        graph=distribution.name,
        thread=str(conf["thread_id"]),
        input=input,
        config=plain_config({**config, "configurable": conf}),
        context=options.get("context"),
        options={name: options[name] for name in OPTIONS if options.get(name) is not None},
        pools=distribution.pools,
        local=list(distribution.local),
        whole=list(distribution.whole),
        timeouts=[distribution.timeout, distribution.cancel_timeout],
    )
    take = input is None and conf.get("checkpoint_id") is None
    begun = yield from begin(distribution.link, distribution.codec, saver, request, take=take)
    begun.lease.ahead = options.get("durability") == "sync"
    run.begin(begun.lease)
    return begun.input, config


def inherited(conf: Mapping[str, Any], thread: str) -> Any:
    """The lease of the run around this one, where it is of the same thread."""
    around = conf.get(CONFIG_KEY_RUN)
    lease = None if around is None else around.lease
    return lease if lease is not None and lease.thread == thread else None
