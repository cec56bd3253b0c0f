"""What stands in a distributed graph where a node's body was."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config

from ...client.follow import Result
from ...client.io import hand_back
from ...errors import TaskCancelled
from .._compat import CONFIG_KEY_INTERRUPTION, CONFIG_KEY_RUN, CONFIG_KEY_TASK_ID
from ..context import NodeContext, running
from . import callbacks
from .envelope import ASYNC, SYNC, is_leased
from .execution import Execution, Item
from .nodes_of import StandIn
from .place import Place

if TYPE_CHECKING:
    from ..ctrl_c import Interruption
    from .run import Run

log = logging.getLogger("langgraph_nolag")

OVER: Final = ("end", "left", "refused")  # after one of these no further item is read
CANCELLED: Final = ("end", "left")  # one of these comes after every cancellation, even if a request was refused before


class RemoteNode(StandIn):
    """Runs a node's body on a worker."""

    def __init__(self, place: Place, body: Runnable[Any, Any]) -> None:
        self.place = place
        self.body = body
        self.name = getattr(body, "name", None)

    def _execution(self, input: Any, config: RunnableConfig, mode: bytes, put: Callable[[Item], None], *, blocking: bool) -> Execution:
        return Execution(self.place, input, config, mode, put, blocking=blocking)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        self.place.link.connection.io.check_may_block()
        items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        execution = self._execution(input, config or ensure_config(), SYNC, items.put, blocking=True)
        interrupted = TaskCancelled(f"node {self.place.node!r}: interrupted")
        interruption: Interruption | None = execution.conf.get(CONFIG_KEY_INTERRUPTION)
        if interruption is not None and threading.current_thread() is not threading.main_thread():  # Python interrupts that one
            interruption.watch(id(items), lambda: items.put(("refused", interrupted)))
        try:
            result = _until_end(execution, items)
        except BaseException as error:
            result, given = None, False
            try:
                if execution.cancel(error):
                    result = _until_end(execution, items)  # a second Ctrl-C ends that, too
                given = error is interrupted and result is not None and result.state == "completed"
            finally:
                if not given:
                    execution.leave()
            if not given:
                raise
        finally:
            if interruption is not None:
                interruption.unwatch(id(items))
        assert result is not None
        outcome = execution.outcome(result)
        for event in execution.unseen(result, outcome):
            callbacks.replay(execution.config.get("callbacks"), event)
        return execution.settle(outcome)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Item] = asyncio.Queue()

        def put(item: Item) -> None:
            hand_back(loop, items.put_nowait, item)

        answering: set[asyncio.Task[None]] = set()
        execution = self._execution(input, config or ensure_config(), ASYNC, put, blocking=False)
        try:
            result = await _auntil_end(execution, items, answering)
        except BaseException as error:
            result = await _undisturbed(_auntil_end(execution, items, answering, CANCELLED)) if execution.cancel(error) else None
            if not (isinstance(error, asyncio.CancelledError) and execution.went_on(result)):
                execution.leave()
                raise
        finally:
            for task in answering:
                task.cancel()
        assert result is not None
        outcome = execution.outcome(result)
        for event in execution.unseen(result, outcome):
            await callbacks.areplay(execution.config.get("callbacks"), event, execution.taps)
        return execution.settle(outcome)


def _until_end(execution: Execution, items: queue.SimpleQueue[Item]) -> Result | None:
    """Show what comes until the body ends. None: of what was cancelled nothing more is heard. Raises what the room refuses."""
    while (item := items.get())[0] not in OVER:
        if (event := _taken(execution, *item)) is not None:
            callbacks.replay(execution.config.get("callbacks"), event)
    return _over(*item)


async def _auntil_end(
    execution: Execution, items: asyncio.Queue[Item], answering: set[asyncio.Task[None]], over: Collection[str] = OVER
) -> Result | None:
    """The same, in an event loop, where calls of the body are answered, too."""
    while (item := await items.get())[0] not in over:
        if item[0] == "call":
            task = asyncio.create_task(_answer(execution, item[1]))
            answering.add(task)
            task.add_done_callback(answering.discard)
        elif item[0] == "refused":  # the end of the run has cancelled this node already, and is reported as a refusal as well
            log.debug("node %s was cancelled, and is refused: %s", execution.place.node, item[1])
        elif (event := _taken(execution, *item)) is not None:
            await callbacks.areplay(execution.config.get("callbacks"), event, execution.taps)
    return _over(*item)


def _taken(execution: Execution, what: str, item: Any) -> Any:
    """Do what an item says that is not the last one; a callback event, if it is one, is for the caller to hand on."""
    if what == "task":
        execution.tasks.take(item)
        return None
    return execution.show(*item)


def _over(what: str, item: Any) -> Result | None:
    if what == "refused":
        raise item
    result: Result | None = item
    return result


async def _undisturbed(waiting: Coroutine[Any, Any, Result | None]) -> Result | None:
    """Await it, however often we are cancelled meanwhile: LangGraph cancels the siblings of a node that failed twice. None where it fails,
    or is cancelled itself, as when its loop ends."""
    task = asyncio.ensure_future(waiting)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    if task.cancelled():
        return None
    if (error := task.exception()) is not None:
        log.warning("what a cancelled node still said could not be shown", exc_info=error)
        return None
    return task.result()


async def _answer(execution: Execution, call: tuple[int, str, bytes]) -> None:
    execution.tell(await execution.answers.acarry_out(*call))


class LocalNode(StandIn):
    """Runs a node's body here, when the checkpoint before it is stored, and inside a context in which gates find their room."""

    def __init__(self, place: Place, body: Runnable[Any, Any]) -> None:
        self.place = place
        self.body = body
        self.name = getattr(body, "name", None)

    def _context(self, config: RunnableConfig | None) -> NodeContext:
        conf = (config or {}).get("configurable", {})
        thread, run = conf.get("thread_id"), self._run(config)
        return NodeContext(
            link=self.place.link,
            graph=self.place.graph,
            node=self.place.node,
            thread_id=None if thread is None else str(thread),
            task_id=str(conf.get(CONFIG_KEY_TASK_ID, "")),
            checkpoint_ns=str(conf.get("checkpoint_ns", "")),
            remote=False,
            leased=is_leased(conf),
            may_vote=None if run is None or run.lease is None else run.lease.may_vote,
        )

    @staticmethod
    def _run(config: RunnableConfig | None) -> Run | None:
        run: Run | None = (config or {}).get("configurable", {}).get(CONFIG_KEY_RUN)
        return run

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        if (run := self._run(config)) is not None:
            run.stored()
        with running(self._context(config)):
            return self.body.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        if (run := self._run(config)) is not None:
            await run.astored()
        with running(self._context(config)):
            return await self.body.ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        if (run := self._run(config)) is not None:
            run.stored()
        with running(self._context(config)):
            yield from self.body.stream(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        if (run := self._run(config)) is not None:
            await run.astored()
        with running(self._context(config)):
            async for chunk in self.body.astream(input, config, **kwargs):
                yield chunk
