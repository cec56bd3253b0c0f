"""What a parity case is: a graph, and what is done with it in one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langgraph.pregel import Pregel
from langgraph.types import StateUpdate

MODES: Final = ("values", "updates", "custom", "messages", "tasks", "checkpoints", "tools")
Make = Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """Run the thread with options of its own: `interrupt_before`, `durability`, …"""

    input: Any
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Run the thread with a resume map: answers by the value of the interrupt they are for."""

    by_value: Mapping[Any, Any]


@dataclass(frozen=True)
class Update:
    """`update_state` where the thread is."""

    values: Any
    as_node: str | None = None


@dataclass(frozen=True)
class Supersteps:
    """`bulk_update_state` where the thread is: updates that are applied together, one such step after the other."""

    steps: Sequence[Sequence[StateUpdate]]


@dataclass(frozen=True)
class BackTo:
    """Go back to the latest checkpoint before `node`; the next step starts from there."""

    node: str


@dataclass(frozen=True)
class Events:
    """Run the thread through `astream_events`, version 2."""

    input: Any


@dataclass(frozen=True)
class Cancelled:
    """Run the thread, and once bodies have said in the ledger that they began, cancel the call (`cancel`), or let its time be over
    (`timeout`). Async only."""

    input: Any
    by: str = "cancel"
    began: int = 1


@dataclass(frozen=True)
class Late:
    """Wait until a body has said this in the ledger."""

    line: str


@dataclass(frozen=True)
class Traced:
    """Run the thread with a tracer, and look at its tree of runs."""

    input: Any


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: of the test.
        graph: the compiled graph or entrypoint. It has no saver; the harness gives it one.
        steps: inputs, or the classes above, one after the other in one thread.
        how: which of LangGraph's two interfaces it is run through.
        modes: what is streamed.
        subgraphs: whether sub-graphs are streamed too.
        ordered: False where nodes run side by side: then events are compared, not their order.
        saver: False: without a checkpointer.
        config, options: of every run. An option may be a function that makes its value, anew for each side.
        attributes: of the graph, made anew for each side: a store, a cache.
        distribution: options of `distribute`.
        ledger: whether its bodies keep one.
        remote: False where no body leaves this process, None where that does not matter.
    """

    name: str
    graph: Pregel[Any, Any, Any, Any]
    steps: Sequence[Any]
    how: Collection[str] = ("sync", "async")
    modes: Sequence[str] = MODES
    subgraphs: bool = True
    ordered: bool = True
    saver: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Make] = field(default_factory=dict)
    distribution: Mapping[str, Any] = field(default_factory=dict)
    ledger: bool = False
    remote: bool | None = True


def case(name: str, graph: Any, *steps: Any, **more: Any) -> Case:
    return Case(name, graph, steps, **more)


SYNC: Final = ("sync",)
ASYNC: Final = ("async",)
