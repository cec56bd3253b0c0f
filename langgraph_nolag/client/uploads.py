"""Large values on their way to the broker, and the requests that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from nolag_broker.wire.blobs import PIECE

from ..errors import NoLagError
from .chance import CHANCE
from .io import settle
from .large import Value
from .requests import Answer, Pending

if TYPE_CHECKING:
    from .sender import Sender

WINDOW: Final = 4  # pieces of one value on their way
AT_ONCE: Final = 2  # values on their way

Lane = tuple[Any, Any]


class Held:
    """A frame that waits for its large values to be stored, or behind one that does."""

    frame: dict[str, Any]
    values: Sequence[Value]

    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return True

    def moved(self) -> None:
        """Something of its values was stored, or of those that it waits behind."""

    def go(self) -> None:
        """Send it."""
        raise NotImplementedError

    def fail(self, error: NoLagError) -> None:
        """It can't be sent."""
        raise NotImplementedError

    def drop(self) -> None:
        """The session is over before it was sent."""


class HeldRequest(Held):
    """One that is among the unanswered: the next session sends it again."""

    def __init__(self, sender: Sender, pending: Pending) -> None:
        self.frame = pending.frame
        self.values = pending.values
        self._pending = pending
        self._sender = sender

    def wanted(self) -> bool:
        return self._sender.unanswered.get(self._pending.id) is self._pending

    def moved(self) -> None:
        self._sender.unanswered.moved(self._pending)

    def go(self) -> None:
        self._sender.send_request(self._pending)

    def fail(self, error: NoLagError) -> None:
        self._sender.unanswered.answer(self._pending.id, None, error)


class HeldNote(Held):
    """One without an answer: it is lost with its session."""

    def __init__(self, sender: Sender, frame: dict[str, Any], values: Sequence[Value], size: int) -> None:
        self.frame = frame
        self.values = values
        self._size = size
        self._sender = sender

    def go(self) -> None:
        self._sender.send_note(self.frame, self._size)

    def fail(self, error: NoLagError) -> None:
        self._sender.drop_note(self.frame, self._size, error)

    def drop(self) -> None:
        self._sender.drop_note(self.frame, self._size)


class Uploads:
    """Of one session of a connection, on the I/O thread. What waits when the session ends is sent again by who asked for it.

    Frames about the same thing (a task, a key, a receiver) stay in their order: what comes after one that is held waits behind it.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lanes: dict[Lane, deque[Held]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._work: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._lanes)

    def hold(self, held: Held) -> bool:
        """Keep a frame until it may be sent; False: it may, now."""
        lane = _lane(held.frame)
        waiting = self._lanes.get(lane)
        if waiting is not None:
            waiting.append(held)
        elif held.values:
            self._lanes[lane] = deque((held,))
            task = self._sender.loop.create_task(self._empty(lane))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        else:
            return False
        return True

    def end(self) -> None:
        """The session is over."""
        for work in self._work:
            work.cancel()
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            for held in lane:
                held.drop()

    async def _empty(self, lane: Lane) -> None:
        """Send what is held in a lane, one after the other, each as soon as its values are stored."""
        waiting = self._lanes[lane]
        while waiting:
            held = waiting[0]
            if held.wanted():
                try:
                    for value in held.values:
                        async with self._turns:
                            await self._store(held, value, waiting)
                except NoLagError as error:
                    held.fail(error)
                else:
                    if held.wanted():
                        held.go()
            waiting.popleft()
        del self._lanes[lane]

    async def _store(self, held: Held, value: Value, waiting: Iterable[Held]) -> None:
        """Put a value into the room, a few pieces at a time, from where the broker says that it is."""
        reference = await value.refer()
        size, body, at = reference.size, value.body, 0
        fields = {"op": "blob.put", "room": held.frame["room"], "hash": reference.hash, "size": size}
        ask = size > PIECE  # the broker may have it already, or a part of it
        while held.wanted():
            pieces = [(at, b"")] if ask else [(n, body[n : n + PIECE]) for n in range(at, min(size, at + WINDOW * PIECE), PIECE)]
            puts = (self._put({**fields, "offset": offset, "body": piece}) for offset, piece in pieces)
            answers = await asyncio.gather(*puts, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, NoLagError) and not answer.retryable:
                    raise answer
            taken = [answer for answer in answers if isinstance(answer, Answer)]
            if any(answer["whole"] for answer in taken):
                return
            if taken:
                at = taken[-1]["at"]
                for one in waiting:
                    one.moved()
            if len(taken) < len(answers):  # the broker is busy
                await asyncio.sleep(CHANCE.uniform(0.05, 0.5))
            ask = not taken

    def _put(self, frame: dict[str, Any]) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = self._sender.loop.create_future()
        self._sender.establish(frame, lambda answer, error: settle(future, answer, error))
        return future


def _lane(frame: dict[str, Any]) -> Lane:
    """What a frame is about."""
    room = frame.get("room")
    if frame["op"].startswith("record."):
        return room, _owner(frame)
    if frame["op"].startswith("store."):  # a search may be for anything
        return room, "store"
    for field in ("task", "to", "topic", "type", "approval", "key"):
        if (subject := frame.get(field)) is not None:
            return room, (field, subject)
    return room, frame.get("id")


def _owner(frame: dict[str, Any]) -> tuple[str, ...]:
    """Kind and owner of the first record that a request names."""
    key = frame.get("prefix", "")
    for field in ("puts", "deletes", "delete_prefixes", "keys"):
        if named := frame.get(field):
            key = named[0] if isinstance(named[0], str) else named[0][0]
            break
    return tuple(key.split("/", 2)[:2])
