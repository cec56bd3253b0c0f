"""Running handlers: async ones on the loop that serves, sync ones on threads; their results, errors and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from ..client.asking import REQUEST_TIMEOUT
from ..client.body import encode
from ..client.cause import begin_task
from ..client.failure import text_of
from ..client.io import hand_back, settled, wait_on
from ..client.link import RoomLink
from ..client.names import names
from ..client.offer import Assigned, Offer
from ..errors import BadRequest, NotDecodable, NotEncodable, Permanent, RequestTimeout
from .handed import HandedTask

log = logging.getLogger("langgraph_nolag")

MOST = 10_000  # tasks of an offer at a time
CANCEL_TIMEOUT = 5.0  # seconds that cancelled handlers have to end

Handler = Callable[[HandedTask], Any]


class Serving:
    """An offer with the handler behind it: `async with`, or `start()` and `close()`."""

    def __init__(
        self,
        link: RoomLink,
        handler: Handler,
        *,
        kind: str = "handoff",
        types: Sequence[str] | None = None,
        capabilities: Sequence[str] = (),
        concurrency: int = 1,
        specs: Mapping[str, bytes] | None = None,
        drain: float = 10.0,
    ) -> None:
        if not isinstance(concurrency, int) or not 1 <= concurrency <= MOST:
            raise BadRequest(f"concurrency is a whole number from 1 to {MOST:,}, not {concurrency!r}", detail={"field": "concurrency"})
        self._link = link
        self._handler = handler
        self._kind = kind
        self._types = None if types is None else names(types, "types")
        self._capabilities = tuple(names(capabilities, "capabilities"))
        self._concurrency = concurrency
        self._specs = specs
        self._drain = drain
        self._offer: Offer | None = None
        self._running: dict[Assigned, HandedTask] = {}  # on the I/O thread and the handler's own
        self._tasks: dict[Assigned, asyncio.Task[None]] = {}
        self._is_async = is_async(handler)
        self._pool: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Stand in the room. What was closed may be started again.

        Raises:
            BadRequest: it stands there already.
            NotJoined: we have left the room.
            NotAuthorized: and other refusals.
            RequestTimeout: the broker is away.
        """
        if self._offer is not None:  # its offer would be nobody's to close
            raise BadRequest(f"this serving is started already in room {self._link.room}: close it first, or serve() once more")
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        if not self._is_async:
            self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="nolag-handler")
        self._offer = self._link.serve(
            kind=self._kind,
            types=self._types,
            capabilities=self._capabilities,
            slots=self._concurrency,
            specs=self._specs,
            on_task=self._on_task,
            on_cancel=self._on_cancel,
            on_lost=lambda assigned: self._on_cancel(assigned, "lost"),
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await settled(self._offer.ready)
        except BaseException as error:  # who is cancelled here, too, has nothing to close it with
            await self.close(0.0)
            if isinstance(error, TimeoutError):
                raise RequestTimeout(f"the broker is away: nothing is served in room {self._link.room} yet", maybe_applied=True) from None
            raise

    @property
    def running(self) -> int:
        """Handlers that run now, of tasks that were handed back too."""
        return len(self._running)

    def handed(self) -> list[HandedTask]:
        """Their tasks. From any thread."""
        return list(self._running.values())

    async def close(self, drain: float | None = None) -> None:
        """Take no more tasks, wait for those that run, cancel and hand back what is not done in time.

        Args:
            drain: seconds to wait; None: as it was set.
        """
        offer, self._offer = self._offer, None
        if offer is None:
            return
        wait = self._drain if drain is None else drain
        idle = offer.close(drain=True)
        try:
            if not await _within(wait, idle):
                for assigned in list(self._running):
                    self._on_cancel(assigned, "closing")
                if not await _within(CANCEL_TIMEOUT, offer.close(drain=False)):
                    log.warning("handlers in room %s did not end when cancelled", self._link.room)
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close(0.0 if error is not None else None)

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _on_task(self, assigned: Assigned) -> None:
        handed = HandedTask(assigned, blocking=not self._is_async, loop=self._loop)
        self._running[assigned] = handed
        if self._pool is not None:
            try:
                self._pool.submit(self._context.copy().run, self._run_blocking, assigned, handed)
            except RuntimeError:  # shut down
                del self._running[assigned]
                assigned.offer.release(assigned)
        else:
            self._hand_over(assigned, self._begin, assigned, handed)

    def _on_cancel(self, assigned: Assigned, reason: str) -> None:
        handed = self._running.get(assigned)
        if handed is not None and not handed.cancelled:  # told once: a handler that cleans up is left to that
            handed.cancelled = True
            if handed._on_cancelled is not None:
                handed._on_cancelled(reason)
            log.info("task %s (%s) is cancelled: %s", handed.id, handed.type, reason)
            if self._pool is None:
                self._hand_over(assigned, self._cancel, assigned)

    def _hand_over(self, assigned: Assigned, call: Callable[..., object], *args: Any) -> None:
        """To the loop that serves. A closed one begins no handler, and ends none."""
        if not hand_back(self._loop, call, *args):
            self._running.pop(assigned, None)
            log.error("the loop that serves in room %s is closed; its tasks are handed back", self._link.room)
            assigned.offer.close(drain=False)

    # --- async handlers, on the loop that serves ------------------------------------------------------------

    def _begin(self, assigned: Assigned, handed: HandedTask) -> None:
        task = self._loop.create_task(self._run(assigned, handed), context=self._context.copy())
        self._tasks[assigned] = task
        task.add_done_callback(lambda done: self._ended(assigned))

    def _ended(self, assigned: Assigned) -> None:
        del self._tasks[assigned]
        if self._running.pop(assigned, None) is not None:  # cancelled before it began
            assigned.offer.release(assigned)

    def _cancel(self, assigned: Assigned) -> None:
        task = self._tasks.get(assigned)
        if task is not None:
            task.cancel()

    async def _run(self, assigned: Assigned, handed: HandedTask) -> None:
        begin_task(assigned)
        try:
            if handed.cancelled:
                raise asyncio.CancelledError
            result = await self._handler(handed)
            await handed._streams.close()
            self._succeed(assigned, handed, result)
        except asyncio.CancelledError as error:
            self._fail(assigned, handed, error)
        except Exception as error:
            self._fail(assigned, handed, error)
        except BaseException as error:  # SystemExit: the program ends by it, and whoever waits is told why
            self._fail(assigned, handed, error)
            raise
        finally:
            self._running.pop(assigned, None)

    # --- sync handlers, on a thread -------------------------------------------------------------------------

    def _run_blocking(self, assigned: Assigned, handed: HandedTask) -> None:
        begin_task(assigned)
        try:
            result = self._handler(handed)
            if inspect.isawaitable(result):
                result = wait_on(self._loop, result)
            handed._streams.close_blocking()
            self._succeed(assigned, handed, result)
        except BaseException as error:  # SystemExit too: it would only end a thread of the pool, in silence
            self._fail(assigned, handed, error)
        finally:
            self._running.pop(assigned, None)

    # --- the end --------------------------------------------------------------------------------------------

    def _succeed(self, assigned: Assigned, handed: HandedTask, result: Any) -> None:
        if handed.cancelled and (result is None or assigned.counts_until is None):
            assigned.offer.release(assigned)
            return
        try:
            body = encode(result)
        except NotEncodable as error:
            raise Permanent(f"the result of {handed.type}: {error}") from error
        assigned.offer.complete(assigned, body)

    def _fail(self, assigned: Assigned, handed: HandedTask, error: BaseException) -> None:
        handed._streams.let_go()
        if handed.cancelled:
            assigned.offer.release(assigned)  # says that we are done with it; whatever it is now, it is not failed by us
            return
        log.info("task %s (%s) failed on attempt %d", handed.id, handed.type, handed.attempt, exc_info=error)
        permanent = isinstance(error, (Permanent, NotDecodable))
        shown = error.__cause__ if isinstance(error, Permanent) and error.__cause__ is not None else error
        assigned.offer.fail(assigned, type(shown).__name__, text_of(error), retry=not permanent)


def is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


async def _within(timeout: float, future: Future[None]) -> bool:
    try:
        async with asyncio.timeout(timeout):
            await settled(future)
    except TimeoutError:
        return False
    return True
