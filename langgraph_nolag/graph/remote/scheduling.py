"""The tasks (`@task`) that a remote body calls, where the graph is invoked: LangGraph's loop has them like any others, with a stand-in for
each function, which runs on the worker, beside the body. See `called.py`."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

from ...client.follow import Result
from ...errors import NoLagError, TaskCancelled
from .._compat import CONFIG_KEY_CALL, CONFIG_KEY_SCRATCHPAD, Numbers
from . import callbacks
from .called import RUN, VALUE
from .channel import BLOCKING_CALL, CALL, HELLO, INNER, STOP, STREAMED, numbered
from .execution import Execution, Item
from .proxy import RemoteNode
from .unseen import number_of

CALLS: Final = (CALL, BLOCKING_CALL)


class ScheduledTasks:
    """Those that one execution of a body calls."""

    def __init__(self, around: Execution) -> None:
        self._around = around
        self._codec = around.place.codec
        self._before: int | None = None  # calls of earlier tries of the body, from which LangGraph goes on
        self._tasks: dict[int, ScheduledTask] = {}

    def take(self, call: tuple[int, str, bytes]) -> None:
        """A question of the worker; where the node waits, and where LangGraph expects its tasks to be called."""
        asked, _, args = call
        number, facts, *ended = self._codec.decode(args)
        task = self._tasks.get(number)
        if task is None:
            task = self._tasks[number] = ScheduledTask(self._around, number, self._codec.decode(facts, lax=True))
            numbers = Numbers.of_tasks(self._around.conf[CONFIG_KEY_SCRATCHPAD])
            if self._before is None:
                self._before = numbers.given
            numbers.tell(self._before + number)
            task.schedule()
        task.asked(asked, *ended)

    def heard(self, attempt: int, frame: bytes) -> None:
        """A frame of a function; on the I/O thread."""
        number, inner = numbered(frame)
        task = self._tasks.get(number)
        if task is not None and task.execution is not None:
            task.execution.heard(attempt, inner)
        elif inner[:1] in CALLS:  # it was begun for an orchestrator before us
            self._around.tell(HELLO + self._codec.encode(self._around.nonce))

    def end(self, error: NoLagError) -> None:
        """The body has ended: no function runs any more."""
        for task in list(self._tasks.values()):
            if task.execution is not None:
                task.execution.refuse(error)


class ScheduledTask:
    """One call of a task.

    Attributes:
        execution: the last try at its function.
    """

    def __init__(self, around: Execution, number: int, facts: dict[str, Any]) -> None:
        self.execution: Beside | None = None
        self._around = around
        self._number = number
        self._facts = facts
        self._lock = threading.Lock()
        self._waiting: int | None = None  # the worker's call that has no answer
        self._answer: tuple[bool, Any] | None = None
        self._tries: set[str] = set()
        self._open: tuple[str, bytes] | None = None  # the try that the worker is to end
        self._left: tuple[bytes, int | None] | None = None  # how it ended for an orchestrator before us
        self._matched: int | None = None  # which retry policy is for the last error

    # --- LangGraph's side -----------------------------------------------------------------------------------

    def schedule(self) -> None:
        facts, codec = self._facts, self._around.place.codec
        retry = [RetryPolicy._make([*policy, self._is_for(position)]) for position, policy in enumerate(facts["retry"])]
        cache, timeout = facts["cache"], facts["timeout"]
        try:
            future = self._around.conf[CONFIG_KEY_CALL](
                self._stand_in(),
                codec.decode(facts["input"], lax=True),
                retry_policy=retry,
                cache_policy=None if cache is None else CachePolicy(key_func=lambda *_, **__: cache[0], ttl=cache[1]),
                callbacks=callbacks.inside(self._around.config.get("callbacks"), facts["run"]),
                timeout=None if timeout is None else TimeoutPolicy(**timeout),
            )
        except Exception as error:
            self._end(False, error)
        else:
            future.add_done_callback(self._done)

    def _is_for(self, position: int) -> Callable[[Exception], bool]:
        """The worker has the exception itself, and what the policy says of it."""
        return lambda _: self._matched == position

    def _stand_in(self) -> Callable[..., Any]:
        node = _BesideNode(self, self._around)

        def run(*args: Any, **named: Any) -> Any:
            return node.invoke(None, get_config())

        async def arun(*args: Any, **named: Any) -> Any:
            return await node.ainvoke(None, get_config())

        made: Any = arun if self._facts["async"] else run
        for name, value in self._facts["names"].items():
            setattr(made, name, value)
        made.__signature__ = inspect.Signature(
            [
                inspect.Parameter(name, inspect._ParameterKind(kind), default=default[0] if default else inspect.Parameter.empty)
                for name, kind, default in self._facts["parameters"]
            ]
        )
        return made  # type: ignore[no-any-return]

    def _done(self, future: Any) -> None:
        if future.cancelled():
            self._end(False, TaskCancelled(f"the task {self._facts['names']['__name__']} was cancelled"))
        elif (error := future.exception()) is not None:
            self._end(False, error)
        else:
            self._end(True, [VALUE, future.result()])

    def _end(self, ok: bool, value: Any) -> None:
        with self._lock:
            self._answer = ok, value
            asked, self._waiting = self._waiting, None
        self._reply(asked, ok, value)

    def begin(self, execution: Beside, body: bytes) -> None:
        """LangGraph's loop runs the stand-in."""
        asked, left = None, None
        with self._lock:
            self.execution = execution
            self._tries.add(execution.nonce)
            left, self._left, self._matched = self._left, None, None
            if left is None:
                self._open = execution.nonce, body
                asked, self._waiting = self._waiting, None
        if left is not None:
            self._deliver(execution, *left)
        self._reply(asked, True, [RUN, body, execution.nonce])

    def stop(self, execution: Beside) -> None:
        """LangGraph's loop does not wait any more for this try."""
        with self._lock:
            if self._open is None or self._open[0] != execution.nonce:
                return
            self._open = None
        self.tell(STOP)

    # --- the worker's side ----------------------------------------------------------------------------------

    def asked(self, asked: int, tried: str | None = None, outcome: bytes | None = None, matched: int | None = None) -> None:
        """What comes next, of a function that is to be called, or that has ended.

        Args:
            asked: the worker's call.
            tried: which try has ended; one that is not known was begun for an orchestrator before us.
            outcome: of that; None: it was stopped.
            matched: which retry policy is for its error.
        """
        execution = None
        with self._lock:
            if outcome is not None and self._open is not None and (tried == self._open[0] or tried not in self._tries):
                execution, self._open = self.execution, None
            elif outcome is not None and tried not in self._tries:
                self._left = outcome, matched
            answer, open = self._answer, self._open
            if answer is None and open is None:
                self._waiting = asked
        if answer is not None:
            self._reply(asked, *answer)
        elif open is not None:
            self._reply(asked, True, [RUN, open[1], open[0]])
        if execution is not None and outcome is not None:
            self._deliver(execution, outcome, matched)

    def _deliver(self, execution: Beside, outcome: bytes, matched: int | None) -> None:
        self._matched = matched
        execution.end(outcome)

    def tell(self, frame: bytes) -> None:
        self._around.tell(INNER + self._number.to_bytes(4, "big") + frame)

    def _reply(self, asked: int | None, ok: bool, value: Any) -> None:
        if asked is not None:
            self._around.tell(self._around.answers.answered(asked, ok, value))


class Beside(Execution):
    """One try at a function, beside the body that called it. The room knows nothing of it: LangGraph stores what comes of it."""

    def __init__(self, task: ScheduledTask, *args: Any, **named: Any) -> None:
        self._scheduled = task
        self._attempt = 0
        self._streamed = 0  # frames, without a hole
        super().__init__(*args, **named)

    def hand_out(self, body: bytes) -> None:
        self._run = self._lease = None
        self._scheduled.begin(self, body)
        self.place.link.connection.io.post(self._look_for_drain)

    def heard(self, attempt: int, frame: bytes) -> None:
        if attempt != self._attempt:
            self._attempt, self._streamed = attempt, 0
        if frame[:1] in STREAMED:
            if number_of(frame) != self._streamed + 1:
                return  # the function was begun for an orchestrator before us: what we do not have comes with its outcome
            self._streamed += 1
        super().heard(attempt, frame)

    def end(self, outcome: bytes) -> None:
        """From any thread."""
        self._over = True
        self._put(("end", Result("", "completed", 0, outcome, None, None, self._attempt)))

    def refuse(self, error: NoLagError) -> None:
        """From any thread."""
        if not self._over:
            self._over = True
            self._put(("refused", error))

    def tell(self, frame: bytes) -> None:
        self._scheduled.tell(frame)

    def drop(self) -> None:
        """The room keeps nothing."""

    def cancel(self, error: BaseException) -> bool:
        self._over = True
        self._scheduled.stop(self)
        return False

    def leave(self) -> None:
        """The room knows nothing of it."""


class _BesideNode(RemoteNode):
    def __init__(self, task: ScheduledTask, around: Execution) -> None:
        super().__init__(replace(around.place, timeout=None), None)  # type: ignore[arg-type]
        self._task = task

    def _execution(self, input: Any, config: RunnableConfig, mode: bytes, put: Callable[[Item], None], *, blocking: bool) -> Execution:
        return Beside(self._task, self.place, input, config, mode, put, blocking=blocking)
