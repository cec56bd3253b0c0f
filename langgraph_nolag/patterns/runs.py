"""Runs of graphs that nobody waits for: started here, carried out by whichever worker serves the graph with `resume=True`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from ..client.body import encode
from ..client.follow import Result
from ..client.latch import Latch
from ..client.link import RoomLink
from ..client.names import names
from ..client.pages import TASKS, listed
from ..client.stream import log_stream
from ..errors import BadRequest, StreamFailed, StreamNotFound, TaskTimeout
from .plain import asked, asked_of_state
from .schedules import Schedule
from .streams import IncomingStream
from .task import cancel, value_of
from .threads import CONFIG, FORMAT, HAND_OUTS, PLAIN, RUN, thread_key, thread_of

LONGEST_ID: Final = 512  # characters of a thread's id
TOPIC: Final = "runs/"  # of the streams of runs

OnBusy = Literal["queue", "reject", "interrupt"]
_BUSY = {"queue": None, "reject": "refuse", "interrupt": "replace"}


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What the broker says of a run. Times in seconds since 1970.

    Attributes:
        id: unique in the world.
        graph: the graph's name, with its fingerprint where the run is for one version of it.
        thread_id: LangGraph's thread; None where its id is not fit to be shown.
        state: `waiting` (for a worker), `parked` (another run has the thread), `delayed`, `running`, `completed`, `failed`, `cancelled`,
            `timed_out`.
        attempt: how many orchestrators have had it.
        holder: the actor that runs it.
        errors: one entry an attempt that failed: `{attempt, error: {type, message}, actor?}`.
    """

    id: str
    graph: str
    thread_id: str | None
    state: str
    attempt: int
    created: float
    holder: str | None = None
    errors: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: `done`; `interrupted`: the thread waits, for an answer or at a breakpoint, and nothing of it runs; or `elsewhere`: a
            process that invoked the thread through its graph went on with it, and the thread's state says how far.
        thread_id: LangGraph's thread.
        values: the graph's output, in plain values: messages and models are maps of their fields.
        next: the nodes that the thread stands before.
        interrupts: `{id, value}` of the questions it waits with.
    """

    status: str
    thread_id: str
    values: Any
    next: tuple[str, ...]
    interrupts: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class RunChunk:
    """One chunk of a run's stream.

    Attributes:
        n: its number; give the last one to `runs.stream(id, after=n)` to go on.
        mode: LangGraph's streaming mode.
        data: in plain values.
        namespace: of the sub-graph it comes from; empty: the graph itself.
    """

    n: int
    mode: str
    data: Any
    namespace: tuple[str, ...] = ()


class Run:
    """A run of ours, or one that is asked for by its id."""

    def __init__(self, runs: Runs, id: str, thread_id: str | None, state: str) -> None:
        self.id = id
        self.thread_id = thread_id
        self.state = state
        self._runs = runs

    def __repr__(self) -> str:
        return f"Run({self.id!r}, thread_id={self.thread_id!r})"

    async def result(self, timeout: float | None = None) -> RunResult:
        """See `Runs.result`."""
        return await self._runs.result(self.id, timeout)

    def stream(self, after: int = 0) -> AsyncIterator[RunChunk]:
        """See `Runs.stream`."""
        return self._runs.stream(self.id, after=after)

    async def info(self) -> RunInfo:
        """See `Runs.get`."""
        return await self._runs.get(self.id)

    async def cancel(self, reason: str | None = None, *, wait: float = 0.0) -> str:
        """See `Runs.cancel`."""
        return await self._runs.cancel(self.id, reason, wait=wait)


class Runs:
    """`room.runs`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def start(
        self,
        graph: str,
        input: Any = None,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        on_busy: OnBusy = "queue",
        stream_mode: str | Sequence[str] = ("values",),
        subgraphs: bool = False,
        interrupt_before: Sequence[str] | str | None = None,
        interrupt_after: Sequence[str] | str | None = None,
        durability: Literal["sync", "async", "exit"] = "sync",
        key: str | None = None,
        delay: float = 0.0,
        priority: int = 0,
        timeout: float | None = None,
        capabilities: Sequence[str] = (),
        max_attempts: int = HAND_OUTS,
    ) -> Run:
        """Start a run in the background. When this returns it is on disk; it waits where no worker serves the graph with `resume=True`.

        A run whose worker dies is taken up by another one, from the thread's last checkpoint.

        Args:
            graph: the graph's name, as its workers and `distribute` have it; with its fingerprint, `name@…`, for one version only.
            input: plain values, messages, models or data classes; a `Command`, which answers questions, but no gates (decide those with
                `room.approve`); None: go on where the thread stands, with what was decided.
            config: LangGraph's: `configurable` with a `thread_id` (without one the run has a thread of its own, named by its id), tags,
                metadata, `recursion_limit`.
            context: of the graph, as plain values.
            on_busy: what to do while other runs of the thread have not ended: `queue`: after them; `reject`: `Busy` is raised, nothing is
                started; `interrupt`: those end where they are, and this one goes on from the last checkpoint.
            stream_mode, subgraphs: what `stream` shows.
            interrupt_before, interrupt_after, durability: as LangGraph has them.
            key: the same key again attaches to the run that exists, finished or not.
            delay: seconds before it starts.
            priority: higher goes first.
            timeout: seconds to its end, waiting included.
            capabilities: what the worker that runs it must have.
            max_attempts: orchestrators that may be lost until it is given up.

        Raises:
            Busy: with `on_busy="reject"`; `detail["task"]` is the run that has the thread.
            NotEncodable, KeyConflict, BadRequest, Overloaded, NotAuthorized, RequestTimeout, Disconnected.
        """
        if on_busy not in _BUSY:
            raise BadRequest(f"on_busy is 'queue', 'reject' or 'interrupt', not {on_busy!r}")
        options = {"durability": durability, "interrupt_before": interrupt_before, "interrupt_after": interrupt_after}
        id = self._link.new_id()
        thread, body = _asked(graph, input, config, context, options, stream_mode, subgraphs)
        fields: dict[str, Any] = {
            "task": id,
            "kind": RUN,
            "type": graph,
            "concurrency_key": thread_key(thread or id),
            "busy": _BUSY[on_busy],
            "capabilities": names(capabilities, "capabilities"),
            "max_attempts": max_attempts,
            "priority": priority,
            "delay": delay or None,
            "timeout": timeout,
            "key": key,
            "follow": False,
        }
        if key is not None and thread is None:
            raise BadRequest("a run with a key needs a thread_id: the same again is of the same thread")
        answer = await self._link.acall("task.dispatch", **fields, body=body)
        return Run(self, answer["task"], thread or id, answer["state"])

    async def schedule(
        self,
        cron: str,
        graph: str,
        input: Any = None,
        config: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        tz: str = "UTC",
        overlap: Literal["allow", "skip"] = "allow",
        context: Any = None,
        stream_mode: str | Sequence[str] = ("values",),
        subgraphs: bool = False,
        durability: Literal["sync", "async", "exit"] = "sync",
        capabilities: Sequence[str] = (),
        max_attempts: int = HAND_OUTS,
    ) -> Schedule:
        """Let the room start a run whenever a moment of a cron line comes, whoever is there. See `room.handoff.schedule` and `start`.

        Args:
            config: with a `thread_id` all runs are of that thread, one after the other; without, each has a thread of its own.
            name: None: `graph` is the name.
        """
        thread, body = _asked(graph, input, config, context, {"durability": durability}, stream_mode, subgraphs)
        terms: dict[str, Any] = {"kind": RUN, "capabilities": names(capabilities, "capabilities"), "max_attempts": max_attempts}
        if thread is not None:
            terms["concurrency_key"] = thread_key(thread)
        fields: dict[str, Any] = {"schedule": name or graph, "cron": cron, "tz": tz, "overlap": overlap, "type": graph, "terms": terms}
        return Schedule(self._link, await self._link.acall("schedule.set", **fields, body=body))

    async def get(self, run_id: str) -> RunInfo:
        """How a run is now. Raises `TaskNotFound`: there is none, or it ended long ago."""
        return info_from_wire((await self._link.acall("task.get", task=run_id))["task"])

    async def list(self, states: Sequence[str] | None = None, *, thread_id: str | None = None, limit: int | None = None) -> list[RunInfo]:
        """Runs in these states (None: those that have not ended, and those that failed), in the order in which they were started.

        Args:
            thread_id: only those of this thread.
            limit: at most so many; None: all.
        """
        fields: dict[str, Any] = {"states": None if states is None else names(states, "states"), "kind": RUN}
        if thread_id is not None:
            fields["concurrency_key"] = thread_key(thread_id)
        ask = partial(self._link.acall, "task.list", **fields)
        return [info_from_wire(info) for info in await listed(ask, "tasks", TASKS, limit)]

    async def result(self, run_id: str, timeout: float | None = None) -> RunResult:
        """Wait for the end of a run. May be asked by anybody, again, and after it has ended.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            TaskFailed: the graph raised an error (`error_type`, `error_message`), or too many workers were lost on it.
            TaskCancelled: it was cancelled, or another run was put in its place.
            TaskTimeout: its own timeout ended it, or this wait did (then `state` is None).
            TaskNotFound: there is none, or it ended long ago.
        """
        ended: Latch[Result] = Latch()
        followed = self._link.follow(run_id, on_end=ended.set)
        try:
            end = await ended.wait(timeout)
        except TimeoutError:
            raise TaskTimeout(f"run {run_id} has not ended after {timeout:g} s; it goes on") from None
        finally:
            followed.close()
        value = value_of(end)
        if not isinstance(value, Mapping):
            return RunResult("elsewhere", (await self.get(run_id)).thread_id or "", None, (), ())
        return RunResult(value["status"], value["thread_id"], value["values"], tuple(value["next"]), tuple(value["interrupts"]))

    async def stream(self, run_id: str, *, after: int = 0) -> AsyncIterator[RunChunk]:
        """What a run shows, from its beginning and then as it comes, until it ends.

        It can be left and joined again, by anybody, without a gap or a repeat: say the `n` of the last chunk. Who is cancelled while it
        waits for a chunk has left it. Where another worker took the run up, what was shown before is not shown again.

        Args:
            after: read what comes after this chunk.

        Raises:
            TaskFailed, TaskCancelled, TaskTimeout: as the run ended.
            TaskNotFound: there is no such run, or it ended long ago.
        """
        ended: Latch[Result] = Latch()
        followed = self._link.follow(run_id, on_end=ended.set)
        try:
            if (opened := await self._opened(run_id, after, ended)) is not None:
                stream, item = opened
                try:
                    while item is not None:
                        if isinstance(item, Sequence):  # neither a rewind nor a gap: the numbers tell of those
                            yield RunChunk(stream.n, item[0], item[1], tuple(item[2]))
                        item = await anext(stream, None)
                except StreamFailed:
                    pass  # the run's own end says why
                finally:
                    stream.close()
            value_of(await ended.wait(None))
        finally:
            followed.close()

    async def cancel(self, run_id: str, reason: str | None = None, *, wait: float = 0.0) -> str:
        """End a run, wherever it is: its nodes are stopped, the thread stays at its last checkpoint. Returns the state it has then; a run
        that has ended stays as it ended.

        Args:
            wait: seconds that whoever runs it has to stop its nodes and let go of the thread; see `Task.cancel`.
        """
        return await cancel(self._link, run_id, reason, wait)

    async def retry(self, run_id: str) -> str:
        """Let a failed run go on from its thread's last checkpoint, with a fresh count of attempts. Returns its state."""
        return str((await self._link.acall("task.retry", task=run_id))["state"])

    async def _opened(self, run_id: str, after: int, ended: Latch[Result]) -> tuple[IncomingStream, Any] | None:
        """The stream of a run, and its first item; None for a run that ended without one. A run that waits has none yet."""
        openings = log_stream(self._link, "stream.opened", lambda event: event, subject=f"{TOPIC}{run_id}", bodies=False)
        async with openings:  # listened to first, so that none is missed
            while True:
                stream = IncomingStream(self._link, f"{run_id}/run", after=after)
                try:
                    return stream, await anext(stream, None)
                except StreamFailed:
                    return None
                except StreamNotFound:
                    stream.close()
                    if ended.is_set:
                        return None
                opening, ending = asyncio.ensure_future(anext(openings)), asyncio.ensure_future(ended.wait(None))
                try:
                    await asyncio.wait({opening, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in (opening, ending):
                        each.cancel()
                    await asyncio.wait({opening, ending})


def _asked(
    graph: str,
    input: Any,
    config: Mapping[str, Any] | None,
    context: Any,
    options: Mapping[str, Any],
    stream_mode: str | Sequence[str],
    subgraphs: bool,
) -> tuple[str | None, bytes]:
    """The thread, and the body of a run. Raises: NotEncodable, BadRequest."""
    config = dict(config or {})
    configurable = {name: value for name, value in (config.get("configurable") or {}).items() if not name.startswith("__")}
    thread = configurable.pop("thread_id", None)
    if thread is not None and len(str(thread)) > LONGEST_ID:
        raise BadRequest(f"a thread_id of {len(str(thread))} characters is too long: at most {LONGEST_ID}")
    command = _command(input)
    body = {
        "v": FORMAT,
        "form": PLAIN,
        "graph": graph,
        "thread": None if thread is None else str(thread),
        "input": None if command is not None else asked_of_state(input),
        "command": command,
        "config": {**{name: asked(config[name]) for name in CONFIG if config.get(name) is not None}, "configurable": asked(configurable)},
        "context": asked(context),
        "options": {name: asked(value) for name, value in options.items() if value is not None},
        "modes": [stream_mode] if isinstance(stream_mode, str) else list(stream_mode),
        "subgraphs": subgraphs,
    }
    return body["thread"], encode(body)


def _command(input: Any) -> dict[str, Any] | None:
    """LangGraph's `Command`, by its shape: this layer does not know LangGraph."""
    if type(input).__name__ != "Command" or not type(input).__module__.startswith("langgraph."):
        return None
    goto: Any = [input.goto] if isinstance(input.goto, str) or not isinstance(input.goto, Sequence) else input.goto
    to = [{"node": each.node, "arg": asked(each.arg)} if hasattr(each, "node") else each for each in goto]
    return {"resume": asked(input.resume), "goto": to, **_update(input.update)}


def _update(update: Any) -> dict[str, Any]:
    """Pairs are said to be some: what is plain has no tuples."""
    pairs = isinstance(update, (list, tuple)) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in update)
    return {"pairs": asked(update)} if pairs else {"update": asked_of_state(update)}


def info_from_wire(info: Mapping[str, Any]) -> RunInfo:
    return RunInfo(
        id=info["task"],
        graph=info["type"],
        thread_id=thread_of(key) if (key := info.get("concurrency_key")) is not None else info["task"],
        state=info["state"],
        attempt=info["attempt"],
        created=info["created"],
        holder=info.get("holder"),
        errors=tuple(info.get("errors", ())),
    )
