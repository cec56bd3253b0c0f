"""The worker's end of what goes between a node's body and its orchestrator while it runs.

Everything rides on the room's task: frames to the orchestrator are its numbered progress, in order, and come again to
an orchestrator that attaches later; frames to the worker are `task.tell`. A frame is one byte that says what it is,
then an encoded value. What is streamed has a number between the two, see `unseen.py`.

A *call* is a question that the body waits for: a store operation, a checkpoint, the shared answer to an interrupt. It
carries the nonce of the orchestrator it was meant for, so that one that attaches after a crash does not answer again
what was answered already: it says hello with a nonce of its own, and gets the open calls again. A call without an
answer is repeated now and then, since progress is not durable.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..errors import ExecutionLost
from ..serde.codec import Codec
from .unseen import Unseen

CUSTOM: Final = b"w"  # a chunk of the custom stream: [checkpoint_ns, chunk]
STREAM: Final = b"s"  # a chunk of another stream mode, from a graph that the body runs
EVENT: Final = b"e"  # a callback event: [name, args, kwargs]
BEAT: Final = b"b"  # the body says that it is alive
DRAIN: Final = b"d"  # both ways: the run is to end after this superstep: the reason
CALL: Final = b"c"  # a question: [nonce, id, oldest open id, repeated, what, encoded args]
BLOCKING_CALL: Final = b"C"  # the same, while the body's thread stands still

ANSWER: Final = b"a"  # to the worker: [id, ok, value]
HELLO: Final = b"h"  # to the worker: the nonce of an orchestrator that attached
STOP: Final = b"x"  # to the worker: nobody waits for this function of a task any more
INNER: Final = b"i"  # both ways, of a task that the body calls: its number, then a frame that is for its function
SEEN: Final = b"n"  # to the worker: the number up to which everything that is streamed has been seen

STREAMED: Final = (CUSTOM, STREAM, EVENT)  # what must reach the orchestrator without a hole

REPEAT: Final = 2.0  # seconds without an answer until a call is repeated


def numbered(frame: bytes) -> tuple[int, bytes]:
    """The parts of an INNER frame."""
    return int.from_bytes(frame[1:5], "big"), frame[5:]


class Channel:
    """Frames out, calls and their answers.

    Args:
        codec: of the graph.
        nonce: of the orchestrator that dispatched the task.
        attempt: of the task; no two attempts give a call the same id, so a late answer finds nobody.
        send: hands one frame to the room as the task's progress; from any thread.

    Attributes:
        on_drain: told why, when the run is to end; on the I/O thread.
        on_hello: called when another orchestrator attached; likewise.
    """

    def __init__(self, codec: Codec, nonce: str, attempt: int, send: Callable[[bytes], None]) -> None:
        self._codec = codec
        self._nonce = nonce
        self._send = send
        self._ids = itertools.count((attempt << 32) + 1)
        self._lock = threading.Lock()
        self._open: dict[int, tuple[bytes, str, bytes, concurrent.futures.Future[Any]]] = {}
        self._unseen = Unseen(send)
        self._closed: BaseException | None = None
        self.on_drain: Callable[[str], None] | None = None
        self.on_hello: Callable[[], None] | None = None

    def emit(self, kind: bytes, value: Any, *, lax: bool = False) -> None:
        """Send one frame."""
        encoded = self._codec.encode(value, lax=lax, where="a streamed chunk")
        if kind in STREAMED:
            self._unseen.say(kind, encoded)
        else:
            self._send(kind + encoded)

    def unseen(self) -> list[bytes]:
        """What was streamed, and the orchestrator has not said to have seen."""
        return self._unseen.frames()

    def call(self, what: str, *args: Any) -> Any:
        """Ask, and block for the answer.

        Raises:
            ExecutionLost: the task was cancelled or given to another worker meanwhile.
            Exception: what the orchestrator's side raised.
        """
        number, future = self._ask(BLOCKING_CALL, what, args)
        while True:
            try:
                return future.result(REPEAT)
            except TimeoutError:
                if future.done():
                    raise  # the answer itself is a TimeoutError
                self._repeat(number)

    async def acall(self, what: str, *args: Any) -> Any:
        """Ask, and await the answer. Raises as `call` does."""
        return await self.ask(what, *args)

    def ask(self, what: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """Ask now; what is returned awaits the answer. Raises as `call` does."""
        return self._answer(*self._ask(CALL, what, args))

    async def _answer(self, number: int, future: concurrent.futures.Future[Any]) -> Any:
        waiter = asyncio.wrap_future(future)
        while True:
            done, _ = await asyncio.wait({waiter}, timeout=REPEAT)
            if done:
                return waiter.result()
            self._repeat(number)

    def _ask(self, kind: bytes, what: str, args: Any) -> tuple[int, concurrent.futures.Future[Any]]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        encoded = self._codec.encode(list(args), where=f"arguments of {what}")
        with self._lock:
            if self._closed is not None:
                raise self._closed
            number = next(self._ids)
            self._open[number] = (kind, what, encoded, future)
        self._put(number, repeated=False)
        return number, future

    def _put(self, number: int, *, repeated: bool) -> None:
        entry = self._open.get(number)
        if entry is not None:
            kind, what, args, _ = entry
            oldest = min(tuple(self._open), default=number)
            self._send(kind + self._codec.encode([self._nonce, number, oldest, repeated, what, args]))

    def _repeat(self, number: int) -> None:
        self._put(number, repeated=True)

    def told(self, frame: bytes) -> None:
        """A frame from the orchestrator; called on the I/O thread."""
        value = self._codec.decode(frame[1:])
        if frame[:1] == SEEN:
            self._unseen.seen(value)
            return
        if frame[:1] == DRAIN:
            if self.on_drain is not None:
                self.on_drain(value)
            return
        if frame[:1] == HELLO:
            self._nonce = value
            for number in sorted(self._open):
                self._put(number, repeated=True)
            if self.on_hello is not None:
                self.on_hello()
            return
        number, ok, result = value
        with self._lock:
            entry = self._open.pop(number, None)
        if entry is None or not entry[3].set_running_or_notify_cancel():
            return
        if ok:
            entry[3].set_result(result)
        else:
            entry[3].set_exception(result)

    def close(self, error: BaseException | None = None) -> None:
        """No more answers will come: every open call raises."""
        with self._lock:
            self._closed = error or ExecutionLost("this execution of the node has ended")
            entries = list(self._open.values())
            self._open.clear()
        self.on_drain = self.on_hello = None
        for _, _, _, future in entries:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._closed)
