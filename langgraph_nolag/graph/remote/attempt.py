"""One hand-out of a node's task: the worker's side of an execution."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import set_config_context
from langgraph.errors import GraphInterrupt

from ...client.cause import begin_task
from ...client.failure import text_of
from ...client.io import hand_back
from ...client.link import RoomLink
from ...client.offer import Assigned
from ...errors import NoLagError, NotDecodable
from ..context import NodeContext, running
from ..errors import ExecutionLost
from ..serde.codec import Codec
from .called import CalledTasks
from .channel import INNER, STOP, Channel
from .envelope import ASYNC, Call, Seat, config_for
from .outcome import Outcome

log = logging.getLogger("langgraph_nolag")


class Attempt:
    """Runs one body, to its outcome or until the room takes it away.

    `start`, `told` and `cancel` are called on the I/O thread and do not block.

    Args:
        task: the hand-out; of a function that a body calls as `@task`, what stands for one.
        within: the room's hand-out, where `task` is none.
    """

    def __init__(
        self,
        link: RoomLink,
        graph: str,
        node: str,
        body: Runnable[Any, Any],
        codec: Codec,
        task: Assigned,
        on_finished: Callable[[Assigned], None],
        within: Assigned | None = None,
    ) -> None:
        self._assigned = within or task  # by the room
        self._on_finished = on_finished
        self._link = link
        self._graph = graph
        self._node = node
        self._body = body
        self._codec = codec
        self._task = task
        self._channel: Channel | None = None
        self._tasks: CalledTasks | None = None
        self._running: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancelled = False
        self._gone: str | None = None  # why nothing of this attempt counts any more

    def start(self, threads: concurrent.futures.ThreadPoolExecutor, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, on a thread or on the loop, as the orchestrator asked."""
        if self._task.body[:1] == ASYNC:
            self._loop = loop
            asyncio.run_coroutine_threadsafe(self._run_async(), loop).add_done_callback(self._done)
        else:
            threads.submit(self._run_sync).add_done_callback(self._done)

    def _done(self, done: concurrent.futures.Future[Any]) -> None:
        self._on_finished(self._task)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("running a node failed in langgraph-nolag itself", exc_info=error)
            what = f"{type(error).__name__}: {text_of(error)}"
            self._refuse(NoLagError(f"running node {self._node!r} failed in langgraph-nolag itself: {what}"))

    def _refuse(self, error: NoLagError) -> None:
        """There is no answer of the body: without an end the task would be held for ever."""
        self._task.offer.fail(self._task, error.code, str(error), body=self._codec.encode(error), retry=False)

    def told(self, frame: bytes) -> None:
        if frame == STOP:
            self.cancel("nobody waits for it any more")
        elif frame[:1] == INNER and self._tasks is not None:
            self._tasks.told(frame)
        elif self._channel is not None:
            self._channel.told(frame)

    def cancel(self, reason: str, *, counts: bool = False) -> None:
        """Stop: an async body is cancelled, once, and may clean up; a sync one goes on.

        Args:
            counts: what it does still counts, as does its answer; without it, its next call raises.
        """
        if not counts:
            self._gone = reason
            if self._channel is not None:
                self._channel.close(ExecutionLost(f"node {self._node!r}: {reason}"))
            if self._tasks is not None:
                self._tasks.cancel(reason)
        again, self._cancelled = self._cancelled, True
        if not again and self._loop is not None and self._running is not None:
            hand_back(self._loop, self._running.cancel)

    # --- the body -------------------------------------------------------------------------------------------

    def _prepare(self) -> tuple[Call, RunnableConfig, Seat, NodeContext] | None:
        """Everything that the body needs; None when the task can't be read here, which is then how it failed."""
        task = self._task
        try:
            call = Call.decode(self._codec, task.body)
            self._channel = Channel(self._codec, call.nonce, task.attempt, lambda frame: task.offer.progress(task, frame))
            self._tasks = CalledTasks(self._channel, self._codec, self._link.connection.io, task, self._beside, self._loop)
            if self._gone is not None:
                self._channel.close(ExecutionLost(self._gone))
            config, seat = config_for(call, self._codec, self._channel, self._tasks.call, again=task.attempt > 1)
        except Exception as raised:  # whatever it is, somebody waits for an answer
            error = raised if isinstance(raised, NoLagError) else _unreadable(raised)
            log.error("node %r of %s can't run here: %s", self._node, self._graph, error)
            self._refuse(error)
            return None
        context = NodeContext(
            link=self._link,
            graph=self._graph,
            node=self._node,
            thread_id=call.thread_id,
            task_id=call.task_id,
            checkpoint_ns=call.checkpoint_ns,
            remote=True,
            call_back=self._channel.call,
            leased=call.leased,
        )
        self._tasks.approvals = context.approvals
        return call, config, seat, context

    def _beside(self, function: Runnable[Any, Any], task: Any) -> Attempt:
        """An attempt at a function of a task that the body calls."""
        return Attempt(self._link, self._graph, self._node, function, self._codec, task, lambda _: None, self._assigned)

    def _run_sync(self) -> None:
        if self._cancelled:  # before there was a thread for it
            self._task.offer.release(self._task)
            return
        if (prepared := self._prepare()) is None:
            return
        call, config, seat, context = prepared

        def body() -> Any:
            begin_task(self._assigned)
            with running(context):
                return self._body.invoke(call.input, config)

        try:
            with set_config_context(config) as where:
                outcome = Outcome("value", where.run(body))
        except GraphInterrupt as interrupt:
            outcome = Outcome("interrupt", interrupt.args[0])
        except BaseException as error:  # whatever a body raises is raised on the orchestrator
            outcome = Outcome("error", error)
        if self._tasks is not None:
            concurrent.futures.wait(self._tasks.waited_for())
        self._end(outcome, seat, context)

    async def _run_async(self) -> None:
        if (prepared := self._prepare()) is None:
            return
        call, config, seat, context = prepared

        async def body() -> Any:
            begin_task(self._assigned)
            with running(context):
                return await self._body.ainvoke(call.input, config)

        try:
            with set_config_context(config) as where:
                self._running = asyncio.get_running_loop().create_task(body(), context=where)
                if self._cancelled:
                    self._running.cancel()
                outcome = Outcome("value", await self._running)
        except GraphInterrupt as interrupt:
            outcome = Outcome("interrupt", interrupt.args[0])
        except BaseException as error:
            outcome = Outcome("error", error)
        if self._tasks is not None and (left := self._tasks.waited_for()):
            if outcome.kind == "error":  # as LangGraph has it, in an event loop
                self._tasks.cancel("what called it has failed")
            await asyncio.gather(*map(asyncio.wrap_future, left), return_exceptions=True)
        self._end(outcome, seat, context)

    def _end(self, outcome: Outcome, seat: Seat, context: NodeContext) -> None:
        task, unseen = self._task, []
        if self._channel is not None:
            self._channel.close()
            unseen = self._channel.unseen()
        if self._gone is not None or (self._cancelled and isinstance(outcome.value, asyncio.CancelledError)):
            task.offer.release(task)  # its outcome counts for nothing any more: this only says that we have stopped
            return
        visited = None if seat.visited is None else sorted(seat.visited)
        called = seat.graphs.given
        whole = Outcome(outcome.kind, outcome.value, seat.writes, visited, called, unseen, self._cancelled)
        try:
            body = whole.encode(self._codec, self._node)
        except NoLagError as error:
            whole = Outcome("error", error, called=called, unseen=unseen)
            body = whole.encode(self._codec, self._node)
        task.offer.complete(task, body, approvals=context.approvals if whole.kind == "interrupt" else None)


def _unreadable(raised: Exception) -> NotDecodable:
    return NotDecodable(
        f"a node's task is not laid out as this worker reads it ({type(raised).__name__}: {raised}); do both sides run the same version of "
        "langgraph-nolag?"
    )
