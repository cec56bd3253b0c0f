"""One call of a node's body, as it crosses to a worker: the input, and what of LangGraph's configuration bodies can see.

    orchestrator                                     worker
    describe(input, config, ...) -> encoded body     decoded body -> Call -> config_for(call, ...)

The broker's key does not cover these bytes (`key.py`): an orchestrator that attaches after a crash sends what it has,
and the body that already runs keeps what it was given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import RunControl, Runtime

from .._compat import (
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_NODE_ERROR,
    CONFIG_KEY_READ,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUN,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_STREAM,
    SHIPPED_KEYS,
    Numbers,
    PregelScratchpad,
    StreamProtocol,
    channels_of_read,
    read_through,
    replay_state,
    scratchpad,
    visited,
)
from ..serde.codec import Codec
from . import callbacks
from .channel import BEAT, CUSTOM, DRAIN, EVENT, STREAM, Channel
from .remotes import RemoteSaver, remote_store, saver_facts, store_facts

SYNC: Final = b"s"  # first byte of a body: run `invoke` in a thread
ASYNC: Final = b"a"  # run `ainvoke` on the event loop
PLAIN_CONFIG: Final = ("tags", "recursion_limit", "max_concurrency", "run_name", "run_id")
BEAT_INTERVAL: Final = 0.05  # seconds; a body may beat in a tight loop


def describe(codec: Codec, input: Any, config: RunnableConfig, *, node: str, mode: bytes, nonce: str) -> bytes:
    """The body of a node's task.

    Raises:
        NotEncodable, NotImportable, UntrustedType: the input, the context or a value of `configurable` can't cross.
    """
    conf = config.get("configurable", {})
    pad, runtime = conf.get(CONFIG_KEY_SCRATCHPAD), conf.get(CONFIG_KEY_RUNTIME)
    stream, replaying = conf.get(CONFIG_KEY_STREAM), conf.get(CONFIG_KEY_REPLAY_STATE)
    facts = {
        "nonce": nonce,
        "config": {name: config.get(name) for name in PLAIN_CONFIG if config.get(name) is not None},
        "metadata": codec.encode(dict(config.get("metadata") or {}), lax=True),
        "callbacks": codec.encode(callbacks.describe(config.get("callbacks")), lax=True),
        "pregel": {key: conf[key] for key in SHIPPED_KEYS if key in conf},
        "node_error": conf.get(CONFIG_KEY_NODE_ERROR),
        "replay": None if replaying is None else [replaying.checkpoint_id, sorted(visited(replaying))],
        "pad": None if pad is None else _pad_facts(pad),
        "channels": channels_of_read(conf.get(CONFIG_KEY_READ)),
        "stream": None if stream is None else sorted(stream.modes),
        "leased": is_leased(conf),
        "saver": saver_facts(conf.get(CONFIG_KEY_CHECKPOINTER)),
        "runtime": None if runtime is None else _runtime_facts(codec, runtime),
    }
    configurable = {key: value for key, value in conf.items() if not key.startswith("__")}
    return mode + codec.encode(
        [
            codec.encode(facts, where=f"configuration of node {node!r}"),
            codec.encode(configurable, where="config['configurable']"),
            codec.encode(input, where=f"input of node {node!r}"),
        ]
    )


def _pad_facts(pad: PregelScratchpad) -> list[Any]:
    return [pad.step, pad.stop, list(pad.resume), pad.get_null_resume(False), Numbers.of_graphs(pad).given]


def is_leased(conf: Mapping[str, Any]) -> bool:
    """Whether the thread is run under a lease of the room, so that workers can go on with it."""
    run = conf.get(CONFIG_KEY_RUN)
    return run is not None and run.lease is not None


def _runtime_facts(codec: Codec, runtime: Runtime[Any]) -> dict[str, Any]:
    return {
        "context": codec.encode(runtime.context, where="context"),
        "previous": runtime.previous,
        "execution": runtime.execution_info,
        "server": codec.encode(runtime.server_info, lax=True),
        "drain": runtime.drain_reason,
        "store": store_facts(runtime.store),
    }


@dataclass(frozen=True, slots=True)
class Call:
    """A body that was asked for, decoded on the worker."""

    mode: bytes
    input: Any
    configurable: dict[str, Any]
    facts: dict[str, Any]

    @classmethod
    def decode(cls, codec: Codec, body: bytes) -> Call:
        """Raises: UntrustedType, NotImportable, NotDecodable."""
        facts, configurable, value = codec.decode(body[1:])
        return cls(body[:1], codec.decode(value), codec.decode(configurable), codec.decode(facts))

    @property
    def nonce(self) -> str:
        return str(self.facts["nonce"])

    @property
    def task_id(self) -> str:
        return str(self.facts["pregel"].get(SHIPPED_KEYS[0], ""))

    @property
    def thread_id(self) -> str | None:
        thread = self.configurable.get("thread_id")
        return None if thread is None else str(thread)

    @property
    def checkpoint_ns(self) -> str:
        return str(self.configurable.get("checkpoint_ns", ""))

    @property
    def leased(self) -> bool:
        return bool(self.facts.get("leased"))


@dataclass(slots=True)
class Seat:
    """What a body did to its surroundings while it ran; goes back with its outcome."""

    writes: list[Any]
    visited: set[str] | None = None
    graphs: Numbers = field(default_factory=Numbers)


def config_for(
    call: Call, codec: Codec, channel: Channel, tasks: Callable[..., Any], *, again: bool = False
) -> tuple[RunnableConfig, Seat]:
    """The configuration that the body runs under on the worker.

    Args:
        tasks: what LangGraph calls when the body calls a task.
        again: an attempt before this one was lost: graphs that the body calls go on from the checkpoints that it left.
    """
    facts = call.facts
    seat = Seat([])
    conf: dict[str, Any] = {
        **call.configurable,
        **facts["pregel"],
        CONFIG_KEY_SEND: seat.writes.extend,
        CONFIG_KEY_CALL: tasks,
    }
    if facts["pad"] is not None:
        step, stop, resume, null, called = facts["pad"]
        pad = conf[CONFIG_KEY_SCRATCHPAD] = scratchpad(step, stop, resume, _shared_answer(null, channel), called)
        seat.graphs = Numbers.of_graphs(pad)
    if facts["channels"] is not None:
        conf[CONFIG_KEY_READ] = read_through(lambda select, fresh: channel.call("read", select, fresh), facts["channels"])
    if facts["stream"] is not None:
        conf[CONFIG_KEY_STREAM] = StreamProtocol(lambda chunk: channel.emit(STREAM, list(chunk), lax=True), set(facts["stream"]))
    resumes_own = again and not conf.get(CONFIG_KEY_RESUMING)
    if resumes_own:
        conf[CONFIG_KEY_RESUMING] = True
        if call.thread_id is not None:
            conf["thread_id"] = call.thread_id  # a text: with a number, LangGraph loads checkpoints under a copy of the configuration
    conf[CONFIG_KEY_CHECKPOINTER] = None if facts["saver"] is None else RemoteSaver(channel, facts["saver"], resumes_own=resumes_own)
    if facts["node_error"] is not None:
        conf[CONFIG_KEY_NODE_ERROR] = facts["node_error"]
    if facts["replay"] is not None:
        replaying = conf[CONFIG_KEY_REPLAY_STATE] = replay_state(*facts["replay"])
        seat.visited = visited(replaying)
    if facts["runtime"] is not None:
        conf[CONFIG_KEY_RUNTIME] = _runtime(facts["runtime"], codec, channel)
    listeners = codec.decode(facts["callbacks"], lax=True)
    config = {
        **facts["config"],
        "metadata": codec.decode(facts["metadata"], lax=True),
        "configurable": conf,
        "callbacks": callbacks.forwarding_manager(listeners, lambda event: channel.emit(EVENT, event, lax=True)),
    }
    return cast(RunnableConfig, config), seat


def _shared_answer(peeked: Any, channel: Channel) -> Callable[[bool], Any]:
    """The answer that was given to the thread and not to one interrupt: the first interrupt that takes it has it, in
    whatever process; so taking it is a question to the orchestrator."""
    left = [peeked]
    lock = threading.Lock()

    def get_null_resume(consume: bool = False) -> Any:
        if left[0] is None or not consume:
            return left[0]
        with lock:
            left[0] = None
        return channel.call("null")

    return get_null_resume


class SharedControl(RunControl):
    """The control of the run, of which the orchestrator holds the other end.

    Args:
        drain: why the run is to end already; None: it goes on.
    """

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel, drain: str | None) -> None:
        super().__init__()
        self._channel = channel
        if drain is not None:
            super().request_drain(drain)
        channel.on_drain = super().request_drain

    def request_drain(self, reason: str = "shutdown") -> None:
        super().request_drain(reason)
        self._channel.emit(DRAIN, reason)


def _runtime(facts: dict[str, Any], codec: Codec, channel: Channel) -> Runtime[Any]:
    control = SharedControl(channel, facts["drain"])

    def write(chunk: Any) -> None:
        channel.emit(CUSTOM, [get_config()["configurable"]["checkpoint_ns"], chunk])

    return Runtime(
        context=codec.decode(facts["context"]),
        store=None if facts["store"] is None else remote_store(channel, facts["store"]),
        stream_writer=write,
        heartbeat=_heartbeat(channel),
        previous=facts["previous"],
        execution_info=facts["execution"],
        server_info=codec.decode(facts["server"], lax=True),
        control=control,
    )


def _heartbeat(channel: Channel) -> Callable[[], None]:
    last = [0.0]

    def beat() -> None:
        now = time.monotonic()
        if now - last[0] >= BEAT_INTERVAL:
            last[0] = now
            channel.emit(BEAT, None)

    return beat
