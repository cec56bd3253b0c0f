"""A task as its handler sees it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from ..client.body import decode, encode
from ..client.io import hand_back, settle, settle_blocking
from ..client.offer import Assigned
from .effect import Ledger
from .task_streams import TaskStreams


class HandedTask:
    """What a handler is given.

    Attributes:
        id, type: which task.
        attempt: 1 for the first.
        fencing_token: rises with every hand-out; give it to outside systems that can refuse an older one.
        deadline: when the task times out (seconds since 1970), or None.
        attempt_ends: when this attempt is given up (`attempt_timeout`), or None.
        moment: of the schedule that brought the task (seconds since 1970); None where it was dispatched by somebody.
        dispatcher: the actor who wants it done.
        cancelled: True once this attempt is to stop: the task was cancelled, timed out, or went to another worker. Who cancelled it may
            have left it some seconds (`Task.cancel(wait=…)`), in which progress and effects count, and a value that the handler returns all
            the same is the task's result. None, or an exception, says that it has stopped.
    """

    def __init__(self, assigned: Assigned, blocking: bool, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._assigned = assigned
        self._blocking = blocking
        self.id = assigned.task
        self.type = assigned.type
        self.attempt = assigned.attempt
        self.fencing_token = assigned.token
        self.deadline = assigned.deadline
        self.attempt_ends = assigned.attempt_ends
        self.moment = assigned.moment
        self.dispatcher = assigned.dispatcher
        self.cancelled = False
        self._on_cancelled: Callable[[str], None] | None = None  # told the reason first, on the I/O thread
        self._streams = TaskStreams(assigned)
        self._ledger: dict[str, Ledger] = {}

    def __repr__(self) -> str:
        return f"HandedTask({self.id!r}, {self.type!r}, attempt={self.attempt})"

    @functools.cached_property
    def payload(self) -> Any:
        """What was dispatched. Raises `NotDecodable`."""
        return decode(self._assigned.body, self._assigned.ct)

    def progress(self, value: Any) -> Awaitable[None]:
        """Say how far it is: `await task.progress({…})`; in a sync handler without `await`.

        Raises:
            StaleLease: the task is another worker's by now: stop.
            NotEncodable: the value is not plain.
        """
        body = encode(value)
        if self._blocking:
            answered: Future[None] = Future()
            self._assigned.offer.progress(self._assigned, body, on_answer=lambda answer, error: settle_blocking(answered, None, error))
            answered.result()
            return _Done()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._assigned.offer.progress(self._assigned, body, on_answer=lambda answer, error: hand_back(loop, settle, future, None, error))
        return future

    def note(self, value: Any) -> None:
        """`progress` that nobody waits for, from any thread: whether the task is still ours is not told. The last 1 MiB of what was said is
        kept, and said again after a reconnect.

        Raises:
            NotEncodable: the value is not plain.
        """
        self._assigned.offer.progress(self._assigned, encode(value))

    def effect(self, key: str, do: Callable[[], Any]) -> Any:
        """Do something to the world outside once, however many attempts the task needs: `receipt = await task.effect("charge", pay)`.

        What `do()` returned is recorded in the room under `key` and the current fencing token. An attempt that finds it recorded gets
        that, and `do` is not called. A worker that lost the task is refused before `do` is called, and again before its result is
        recorded.

        Promised: once the result is recorded, no attempt calls `do` for this key again, until the task has ended.
        Not promised: that `do` runs once at most. A process that dies, or loses the task, between the effect and its record
        has done what nobody knows of, and the next attempt does it again. Where that must not be, give `key` with the
        task's id, or `fencing_token`, to the system outside, and let that refuse the repeat.

        In a sync handler without `await`: the result itself is returned. Calls with one key wait for each other.

        Args:
            key: names the effect within the task.
            do: sync or async, called without arguments. It is called where the handler runs.

        Returns:
            What was recorded, as plain values: what comes back is the same on the first attempt as on later ones.

        Raises:
            StaleLease: the task is another worker's by now: stop.
            TaskFinished: it was cancelled or timed out meanwhile.
            Permanent: the effect is done, but its result can't be recorded (not plain, too large, too many): the task fails for good,
                as another attempt would do it again.
            RequestTimeout: the broker is away, and `do` was not called. Once it was, the record waits for the broker as long as it takes.
            Disconnected. Whatever `do` raises: nothing is recorded.
        """
        ledger = self._ledger.setdefault(key, Ledger(self._assigned, key))
        return ledger.run_blocking(do, self._loop) if self._blocking else ledger.run(do)

    def open_stream(self, name: str = "stream", *, to: str | None = None, topic: str | None = None, keep: int | None = 0) -> Any:
        """Write a stream under this task: `stream = await task.open_stream()`, then `await stream.write(chunk)`.

        Its id is `<task>/<name>`. The next attempt that opens the same name takes it over, and readers are told to rewind; this one is
        refused from the moment the task is not ours any more. When the handler returns it is closed; when the task ends otherwise, it
        is aborted.

        In a sync handler without `await`: a stream with sync methods is returned.

        Args:
            name: distinguishes the streams of a task.
            to: who may read it; None: the dispatcher, unless `topic` is given.
            topic: for whoever may subscribe to this topic.
            keep: how many chunks of an earlier attempt stay valid; `stream.n` says how many there were. 0: it is written anew. None: all.

        Raises:
            StaleLease: the task is another worker's by now: stop.
            StreamEnded: this attempt had closed it.
            NotAuthorized, Overloaded, RequestTimeout, Disconnected.
        """
        if self._blocking:
            return self._streams.open_blocking(name, to, topic, keep)
        return self._streams.open(name, to, topic, keep)


class _Done:
    """Awaited, it is over at once."""

    def __await__(self) -> Any:
        return iter(())
