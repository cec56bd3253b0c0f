"""The nodes that this process runs for others: what is offered to the room, and what runs.

Bodies run away from the thread that keeps the leases alive: sync ones on threads, async ones on an event loop of their own. A body that
blocks starves nobody but its like.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import Runnable

from ...client.offer import Assigned, Offer
from ..serde.codec import Codec
from .attempt import Attempt

if TYPE_CHECKING:
    from ...client.link import RoomLink

log = logging.getLogger("langgraph_nolag")

TYPES_OF_AN_OFFER: Final = 128
LOOP_STOP: Final = 1.0  # seconds for cancelled bodies to end


@dataclass(frozen=True, slots=True)
class Body:
    """One node that this process can run.

    Attributes:
        graph: `name@fingerprint`.
        node: path of the node.
    """

    graph: str
    node: str
    runnable: Runnable[Any, Any]
    codec: Codec

    @property
    def type(self) -> str:
        """The type of its tasks."""
        return f"{self.graph}/{self.node}"


class NodeServing:
    """Runs nodes that the room hands out.

    Args:
        bodies: by the type of their tasks; may grow.
        slots: bodies of an offer at a time, and threads for sync ones.

    Attributes:
        taken: how many bodies it was given so far.
    """

    def __init__(self, bodies: Mapping[str, Body], slots: int) -> None:
        self.taken = 0
        self._bodies = bodies
        self._slots = slots
        self._attempts: dict[Assigned, Attempt] = {}  # on the I/O thread
        self._threads = concurrent.futures.ThreadPoolExecutor(slots, thread_name_prefix="nolag-body")
        self._loop = _UserLoop(slots)
        self._offers: list[Offer] = []

    def offer(self, link: RoomLink, types: Sequence[str], capabilities: Sequence[str] = ()) -> list[Offer]:
        """Offer these nodes to the room. `ready` of each offer tells when it stands there, or was refused."""
        made = [
            link.serve(
                kind="node",
                types=types[start : start + TYPES_OF_AN_OFFER],
                capabilities=capabilities,
                slots=self._slots,
                on_task=self._on_task,
                on_cancel=self._cancel_attempt,
                on_tell=self._on_tell,
                on_lost=lambda task: self._stop_attempt(task, "another worker has it now"),
            )
            for start in range(0, len(types), TYPES_OF_AN_OFFER)
        ]
        self._offers += made
        return made

    # --- on the I/O thread ----------------------------------------------------------------------------------

    def _on_task(self, task: Assigned) -> None:
        self.taken += 1
        body = self._bodies.get(task.type)
        if body is None:
            task.offer.fail(task, "not_served", f"this worker does not serve {task.type}")
            return
        attempt = Attempt(task.offer.link, body.graph, body.node, body.runnable, body.codec, task, self._finished)
        self._attempts[task] = attempt
        attempt.start(self._threads, self.loop_of(body))

    def loop_of(self, body: Body) -> asyncio.AbstractEventLoop:
        """Where this body runs, if it is async."""
        return self._loop.loop

    def _on_tell(self, task: Assigned, frame: bytes) -> None:
        if (attempt := self._attempts.get(task)) is not None:
            attempt.told(frame)

    def _cancel_attempt(self, task: Assigned, reason: str) -> None:
        if (attempt := self._attempts.get(task)) is not None:
            attempt.cancel(reason, counts=task.counts_until is not None)

    def _stop_attempt(self, task: Assigned, reason: str) -> None:
        if (attempt := self._attempts.get(task)) is not None:
            attempt.cancel(reason)

    def _finished(self, task: Assigned) -> None:
        """From any thread."""
        self._attempts.pop(task, None)

    @property
    def running(self) -> int:
        """Bodies that run now, of tasks that were taken away or handed back too. From any thread."""
        return len(self._attempts)

    # --- life -----------------------------------------------------------------------------------------------

    def drain(self) -> list[concurrent.futures.Future[None]]:
        """Take nothing new. Each future is done when nothing of its offer runs any more."""
        return [offer.close(drain=True) for offer in self._offers]

    def hand_back(self, why: str) -> int:
        """Give back what runs. Returns how many bodies that were."""
        left = len(self._attempts)
        for offer in self._offers:
            offer.close(drain=False)
        for attempt in list(self._attempts.values()):
            attempt.cancel(why)
        return left

    def stop(self) -> None:
        """End the threads and the loop. Blocks, within a bound; a body that does not end is left to the end of the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()


class _UserLoop:
    """An event loop on a thread of its own, for async bodies."""

    def __init__(self, concurrency: int) -> None:
        self.loop = asyncio.new_event_loop()
        # LangChain runs the sync parts of async bodies there; a body may need several at a time.
        self._threads = concurrent.futures.ThreadPoolExecutor(max(32, 4 * concurrency), thread_name_prefix="nolag-body")
        self.loop.set_default_executor(self._threads)
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="nolag-async", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # a body raised it, which stops the loop; the other bodies still need it
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=LOOP_STOP))
        self.loop.close()

    def stop(self) -> None:
        """Bodies that are left are cancelled; one that blocks the loop is left to the end of the process."""
        self._stopping = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2 * LOOP_STOP)
