"""The processes of a graph that are killed: orchestrators and workers. Each is given the broker's address, a token, its end of a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

from langgraph.errors import EmptyInputError
from langgraph.types import Command as Resume

from langgraph_nolag import NoLagSaver, Worker, connect, distribute
from langgraph_nolag.client.rooms import RoomHandle, close_shared
from langgraph_nolag.errors import AlreadyDecided

from . import graph_story as story
from .graph_moments import Moment, watch
from .graph_plants import PLANTS

Command = tuple[str, Any]  # "start" with a folder, "resume" with an answer or a map of them, "go on", "decide" with an approval
OPTIONS: Any = {"stream_mode": ["custom", "updates"], "durability": "sync"}


def work(url: str, token: str, pipe: Pipe, room: str, plan: Moment | None, plant: str | None, resume: bool) -> None:
    """Serves the graph's nodes, its tool, and the handler of its handed-off task; with `resume` the graph as a whole, too."""
    say = _begin(pipe, plan, plant)
    worker = Worker(RoomHandle(url, room, token), concurrency=4)
    worker.graph(story.graph, name=story.NAME, resume=resume, whole=story.WHOLE)
    worker.tool(story.price, max_attempts=5)
    worker.task("charge")(story.charge)
    worker.run(on_ready=lambda line: say(("serving", line)))


def orchestrate(
    url: str, token: str, pipe: Pipe, room: str, plan: Moment | None, plant: str | None, command: Command, use_loop: bool
) -> None:
    """Invokes the thread once, tells what it streams, and where the thread stands then."""
    say = _begin(pipe, plan, plant)
    handle = RoomHandle(url, room, token)
    graph = distribute(story.graph, handle, name=story.NAME, checkpointer=NoLagSaver(handle), whole=story.WHOLE)
    config: Any = {"configurable": {"thread_id": room}}
    what, value = command
    input: Any = {"folder": value} if what == "start" else Resume(resume=value) if what == "resume" else None

    def invoke() -> None:
        for chunk in graph.stream(input, config, **OPTIONS):
            say(("chunk", chunk))

    async def ainvoke() -> None:
        async for chunk in graph.astream(input, config, **OPTIONS):
            say(("chunk", chunk))

    if what == "go on":
        say(("found", [each.value for each in graph.get_state(config).interrupts]))
    try:
        asyncio.run(ainvoke()) if use_loop else invoke()
    except EmptyInputError:
        say(("empty", None))
    except Exception as error:
        say(("raised", "".join(traceback.format_exception(error))))
    else:
        state = graph.get_state(config)
        history: Any = graph.get_state_history(config)
        supersteps = [(each.metadata["step"], each.metadata["source"], list(each.next)) for each in history]
        say(("stands", (state.values, [(each.id, each.value) for each in state.interrupts], list(state.next), supersteps)))
    close_shared()


def call(
    url: str, token: str, pipe: Pipe, room: str, plan: Moment | None, plant: str | None, command: Command, number: int, after: int
) -> None:
    """Starts a run in the background, or finds it, and tells its stream from a chunk on; or decides a gate and waits until nothing runs."""
    say = _begin(pipe, plan, plant)
    what, value = command

    async def run(runs: Any) -> None:
        input: Any = {"folder": value} if what == "start" else Resume(resume=value)
        config = {"configurable": {"thread_id": room}}
        started = await runs.start(story.NAME, input, config, key=f"run {number}", stream_mode=["custom", "updates"])
        async for chunk in started.stream(after=after):
            say(("chunk", (chunk.mode, chunk.data, chunk.n)))
        say(("ended", (await started.result()).status))

    async def decide(joined: Any) -> None:
        with contextlib.suppress(AlreadyDecided):
            await joined.approve.decide(value, "approve")
        while await joined.runs.list(["waiting", "parked", "delayed", "running"], thread_id=room):
            await asyncio.sleep(0.02)
        say(("ended", "decided"))

    async def main() -> None:
        async with connect(url, token=token) as client:
            joined = await client.join(room)
            await (decide(joined) if what == "decide" else run(joined.runs))

    try:
        asyncio.run(main())
    except Exception as error:
        say(("raised", "".join(traceback.format_exception(error))))


def _begin(pipe: Pipe, plan: Moment | None, plant: str | None) -> Callable[[Any], None]:
    logging.getLogger("langgraph_nolag").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if plant is not None:
        PLANTS[plant]()
    lock = threading.Lock()

    def say(what: Any) -> None:
        with lock:
            pipe.send(what)

    watch(lambda when, what: say(("moment", (when, what))), plan)
    return say
