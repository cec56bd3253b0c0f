"""Plays a case on a graph, and writes down all that can be seen of it."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

from langchain_core.tracers.base import BaseTracer
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.types import Command

from .case import Answers, BackTo, Cancelled, Case, Events, Late, Run, Supersteps, Traced, Update
from .ledger import Ledger
from .plain import Plain

NOBODY: Final = str(uuid.UUID(int=0))  # LangGraph's task for what no task wrote

TURNS: Final = 200  # of the loop, in which a caller takes the chunks that are there: a few turns each


class Player:
    """One run of a case. What it sees is in `seen`: pairs of a kind and a plain value, in order."""

    def __init__(self, case: Case, graph: Any, how: str) -> None:
        self.case = case
        self.graph = graph
        self.how = how
        self.plain = Plain(numbered=case.ordered)
        self.seen: list[tuple[str, Any]] = []
        self.thread = {"thread_id": str(uuid.uuid4())}
        self.ledger = Ledger(self.thread["thread_id"])
        self.options = {name: value() if callable(value) else value for name, value in case.options.items()}

    async def play(self) -> list[tuple[str, Any]]:
        async with asyncio.timeout(60):
            at = dict(self.thread)
            for step in self.case.steps:
                at = await self._step(step, at)
            if self.case.saver:
                await self._state()
        return self.seen

    def _say(self, kind: str, value: Any) -> None:
        self.seen.append((kind, self.plain(value)))

    def _config(self, at: Mapping[str, Any]) -> dict[str, Any]:
        given = self.case.config
        ledger = {"ledger": self.thread["thread_id"]} if self.case.ledger else {}
        return {**given, "configurable": {**given.get("configurable", {}), **ledger, **at}}

    async def _step(self, step: Any, at: dict[str, Any]) -> dict[str, Any]:
        """Do it; returns where the next one starts."""
        config = self._config(at)
        if isinstance(step, Update):
            updated = await self._do("update_state", config, step.values, as_node=step.as_node)
            self._say("updated", updated)
            return dict(self.thread)
        if isinstance(step, Supersteps):
            self._say("updated", await self._do("bulk_update_state", config, step.steps))
            return dict(self.thread)
        if isinstance(step, BackTo):
            history = await self._history(self._config(self.thread))
            return dict(next(state for state in history if step.node in state.next).config["configurable"])
        if isinstance(step, Late):
            await self.ledger.until(step.line)
            self._say("ledger", self.ledger.lines)
        elif isinstance(step, Cancelled):
            await self._cancelled(step, config)
        elif isinstance(step, Events):
            await self._events(step.input, config)
        elif isinstance(step, Traced):
            tree, listener = _Tree(), _Listener()
            await self._stream(Run(step.input), {**config, "callbacks": [tree, listener]})
            self._say("runs", tree.roots)
            self._say("graphs", listener.heard)
        else:
            if isinstance(step, Answers):
                state = await self._do("get_state", config)
                step = Command(resume={asked.id: step.by_value[asked.value] for asked in state.interrupts})
            await self._stream(step if isinstance(step, Run) else Run(step), config)
        return dict(self.thread)

    async def _stream(self, run: Run, config: Any, timeout: asyncio.Timeout | None = None) -> None:
        case = self.case
        options: dict[str, Any] = {"stream_mode": list(case.modes), "subgraphs": case.subgraphs, **self.options, **run.options}
        if case.saver:
            options = {"durability": "sync", **options}
        found: list[Any] = []

        def sync() -> None:
            found.extend(map(self._chunk, self.graph.stream(run.input, config, **options)))

        try:
            if self.how == "sync":
                await asyncio.to_thread(sync)
            else:
                async with timeout or nullcontext():
                    async for chunk in self.graph.astream(run.input, config, **options):
                        found.append(self._chunk(chunk))  # noqa: PERF401 - what came before an error counts
        except (Exception, asyncio.CancelledError) as error:
            found.append(["raised", self.plain(error)])
        self.seen.append(("stream", found if case.ordered else sorted(found, key=repr)))
        if case.ledger:
            self._say("ledger when it was over", self.ledger.lines if case.ordered else sorted(self.ledger.lines))

    async def _cancelled(self, step: Cancelled, config: Any) -> None:
        running = asyncio.ensure_future(self._stream(Run(step.input), config, timeout := asyncio.timeout(None)))
        await self.ledger.until("began", step.began)
        for _ in range(TURNS):  # what was streamed before they began is taken by the caller first, however busy the machine
            await asyncio.sleep(0)
        if step.by == "cancel":
            running.cancel()
        else:
            timeout.reschedule(0.0)
        await running

    def _chunk(self, chunk: Any) -> Any:
        self.plain.given_later = isinstance(chunk, tuple) and any(part in ("messages", "tools", "tasks", "debug") for part in chunk[:-1])
        try:
            return self.plain(chunk)
        finally:
            self.plain.given_later = False

    async def _events(self, value: Any, config: Any) -> None:
        options = {**self.options, **({"durability": "sync"} if self.case.saver else {})}
        found = []
        try:
            async for event in self.graph.astream_events(value, config, version="v2", **options):
                found.append(self.plain(event))  # noqa: PERF401
        except Exception as error:
            found.append(["raised", self.plain(error)])
        self.seen.append(("events", found if self.case.ordered else sorted(found, key=repr)))

    async def _do(self, what: str, *args: Any, **named: Any) -> Any:
        if self.how == "sync":
            return await asyncio.to_thread(lambda: getattr(self.graph, what)(*args, **named))
        return await getattr(self.graph, "a" + what)(*args, **named)

    async def _history(self, config: Any) -> list[Any]:
        if self.how == "sync":
            return await asyncio.to_thread(lambda: list(self.graph.get_state_history(config)))
        return [state async for state in self.graph.aget_state_history(config)]

    async def _state(self) -> None:
        config = self._config(self.thread)
        try:
            self._say("state", await self._do("get_state", config, subgraphs=True))
            for state in await self._history(config):
                self._say("history", state)
        except Exception as error:
            self._say("no state", error)
        kept = await asyncio.to_thread(lambda: list(self.graph.checkpointer.list({"configurable": self.thread})))
        found = []
        for entry in sorted(kept, key=lambda entry: entry.checkpoint["id"]):
            # Our saver removes an unaddressed answer once a task has taken it; the in-memory one keeps it, and may give it again.
            kept_writes = [write for write in entry.pending_writes or () if write[:2] != (NOBODY, "__resume__")]
            kept_writes.sort(key=lambda write: (write[1], repr(write[2])))  # not by ids, which are made up: the first one seen is <1>
            writes = [self.plain(write) for write in kept_writes]
            namespace = entry.config["configurable"]["checkpoint_ns"]
            found.append([self.plain([namespace, entry.checkpoint, entry.metadata, entry.parent_config]), sorted(writes, key=repr)])
        self.seen.append(("checkpoints", found if self.case.ordered else sorted(found, key=repr)))


class _Listener(GraphCallbackHandler):
    """What LangGraph tells of its graphs."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        self.heard.append(dataclasses.replace(event, run_id=None))

    def on_resume(self, event: GraphResumeEvent) -> None:
        self.heard.append(dataclasses.replace(event, run_id=None))


class _Tree(BaseTracer):
    """The tree of runs that a tracer sees."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.roots.append(self._shape(run))

    def _shape(self, run: Any) -> Any:
        metadata = (run.extra or {}).get("metadata", {})
        events = [event["name"] for event in run.events]
        children = [self._shape(child) for child in run.child_runs]
        return [
            run.name,
            run.run_type,
            run.inputs,
            run.outputs,
            run.error and run.error.partition(")")[0],
            run.tags,
            metadata,
            events,
            children,
        ]
