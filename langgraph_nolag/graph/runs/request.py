"""What a run was asked to do: the body of its task, and, without the input, what the thread keeps of its last run.

Asked for through a distributed graph, it carries the graph's own values, and goes back into them exactly. Asked for by somebody who
has no graph (`room.runs.start`), it carries plain values.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Send

from ...client.body import decode, encode
from ...errors import NoLagError, NotDecodable
from ...patterns.threads import CONFIG, FORMAT
from ..errors import NoLagWarning
from ..serde.codec import Codec

EXACT: Final = "exact"  # the form of a body that carries the graph's own values


@dataclass(frozen=True, slots=True)
class Request:
    """One run that was asked for.

    Attributes:
        graph: `name@fingerprint`, or the name alone.
        thread: LangGraph's thread id; None: one of the run's own.
        input: as given to the graph.
        config: without what means something in one process only, and without the thread.
        context: of the run.
        options: further arguments of `stream` that are plain (`durability`, `interrupt_before`, …).
        modes, subgraphs: what its stream shows.
        pools, local, whole: as given to `distribute`; None: as the worker has it.
        timeouts: `timeout` and `cancel_timeout`, likewise.
        look: it only goes on where something was decided or has not ended.
    """

    graph: str
    thread: str | None
    input: Any = None
    config: RunnableConfig = field(default_factory=lambda: RunnableConfig())
    context: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    modes: Sequence[str] = ("values",)
    subgraphs: bool = False
    pools: Mapping[str, Sequence[str]] | None = None
    local: Sequence[str] | None = None
    whole: Sequence[str] | None = None
    timeouts: Sequence[float | None] | None = None
    look: bool = False

    def pack(self, codec: Codec) -> bytes:
        """As one graph's processes exchange it. What can't cross is left out, with a warning: a successor then can't apply it again."""
        parts = {"input": self.input, "config": dict(self.config), "context": self.context}
        exact = {name: _encoded(codec, name, value) for name, value in parts.items()}
        return encode({**self._facts(), "form": EXACT, **exact})

    def _facts(self) -> dict[str, Any]:
        return {
            "v": FORMAT,
            "graph": self.graph,
            "thread": self.thread,
            "options": dict(self.options),
            "modes": list(self.modes),
            "subgraphs": self.subgraphs,
            "pools": None if self.pools is None else {node: list(pool) for node, pool in self.pools.items()},
            "local": None if self.local is None else list(self.local),
            "whole": None if self.whole is None else list(self.whole),
            "timeouts": None if self.timeouts is None else list(self.timeouts),
            "look": self.look,
        }

    @classmethod
    def unpack(cls, codec: Codec, body: bytes) -> Request:
        """Raises: NotDecodable, UntrustedType."""
        facts = decode(body)
        if not isinstance(facts, dict) or facts.get("v") != FORMAT or not isinstance(facts.get("graph"), str):
            raise NotDecodable(f"not a run, or one in a format that this version of langgraph-nolag does not read ({FORMAT})")
        names = ("graph", "thread", "options", "modes", "subgraphs", "pools", "local", "whole", "timeouts", "look")
        common = {name: facts[name] for name in names if name in facts}
        if facts.get("form") == EXACT:
            exact = {name: codec.decode(facts[name]) for name in ("input", "config", "context")}
            return cls(**common, **exact)
        input = facts.get("input") if facts.get("command") is None else _command(facts["command"])
        return cls(**common, input=input, config=facts.get("config") or {}, context=facts.get("context"))

    def onward(self) -> Request:
        """The same without what only its beginning needs: for who goes on with the thread."""
        configurable = {name: value for name, value in (self.config.get("configurable") or {}).items() if name != "checkpoint_id"}
        return replace(self, input=None, config={**self.config, "configurable": configurable}, look=False)


def _encoded(codec: Codec, name: str, value: Any) -> bytes:
    try:
        return codec.encode(value, where=f"{name} of the run")
    except NoLagError as error:
        if name == "input":
            warnings.warn(f"{error}; if this process dies before its first checkpoint, the input is lost", NoLagWarning, stacklevel=2)
            return codec.encode(None)
        return codec.encode(value, lax=True)


def _command(fields: Mapping[str, Any]) -> Command[Any]:
    goto = fields.get("goto") or ()
    to = [
        Send(each["node"], each.get("arg")) if isinstance(each, dict) else each
        for each in ([goto] if isinstance(goto, (str, dict)) else goto)
    ]
    update = [(name, value) for name, value in fields["pairs"]] if "pairs" in fields else fields.get("update")
    return Command(resume=fields.get("resume"), update=update, goto=to)


def plain_config(config: Mapping[str, Any]) -> RunnableConfig:
    """What of a configuration another process can use."""
    kept = {name: config[name] for name in CONFIG if config.get(name) is not None}
    conf = config.get("configurable") or {}
    configurable = {name: value for name, value in conf.items() if not name.startswith("__") and name not in ("thread_id", "checkpoint_ns")}
    return RunnableConfig(**kept, configurable=configurable)  # type: ignore[typeddict-item, no-any-return]
