"""One call of a tool that another process serves: dispatched, followed to its end, and settled on whatever loop or thread waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final

from ..client.body import decode, encode
from ..client.cause import cause
from ..client.follow import Progress, Result
from ..client.io import hand_back
from ..client.link import RoomLink
from ..client.requests import Answer
from ..errors import NoLagError, TaskFailed, TaskTimeout, ToolFailed, ToolNotFound
from .task import value_of

CALL_TIMEOUT: Final = 60.0  # seconds a call may take, unless the caller says otherwise
ANSWER_SLACK: Final = 5.0  # seconds beyond that until the caller stops waiting for the broker to say so
ENDED_WITHOUT_RESULT: Final = ("failed", "timed_out", "cancelled")
LOST: Final = "lease_expired"  # what the broker calls the failure of a task whose worker is gone

PROGRESS, CUSTOM, DELTA = "progress", "custom", "delta"
"""What a tool says while it runs: how far it is; a chunk of LangGraph's `custom` stream; a part of its output."""

CALL_ID: Final = "nolag call id"
"""Beside the arguments, where the tool's description asks for it: what the model calls its call. No argument's name has a space."""

OnProgress = Callable[[str, Any], object]
"""Told what kind of progress it is, and the value."""
Outcome = dict[str, Any]
"""How a call ended: `content`, and where there are, `artifact` and `status`, and `shown`: what a model is shown of the content."""
Item = tuple[str, Any]  # "progress"; "end": Result; "refused": error; "before": it had failed under this key; "late"
LATE: Final[Item] = ("late", None)

_key: ContextVar[str | None] = ContextVar("nolag_tool_call", default=None)


@contextmanager
def calls_keyed(key: str) -> Iterator[None]:
    """The call made inside the block happens once under this key: a second one attaches to it, running or done. One that had failed is
    made anew."""
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


def key_here(*parts: Any) -> str | None:
    """A key for a call that code makes which runs for a task of the room: the task's next attempt makes the same call under the same key.
    None outside of tasks.

    Args:
        parts: what tells the calls of one task apart.
    """
    task = cause.get()
    return None if task is None else f"call-{hashlib.sha256(encode([*task, *parts])).hexdigest()[:40]}"


def _keys(key: str | None) -> Iterator[str | None]:
    """The key of a call, and of those that follow when it turns out that it failed before."""
    base = _key.get() or key
    return itertools.repeat(None) if base is None else (f"{base}-{attempt}" for attempt in itertools.count())


async def call(
    link: RoomLink,
    name: str,
    args: Mapping[str, Any],
    *,
    timeout: float = CALL_TIMEOUT,
    max_attempts: int = 1,
    key: str | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Call a tool; it is over within `timeout` seconds and a little more, whoever is gone.

    Args:
        timeout: seconds, waiting for a free server included.
        max_attempts: how many servers may be lost while they run it, and one: 2 and more only where the tool may run again.
        key: the call happens once under it, as inside `calls_keyed`, whose key goes before.
        on_progress: called on this loop.

    Raises:
        ToolNotFound, ToolFailed, TaskTimeout, TaskCancelled, NotEncodable, RequestTimeout, Disconnected.
    """
    loop = asyncio.get_running_loop()
    for each in _keys(key):
        items = _Items(loop)
        one = _Call(link, name, args, timeout, max_attempts, each, items.put, on_progress)
        late = loop.call_later(one.left(), items.arrive, LATE)
        try:
            while (outcome := one.take(await items.get())) is None:
                continue
        except TimeoutError as error:
            raise one.too_late(error) from None
        except BaseException:  # cancelled, or what `on_progress` raised
            one.give_up()
            raise
        finally:
            late.cancel()
        if outcome is not _AGAIN:
            return outcome
    raise AssertionError("there is always another key")


def call_blocking(
    link: RoomLink,
    name: str,
    args: Mapping[str, Any],
    *,
    timeout: float = CALL_TIMEOUT,
    max_attempts: int = 1,
    key: str | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """`call` for sync code; `on_progress` is called on this thread."""
    link.connection.io.check_may_block()
    for each in _keys(key):
        items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        one = _Call(link, name, args, timeout, max_attempts, each, items.put, on_progress)
        try:
            while (outcome := one.take(_next(items, one.left()))) is None:
                continue
        except TimeoutError as error:
            raise one.too_late(error) from None
        except BaseException:
            one.give_up()
            raise
        if outcome is not _AGAIN:
            return outcome
    raise AssertionError("there is always another key")


class _Items:
    """What comes from the I/O thread for a call that is waited for on a loop. A queue of asyncio's would cost more than all the rest."""

    __slots__ = ("_items", "_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """On the I/O thread."""
        hand_back(self._loop, self.arrive, item)

    def arrive(self, item: Item) -> None:
        """On the loop."""
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Item:
        while not self._items:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._items.popleft()


def _next(items: queue.SimpleQueue[Item], left: float) -> Item:
    try:
        return items.get(timeout=left)
    except queue.Empty:
        return LATE


_AGAIN: Final[Outcome] = {}
GAVE_UP: Final = "the caller gave up"


class _Call:
    """Dispatched as it is made. `put` is called on the I/O thread; everything else where the caller waits."""

    def __init__(
        self,
        link: RoomLink,
        name: str,
        args: Mapping[str, Any],
        timeout: float,
        max_attempts: int,
        key: str | None,
        put: Callable[[Item], None],
        on_progress: OnProgress | None,
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._put = put
        self._tell = on_progress
        self._over = False
        self._keyed = key is not None
        self._until = time.monotonic() + timeout + ANSWER_SLACK
        fields = {"type": name, "kind": "tool", "require_live": True, "max_attempts": max_attempts, "timeout": timeout, "key": key}
        self._followed = link.dispatch(
            fields,
            encode(dict(args)),
            on_end=lambda result: put(("end", result)),
            on_accepted=self._on_accepted,
            on_progress=None if on_progress is None else self._on_progress,
            timeout=timeout,
        )

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _on_accepted(self, answer: Answer | None, error: NoLagError | None) -> None:
        if answer is None:
            self._put(("refused", error))
        elif answer["attached"] and answer["state"] in ENDED_WITHOUT_RESULT:
            self._put(("before", None))

    def _on_progress(self, progress: Progress) -> None:
        if progress.body is not None:
            self._put(("progress", progress))

    # --- where the caller waits -----------------------------------------------------------------------------

    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def take(self, item: Item) -> Outcome | None:
        """None: it goes on. Raises how it failed."""
        what, value = item
        if what == "progress":
            self._show(value)
            return None
        if what == "late":
            raise TimeoutError
        self._over = True
        if what == "refused":
            raise value
        if what == "before":
            self._followed.close()
            return _AGAIN
        return self._settle(value)

    def _show(self, progress: Progress) -> None:
        said = decode(progress.body, progress.ct)
        kind, value = PROGRESS, said
        if isinstance(said, dict) and len(said) == 1 and next(iter(said)) in (PROGRESS, CUSTOM, DELTA):
            ((kind, value),) = said.items()
        if self._tell is not None:
            self._tell(kind, value)

    def _settle(self, end: Result) -> Outcome:
        if end.reason is None:
            self._followed.ack()
        try:
            value: Outcome = value_of(end)
        except TaskFailed as error:
            raise self._failed(error) from None
        except TaskTimeout as error:
            raise self.too_late(error) from None
        return value

    def _failed(self, error: TaskFailed) -> NoLagError:
        if error.error_type == ToolNotFound.code:
            return ToolNotFound(f"nobody serves the tool {self._name!r} any more")
        lost = error.error_type == LOST
        what = "the process that ran it is gone" if lost else f"{error.error_type}: {error.error_message}"
        return ToolFailed(
            f"tool {self._name!r} failed: {what}",
            error_type=error.error_type,
            error_message=error.error_message,
            task=error.task,
            retryable=lost,
            maybe_applied=lost,
        )

    def too_late(self, error: TimeoutError) -> NoLagError:
        if isinstance(error, NoLagError) and not isinstance(error, TaskTimeout):
            return error
        self.give_up()
        return TaskTimeout(
            f"tool {self._name!r} gave no answer within {self._timeout:g} s", state="timed_out", retryable=True, maybe_applied=True
        )

    def give_up(self) -> None:
        """The server hears of it."""
        if self._over:
            return
        self._over = True
        try:
            if self._keyed:  # another attempt of the handler that calls may wait for it: only who still has its task cancels it
                self._followed.cancel(GAVE_UP)
            else:
                Context().run(self._followed.cancel, GAVE_UP)
        except NoLagError:  # the broker can't be told; the call's own timeout ends it
            return
        finally:
            self._followed.close()
