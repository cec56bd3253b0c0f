"""Every internal of LangGraph that we need, in one place.

Running a node's body elsewhere needs what LangGraph puts into its configuration; there is no public name for it. The
pin in pyproject and `check_version` keep us to releases that were tried.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from .errors import NotSupported

SUPPORTED: Final = (1, 2)
LOOP: Final = "langgraph.pregel._algo"  # where scratchpads are made


def check_version(installed: str) -> None:
    """Refuse a LangGraph that was never tried.

    Raises:
        NotSupported: naming the version that is installed and the ones that work.
    """
    major, minor = (int(part) for part in installed.split(".")[:2])
    if (major, minor) != SUPPORTED:
        raise NotSupported(
            f"langgraph {installed} is installed; langgraph-nolag works with langgraph>={SUPPORTED[0]}.{SUPPORTED[1]},"
            f"<{SUPPORTED[0]}.{SUPPORTED[1] + 1}: install one of those"
        )


check_version(importlib.metadata.version("langgraph"))

from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler  # noqa: E402
from langgraph._internal._config import patch_configurable  # noqa: E402
from langgraph._internal._constants import (  # noqa: E402
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_NODE_ERROR,
    CONFIG_KEY_READ,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_STREAM_MESSAGES_V2,
    CONFIG_KEY_TASK_ID,
    ERROR,
    INTERRUPT,
    NULL_TASK_ID,
    RESUME,
)
from langgraph._internal._replay import ReplayState  # noqa: E402
from langgraph._internal._runnable import RunnableCallable, RunnableSeq, is_async_callable  # noqa: E402
from langgraph._internal._scratchpad import PregelScratchpad  # noqa: E402
from langgraph._internal._serde import collect_allowlist_from_schemas  # noqa: E402
from langgraph.checkpoint.base import CheckpointTuple  # noqa: E402
from langgraph.checkpoint.serde.jsonplus import _create_msgpack_ext_hook as msgpack_ext_hook  # noqa: E402
from langgraph.config import get_config  # noqa: E402
from langgraph.func import _TaskFunction  # noqa: E402
from langgraph.prebuilt.tool_node import _get_all_injected_args as injected_args  # noqa: E402
from langgraph.pregel import Pregel  # noqa: E402
from langgraph.pregel._algo import LazyAtomicCounter  # noqa: E402
from langgraph.pregel._call import get_runnable_for_task  # noqa: E402
from langgraph.pregel._messages import StreamMessagesHandler, StreamMessagesHandlerV2  # noqa: E402
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode  # noqa: E402
from langgraph.pregel._retry import _should_retry_on  # noqa: E402
from langgraph.pregel._tools import StreamToolCallHandler  # noqa: E402
from langgraph.pregel._tools import _tool_call_writer as tool_call_writer  # noqa: E402
from langgraph.pregel.protocol import StreamProtocol  # noqa: E402
from langgraph.types import Interrupt, RetryPolicy  # noqa: E402

__all__ = [
    "CONFIG_KEY_CALL",
    "CONFIG_KEY_CHECKPOINTER",
    "CONFIG_KEY_DURABILITY",
    "CONFIG_KEY_INTERRUPTION",
    "CONFIG_KEY_NODE_ERROR",
    "CONFIG_KEY_READ",
    "CONFIG_KEY_REPLAY_STATE",
    "CONFIG_KEY_RESUME_MAP",
    "CONFIG_KEY_RESUMING",
    "CONFIG_KEY_RUN",
    "CONFIG_KEY_RUNTIME",
    "CONFIG_KEY_SCRATCHPAD",
    "CONFIG_KEY_SEND",
    "CONFIG_KEY_STREAM",
    "CONFIG_KEY_TASK_ID",
    "ERROR",
    "INSTANCE_ATTRIBUTES",
    "INTERRUPT",
    "NULL_TASK_ID",
    "RESUME",
    "SHIPPED_KEYS",
    "Numbers",
    "Pregel",
    "PregelNode",
    "PregelScratchpad",
    "ReplayState",
    "StreamMessagesHandler",
    "StreamMessagesHandlerV2",
    "StreamProtocol",
    "StreamToolCallHandler",
    "ambient_configurable",
    "channels_of_read",
    "collect_allowlist_from_schemas",
    "forget_answer",
    "has_body",
    "injected_args",
    "interrupt_index",
    "is_async_callable",
    "is_entrypoint",
    "is_new_answer",
    "matching_policy",
    "msgpack_ext_hook",
    "node_function",
    "patch_configurable",
    "read_through",
    "replay_state",
    "response_schema",
    "resume_own",
    "scratchpad",
    "streaming_markers",
    "task_runnable",
    "tasks_in",
    "tool_call_writer",
    "unanswered",
    "visited",
    "wants_stream_events",
]

# LangGraph takes keys with this prefix out of the configurations that it shows to users and savers.
CONFIG_KEY_RUN: Final = "__pregel_nolag_run"
CONFIG_KEY_INTERRUPTION: Final = "__pregel_nolag_interruption"
CONFIG_KEY_STRICT_RESUME: Final = "__pregel_strict_resume"  # older releases know no such key, and put nothing there

SHIPPED_KEYS: Final = (
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_STRICT_RESUME,
    CONFIG_KEY_STREAM_MESSAGES_V2,
)
"""Keys whose values are plain data and cross the wire as they are."""


RESPONSE_FORMAT: Final = "initial_response_format"  # in the closure of that node
INSTANCE_ATTRIBUTES: Final = ("_serde_allowlist", "_output_mapper", "_state_mapper")
"""What `compile()` sets on a graph beyond its constructor's arguments."""


def ambient_configurable() -> dict[str, Any]:
    """The `configurable` of the node that calls, where one does."""
    config = var_child_runnable_config.get()
    return dict(config.get("configurable") or {}) if config else {}


def has_body(node: PregelNode) -> bool:
    """False for nodes that only write channels (the start node): there is nothing to run elsewhere."""
    return node.bound is not DEFAULT_BOUND


def is_entrypoint(graph: Any) -> bool:
    """Whether this is a function under `@entrypoint`, and no graph of nodes."""
    return type(graph) is Pregel or (isinstance(graph, Pregel) and not hasattr(graph, "builder"))


def tasks_in(module: Any) -> dict[str, Callable[..., Any]]:
    """The functions under `@task` at the top level of a module, by the names of the tasks there."""
    return {name: value.func for name, value in vars(module or object).items() if isinstance(value, _TaskFunction)}


def task_runnable(function: Callable[..., Any]) -> Runnable[Any, Any]:
    """What calls the function with a pair of its positional and named arguments, and with what LangGraph fills in."""
    sequence: Any = get_runnable_for_task(function)
    runnable: Runnable[Any, Any] = sequence.steps[0]
    return runnable


def node_function(bound: Runnable[Any, Any]) -> Any:
    """What the user wrote: the function inside LangGraph's wrappers, or the runnable itself."""
    inner: Any = bound
    while isinstance(inner, RunnableSeq):
        inner = inner.steps[0]
    if isinstance(inner, RunnableCallable):
        inner = inner.func or inner.afunc
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inner


def scratchpad(step: int, stop: int, resume: list[Any], get_null_resume: Callable[[bool], Any], called: int) -> PregelScratchpad:
    """A scratchpad like the one of the orchestrator's task, with counters of its own.

    Args:
        called: graphs that earlier tries of the body called, from which LangGraph goes on.
    """
    return PregelScratchpad(
        step=step,
        stop=stop,
        call_counter=LazyAtomicCounter(),
        interrupt_counter=LazyAtomicCounter(),
        get_null_resume=get_null_resume,
        resume=resume,
        subgraph_counter=Numbers(called),
    )


def questions_of(pad: PregelScratchpad, task_id: str) -> list[Interrupt]:
    """What a task of LangGraph's loop asked before, as its checkpoint says: it is called again to be answered."""
    writes = _behind(pad).get("pending_writes", ())
    return [each for task, channel, asked in writes if (task, channel) == (task_id, INTERRUPT) for each in asked]


def shared_answer(pad: PregelScratchpad) -> Any:
    """The answer that is for whichever interrupt asks first, unless one has it: `get_null_resume` goes on showing it then."""
    behind = _behind(pad)
    if (write := behind.get("null_resume_write")) is not None:
        return write[2] if any(each is write for each in behind["pending_writes"]) else None
    parent = behind.get("parent_scratchpad")
    return pad.get_null_resume(False) if parent is None else shared_answer(parent)


def _behind(pad: PregelScratchpad) -> dict[str, Any]:
    """What LangGraph made a scratchpad of; nothing, where it is one of ours."""
    look = pad.get_null_resume
    if not isinstance(look, FunctionType) or look.__module__ != LOOP:
        return {}
    return {name: cell.cell_contents for name, cell in zip(look.__code__.co_freevars, look.__closure__ or (), strict=True)}


def response_schema(body: Runnable[Any, Any]) -> Any:
    """What the model's node of `create_agent` is to answer with, as its `response_format` names it; None for any other body."""
    function = node_function(body)
    if getattr(function, "__module__", None) != "langchain.agents.factory" or not isinstance(function, FunctionType):
        return None
    held = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return getattr(held[RESPONSE_FORMAT].cell_contents, "schema", None) if RESPONSE_FORMAT in held else None


def resume_own(config: RunnableConfig, found: CheckpointTuple | None) -> None:
    """Let a graph that is loading its checkpoint go on from it only if this very execution of its caller left it: a graph with memory finds
    one of an earlier run, which has nothing of its input."""
    conf = config["configurable"]
    if found is None or found.metadata.get("parents") != conf.get("checkpoint_map"):
        conf[CONFIG_KEY_RESUMING] = False  # LangGraph looks there once it is loaded


class Numbers:
    """A counter of a scratchpad that says how far it is, and can be told: what a remote body counts, LangGraph goes on from.

    Attributes:
        given: by now, with those that were passed over.
    """

    def __init__(self, given: int = 0) -> None:
        self.given = given
        self._told: deque[int] = deque()
        self._lock = threading.Lock()

    @classmethod
    def of_tasks(cls, pad: PregelScratchpad) -> Numbers:
        """Of the `@task`s that one task of the loop calls."""
        return cls._in(pad.call_counter)

    @classmethod
    def of_graphs(cls, pad: PregelScratchpad) -> Numbers:
        """Of the graphs that one task of the loop calls."""
        return cls._in(pad.subgraph_counter)

    @classmethod
    def _in(cls, counter: Any) -> Numbers:
        """That of a scratchpad stays the same when its task is tried again."""
        if isinstance(counter, cls):
            return counter
        if not isinstance(counter._counter, cls):
            counter._counter = cls()
        numbers: Numbers = counter._counter
        return numbers

    def tell(self, number: int) -> None:
        """The number that is given next: the calls of a remote body may come in another order."""
        self.reach(number + 1)
        self._told.append(number)

    def reach(self, given: int) -> None:
        """At least as many were given."""
        with self._lock:
            self.given = max(self.given, given)

    def __call__(self) -> int:
        with self._lock:
            if self._told:
                return self._told.popleft()
            self.given += 1
            return self.given - 1


def matching_policy(policies: Sequence[RetryPolicy], error: Exception) -> int | None:
    """The position of the first policy by which the error is tried again."""
    return next((position for position, policy in enumerate(policies) if _should_retry_on(policy, error)), None)


def channels_of_read(read: Any) -> list[str] | None:
    """The names of the channels behind a task's read function (`ToolNode` looks at them)."""
    return list(read.args[1]) if isinstance(read, functools.partial) and len(read.args) > 1 else None


def read_through(read: Callable[[Any, bool], Any], channels: Iterable[str]) -> Any:
    """A read function of the shape that `ToolNode` expects: a partial whose second argument is the channel mapping."""

    def local_read(_scratchpad: Any, _channels: Mapping[str, Any], _managed: Any, _task: Any, select: Any, fresh: bool = False) -> Any:
        return read(select, fresh)

    return functools.partial(local_read, None, dict.fromkeys(channels), {}, None)


def replay_state(checkpoint_id: str, seen: Collection[str]) -> ReplayState:
    state = ReplayState(checkpoint_id)
    state._visited_ns.update(seen)
    return state


def visited(state: ReplayState) -> set[str]:
    """The sub-graphs' namespaces that already loaded their checkpoint in this replay; shared, may be updated."""
    return state._visited_ns


def wants_stream_events(handlers: Sequence[Any]) -> int:
    """Which kind of streaming the handlers ask models for: 0 none, 1 tokens, 2 content blocks."""
    if any(isinstance(handler, _V2StreamingCallbackHandler) for handler in handlers):
        return 2
    return 1 if any(isinstance(handler, _StreamingCallbackHandler) for handler in handlers) else 0


class _TokenMarker(_StreamingCallbackHandler[Any]):
    """What makes models stream, and the nodes of a graph."""

    def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
        return output

    def tap_output_iter(self, run_id: Any, output: Any) -> Any:
        return output


class _BlockMarker(_TokenMarker, _V2StreamingCallbackHandler):
    pass


def streaming_markers(kind: int) -> tuple[type, ...]:
    """Base classes for a handler that asks models for `wants_stream_events()`."""
    return ((), (_TokenMarker,), (_BlockMarker,))[kind]


def _no_answer(consume: bool = False) -> None:
    return None


@contextmanager
def interrupt_index() -> Iterator[int]:
    """The place of the next `interrupt()` among those of this node execution, drawn ahead: the one inside the block has it."""
    config = get_config()
    pad: PregelScratchpad = config["configurable"][CONFIG_KEY_SCRATCHPAD]
    index = pad.interrupt_counter()
    drawn = dataclasses.replace(pad, interrupt_counter=lambda: index)
    if config["configurable"].get(CONFIG_KEY_RESUME_MAP):
        # Answers came by interrupt id. LangGraph still keeps the last one that came without, and would give it to whatever asks next.
        drawn = dataclasses.replace(drawn, get_null_resume=_no_answer)
    token = var_child_runnable_config.set(patch_configurable(config, {CONFIG_KEY_SCRATCHPAD: drawn}))
    try:
        yield index
    finally:
        var_child_runnable_config.reset(token)


def is_new_answer(place: int) -> bool:
    """Whether the answer to the interrupt at this place, where there is one, came with this run: LangGraph has not stored it."""
    conf = get_config()["configurable"]
    answers, by_id = conf[CONFIG_KEY_SCRATCHPAD].resume, conf.get(CONFIG_KEY_RESUME_MAP) or {}
    if place != len(answers) - 1:  # behind the last there is only one that came without an id
        return place >= len(answers)
    return any(_may_equal(answers[place], each) for each in by_id.values())


def _may_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an answer may be anything: an array is not simply equal
        return True


def forget_answer(place: int) -> None:
    """Nobody gets the answer again that the interrupt at this place was given: the task is said to have taken it, and has nothing of it."""
    conf = get_config()["configurable"]
    conf[CONFIG_KEY_SEND]([(RESUME, conf[CONFIG_KEY_SCRATCHPAD].resume[:place])])


@contextmanager
def unanswered(place: int) -> Iterator[None]:
    """The interrupt at this place, inside the block, was given no answer."""
    config = get_config()
    pad: PregelScratchpad = config["configurable"][CONFIG_KEY_SCRATCHPAD]
    bare = dataclasses.replace(pad, resume=pad.resume[:place], interrupt_counter=lambda: place, get_null_resume=_no_answer)
    token = var_child_runnable_config.set(patch_configurable(config, {CONFIG_KEY_SCRATCHPAD: bare}))
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)
