"""Large values on their way from the broker: in pieces, several of them at a time. Some are kept: what was asked for is asked for again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nolag_broker.wire.blobs import PIECE, Reference
from nolag_broker.wire.codes import Refusal

from ..errors import BlobDamaged, MessageTooLarge, NoLagError
from .io import settle, settle_blocking
from .large import Place, in_push
from .requests import Answer

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger("langgraph_nolag")

WINDOW: Final = 4  # pieces of one value on their way
AT_ONCE: Final = 4  # values on their way
CACHE: Final = 64 << 20  # bytes
MAX_TOGETHER: Final = 1 << 30  # bytes of values in one answer

OnDone = Callable[[NoLagError | None], object]
OnLost = Callable[[dict[str, Any], NoLagError], None]
Key = tuple[str, bytes]


class Fetches:
    """Of a connection, on the I/O thread, but for `fetch`. A value that several wait for is fetched once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cache: OrderedDict[Key, bytes] = OrderedDict()
        self._cached = 0
        self._under_way: dict[Key, asyncio.Future[bytes]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting: set[Callable[[], None]] = set()  # `moved` of those who wait for a value, or behind others
        self._lanes: dict[Any, deque[dict[str, Any]]] = {}
        self._work: set[asyncio.Task[Any]] = set()

    # --- what came with references --------------------------------------------------------------------------

    def fetch(self, room: str, places: Sequence[Place]) -> concurrent.futures.Future[None]:
        """Put the values where the references are. From any thread; the future is done then, and nobody reads the places before.

        Its errors: `BlobNotFound`, `BlobDamaged`, `MessageTooLarge` (together they are too large), or what else a request meets.
        """
        fetched: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._connection.io.post(self.resolve, room, places, partial(settle_blocking, fetched, None))
        return fetched

    def resolve(self, room: str, places: Sequence[Place], done: OnDone, moved: Callable[[], None] = lambda: None) -> None:
        """The same on the I/O thread, told to `done`. `moved`: told with every piece of any value meanwhile: it may wait behind others."""
        task = self._connection.io.loop.create_task(self._resolve(room, places, done, moved))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _resolve(self, room: str, places: Sequence[Place], done: OnDone, moved: Callable[[], None]) -> None:
        self._waiting.add(moved)
        try:
            references = {reference.hash: reference for reference in map(_reference, places)}
            if len(references) > 1 and (size := sum(reference.size for reference in references.values())) > MAX_TOGETHER:
                raise MessageTooLarge(f"{size} bytes of large values in one answer: ask for less", detail={"max": MAX_TOGETHER})
            values = {hash: await self._get(room, reference) for hash, reference in references.items()}
            for place in places:
                place.fill(values[_reference(place).hash])
        except NoLagError as error:
            done(error)
        except Exception as error:
            log.exception("large values of the room %r could not be put together", room)
            done(BlobDamaged(f"a large value of the room {room!r} could not be put together: {type(error).__name__}: {error}"))
        else:
            done(None)
        finally:
            self._waiting.discard(moved)

    # --- pushes, in order -----------------------------------------------------------------------------------

    def hold(self, frame: dict[str, Any], tell: Callable[[dict[str, Any]], None], fail: OnLost) -> bool:
        """Keep a push until its value is here, and those about the same thing that come after it. False: it may be told now."""
        if not self._lanes and in_push(frame) is None:
            return False
        lane = frame["room"], frame.get("task") or frame.get("approval")
        waiting = self._lanes.get(lane)
        if waiting is not None:
            waiting.append(frame)
            return True
        if in_push(frame) is None:
            return False
        waiting = self._lanes[lane] = deque((frame,))

        def told(error: NoLagError | None) -> None:
            if self._lanes.get(lane) is not waiting:
                return  # of a session that is over: the next one brings it again
            frame = waiting.popleft()
            if error is None:
                tell(frame)
            else:
                fail(frame, error)
            go_on()

        def go_on() -> None:
            while waiting:
                if (place := in_push(waiting[0])) is not None:
                    self.resolve(waiting[0]["room"], [place], told)
                    return
                tell(waiting.popleft())
            if self._lanes.get(lane) is waiting:
                del self._lanes[lane]

        go_on()
        return True

    def forget_held(self) -> None:
        """The session is over: the next one brings again what was not told."""
        self._lanes = {}

    # --- one value ------------------------------------------------------------------------------------------

    async def _get(self, room: str, reference: Reference) -> bytes:
        key = room, reference.hash
        if (value := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return value
        under_way = self._under_way.get(key)
        if under_way is None:
            under_way = self._under_way[key] = self._connection.io.loop.create_task(self._fetch(key, reference))
            under_way.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(under_way)

    async def _fetch(self, key: Key, reference: Reference) -> bytes:
        async with self._turns:
            pieces: list[bytes] = []
            asked, sum = 0, hashlib.sha256()
            flying: deque[asyncio.Future[Answer]] = deque()
            try:
                while flying or asked < reference.size:
                    while asked < reference.size and len(flying) < WINDOW:
                        flying.append(self._ask(key, asked))
                        asked += PIECE
                    piece = (await flying.popleft())["body"]
                    pieces.append(piece)
                    sum.update(piece)
                    for moved in list(self._waiting):
                        moved()
            finally:
                for future in flying:
                    future.cancel()
        if sum.digest() != reference.hash:
            raise BlobDamaged(f"a large value of the room {key[0]!r} is not what its hash says")
        value = b"".join(pieces)
        self._keep(key, value)
        return value

    def _ask(self, key: Key, offset: int) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = self._connection.io.loop.create_future()

        # No time of its own: it waits as long as who asked for the value does.
        frame = {"op": "blob.get", "room": key[0], "hash": key[1], "offset": offset}
        self._connection.ask(frame, lambda answer, error: settle(future, answer, error), None, 0, insist=True)
        return future

    def _keep(self, key: Key, value: bytes) -> None:
        if len(value) > CACHE or key in self._cache:
            return
        self._cache[key] = value
        self._cached += len(value)
        while self._cached > CACHE:
            _, old = self._cache.popitem(last=False)
            self._cached -= len(old)


def _reference(place: Place) -> Reference:
    try:
        return place.reference()
    except Refusal as error:
        raise BlobDamaged(error.message) from None
