"""The processes of a graph that are killed: orchestrators and workers. Each is given the broker's address, a token, its end of a pipe."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

from langgraph.errors import EmptyInputError
from langgraph.types import Command

from langgraph_nolag import NoLagSaver, Worker, distribute
from langgraph_nolag.client.rooms import RoomHandle, close_shared

from . import graph_story as story
from .graph_moments import Moment, watch

OPTIONS: Any = {"stream_mode": ["custom", "updates"], "durability": "sync"}


def work(url: str, token: str, pipe: Pipe, room: str, plan: Moment | None) -> None:
    """Serves the graph's nodes, its tool, and the handler of its handed-off task."""
    say = _begin(pipe, plan)
    worker = Worker(RoomHandle(url, room, token), concurrency=4)
    worker.graph(story.graph, name=story.NAME)
    worker.tool(story.price, max_attempts=5)
    worker.task("charge")(story.charge)
    worker.run(on_ready=lambda line: say(("serving", line)))


def orchestrate(url: str, token: str, pipe: Pipe, room: str, plan: Moment | None, command: tuple[str, Any], use_loop: bool) -> None:
    """Invokes the thread once, tells what it streams, and where the thread stands then."""
    say = _begin(pipe, plan)
    handle = RoomHandle(url, room, token)
    graph = distribute(story.graph, handle, name=story.NAME, checkpointer=NoLagSaver(handle))
    config: Any = {"configurable": {"thread_id": room}}
    what, value = command
    input: Any = {"folder": value} if what == "start" else Command(resume=value) if what == "resume" else None

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
        history = [(each.metadata["step"], each.metadata["source"], list(each.next)) for each in graph.get_state_history(config)]
        say(("stands", (state.values, [(each.id, each.value) for each in state.interrupts], list(state.next), history)))
    close_shared()


def _begin(pipe: Pipe, plan: Moment | None) -> Callable[[Any], None]:
    logging.getLogger("langgraph_nolag").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    lock = threading.Lock()

    def say(what: Any) -> None:
        with lock:
            pipe.send(what)

    watch(lambda when, what: say(("moment", (when, what))), plan)
    return say
