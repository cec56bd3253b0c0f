"""The tasks (`@task`) that a body calls on a worker.

LangGraph's loop, where the graph is invoked, schedules, retries, caches and stores them, as in one process. Their functions run here,
beside the body that calls them: so nothing of them need be importable, and nobody holds a slot that they wait for.

    body            worker                            orchestrator (`scheduling.py`)
    task(x)   ->    asks "task"                ->     LangGraph's loop has it
                    runs the function          <-     answer: RUN, a configuration
                    asks "ended", the outcome  ->     LangGraph stores it, or tries again: RUN
    result    <-                               <-     answer: VALUE, or an error

While a function runs, its frames to and from the orchestrator are those of the body, with the number of the call before them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import Runnable, RunnableConfig

from ...client.io import settle_blocking
from .._compat import is_async_callable, matching_policy, task_runnable
from ..errors import ExecutionLost
from ..serde.codec import Codec
from ..serde.failures import REMOTE
from .callbacks import run_of
from .channel import INNER, Channel, numbered
from .outcome import Outcome

if TYPE_CHECKING:
    from ...client.io import IoThread
    from .attempt import Attempt

TASK: Final = "task"
ENDED: Final = "ended"
RUN: Final = "run"
VALUE: Final = "value"
THREADS: Final = 1000  # for functions. The process that invokes the graph has a thread waiting for each, and keeps far fewer
INJECTED: Final = ("config", "writer", "store", "previous", "runtime")
"""What LangGraph hands to a function by the name of its parameter."""


@functools.cache
def task_threads() -> concurrent.futures.ThreadPoolExecutor:
    """Threads for functions of tasks: not those of bodies, which wait for them."""
    return concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="nolag-task")


class CalledTasks:
    """The calls of one attempt at a body.

    Args:
        task: of the room, that the body is; or what stands for one.
        make: an attempt at a function.
        loop: for async functions; None where the graph runs without one.

    Attributes:
        approvals: of the body; what a function asks people for is created with the body's interrupt.
    """

    def __init__(
        self,
        channel: Channel,
        codec: Codec,
        io: IoThread,
        task: Any,
        make: Callable[[Runnable[Any, Any], Any], Attempt],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.approvals: list[dict[str, Any]] = []
        self._channel = channel
        self._codec = codec
        self._io = io
        self._task = task
        self._make = make
        self._loop = loop
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._open: dict[int, _Call] = {}
        channel.on_hello = self._ask_again

    def call(
        self,
        function: Callable[..., Any],
        input: tuple[tuple[Any, ...], dict[str, Any]],
        *,
        retry_policy: Sequence[Any] | None = None,
        cache_policy: Any = None,
        callbacks: Any = None,
        timeout: Any = None,
    ) -> Any:
        """What LangGraph calls when a task is called. Returns a future: of the running event loop where there is one."""
        policies = list(retry_policy or ())
        facts = self._codec.encode(
            {
                **_described(function),
                "input": self._codec.encode(input, lax=True),
                "retry": [list(policy[:-1]) for policy in policies],
                "cache": None if cache_policy is None else [cache_policy.key_func(*input[0], **input[1]), cache_policy.ttl],
                "timeout": None if timeout is None else dataclasses.asdict(timeout),
                "run": run_of(callbacks),
            },
            lax=True,
        )
        with self._lock:  # calls are known by their order
            call = _Call(next(self._numbers), _Function(function, input), facts, policies)
            self._open[call.number] = call
            asked = self._channel.ask(TASK, call.number, call.facts)
        call.following = self._io.submit(self._follow(call, asked))
        try:
            inside = asyncio.current_task() is not None
        except RuntimeError:
            inside = False
        return asyncio.wrap_future(call.future) if inside else call.future

    async def _follow(self, call: _Call, asked: Coroutine[Any, Any, Any]) -> None:
        """Do what the orchestrator says, until there is a result. On the I/O thread."""
        try:
            what, value, *more = await asked
            while what == RUN:
                handed = _Handed(self, self._task, call.number, value)
                call.attempt = self._make(call.function, handed)
                call.attempt.start(task_threads(), self._loop)  # type: ignore[arg-type]
                outcome = await asyncio.wrap_future(handed.outcome)
                call.attempt = None
                matched = None if call.function.error is None else matching_policy(call.policies, call.function.error)
                what, value, *more = await self._channel.acall(ENDED, call.number, call.facts, more[0], outcome, matched)
            self._settle(call, value, None)
        except Exception as error:
            self._settle(call, None, call.function.itself(error))

    def _settle(self, call: _Call, value: Any, error: BaseException | None) -> None:
        self._open.pop(call.number, None)
        settle_blocking(call.future, value, error)

    def _ask_again(self) -> None:
        """Another orchestrator: its loop is to know of the functions that run."""
        for call in list(self._open.values()):
            if call.attempt is not None:
                asked = self._channel.ask(TASK, call.number, call.facts)
                asyncio.ensure_future(asked).add_done_callback(_unheard)

    def told(self, frame: bytes) -> None:
        """A frame for a function; on the I/O thread."""
        number, inner = numbered(frame)
        if (call := self._open.get(number)) is not None and call.attempt is not None:
            call.attempt.told(inner)

    def cancel(self, reason: str) -> None:
        """Nobody waits any more."""
        for call in list(self._open.values()):
            if (attempt := call.attempt) is not None:
                attempt.cancel(reason)
            self._settle(call, None, ExecutionLost(reason))
            if call.following is not None:
                call.following.cancel()

    def waited_for(self) -> list[concurrent.futures.Future[Any]]:
        """What a body that has ended still has to wait for."""
        return [call.future for call in list(self._open.values())]


class _Call:
    """One call of a task."""

    def __init__(self, number: int, function: _Function, facts: bytes, policies: Sequence[Any]) -> None:
        self.number = number
        self.function = function
        self.facts = facts
        self.policies = policies
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.following: concurrent.futures.Future[None] | None = None
        self.attempt: Attempt | None = None


class _Function(Runnable[Any, Any]):
    """A function with what it is called with, as a body."""

    def __init__(self, function: Callable[..., Any], input: Any) -> None:
        self._runnable = task_runnable(function)
        self._input = input
        self.error: Exception | None = None  # of the last try

    def itself(self, answered: Exception) -> Exception:
        """The very exception that the function raised, where that is what the call raises, with what LangGraph has noted."""
        mine = self.error
        if mine is None or type(mine) is not type(answered):
            return answered
        for note in getattr(answered, "__notes__", ()):
            if note not in getattr(mine, "__notes__", ()) and not note.startswith(REMOTE):
                mine.add_note(note)
        return mine

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        self.error = None
        try:
            return self._runnable.invoke(self._input, config)
        except Exception as error:
            self.error = error
            raise

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        self.error = None
        try:
            return await self._runnable.ainvoke(self._input, config)
        except Exception as error:
            self.error = error
            raise


class _Handed:
    """What an attempt has in the place of a task of the room, and of the offer that it came through."""

    def __init__(self, calls: CalledTasks, around: Any, number: int, body: bytes) -> None:
        self.offer = self
        self.attempt: int = around.attempt
        self.outcome: concurrent.futures.Future[bytes | None] = concurrent.futures.Future()
        self.body = body
        self._calls = calls
        self._around = around
        self._number = number

    def progress(self, task: Any, frame: bytes) -> None:
        self._around.offer.progress(self._around, INNER + self._number.to_bytes(4, "big") + frame)

    def complete(self, task: Any, body: bytes, approvals: Sequence[dict[str, Any]] | None = None) -> None:
        known = {each["approval"] for each in self._calls.approvals}
        self._calls.approvals += [each for each in approvals or () if each["approval"] not in known]
        settle_blocking(self.outcome, body, None)

    def fail(self, task: Any, code: str, message: str, *, body: bytes, retry: bool) -> None:
        codec = self._calls._codec
        settle_blocking(self.outcome, Outcome("error", codec.decode(body, lax=True)).encode(codec, "a task"), None)

    def release(self, task: Any) -> None:
        settle_blocking(self.outcome, None, None)


def _described(function: Callable[..., Any]) -> dict[str, Any]:
    """What LangGraph looks at of a function: names, what it can be called with, whether it is async."""
    parameters = [
        [each.name, int(each.kind), [] if each.default is each.empty else [each.default]]
        for each in inspect.signature(function).parameters.values()
        if each.name not in INJECTED
    ]
    names = {name: getattr(function, name, None) for name in ("__name__", "__qualname__", "__module__", "__doc__")}
    return {"names": names, "parameters": parameters, "async": is_async_callable(function)}


def _unheard(asked: asyncio.Future[Any]) -> None:
    """What is to be done is done already."""
    if not asked.cancelled():
        asked.exception()
