"""Which worker gets which task, without looking at every task or every worker.

Waiting tasks that any worker would judge alike stand in one **queue** (kind, type, required capabilities). Offers that
serve alike share one **profile** (kind, types, capabilities). Queues that hold something and profiles that have a free
slot are found through inverted indexes; a queue stands under the one of its capabilities that is rarest there, so that a
worker sees few queues that it can't serve even when all tasks share a capability. What a claim costs depends on how many
*different* requirements meet, never on how many tasks wait or agents stand by.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from ..members import Member, Session
    from .task import Task

ANY: Final = "*"  # never a type: names have no wildcard
CHOICE: Final = 8  # suitable profiles that are compared for the least loaded offer
IN_HAND: Final = 8 << 20  # bytes of payloads with which an offer gets no more: its connection takes these, and one of the largest

_Bucket = tuple[str, str, str | None]  # kind, type or ANY, capability or None
_Entry = tuple[int, int, int, "Task"]  # its rank, and the task


class Queue:
    """Waiting tasks with the same requirements: the highest priority first, then the oldest."""

    __slots__ = ("anchors", "capabilities", "heap", "kind", "live", "type")

    def __init__(self, kind: str, type: str, capabilities: frozenset[str]) -> None:
        self.kind = kind
        self.type = type
        self.capabilities = capabilities
        self.heap: list[_Entry] = []
        self.live = 0
        self.anchors: tuple[_Bucket, _Bucket] | None = None  # while it stands in the index

    def first(self) -> _Entry:
        """The best one. Only for a queue that is not empty; entries of tasks that went another way are dropped here."""
        heap = self.heap
        while heap[0][3].queue is not self:
            heappop(heap)
        return heap[0]


class Profile:
    """Offers that serve alike; those with a free slot by how many slots they use."""

    __slots__ = ("buckets", "capabilities", "key", "kind", "levels", "offers", "sights", "types")

    def __init__(self, kind: str, types: frozenset[str] | None, capabilities: frozenset[str]) -> None:
        self.key = (kind, types, capabilities)
        self.kind = kind
        self.types = types
        self.capabilities = capabilities
        self.offers = 0
        self.levels: dict[int, dict[Offer, None]] = {}
        names = (ANY,) if types is None else tuple(sorted(types))
        anchors = (None, *sorted(capabilities))
        self.sights: tuple[_Bucket, ...] = tuple((kind, name, anchor) for name in names for anchor in anchors)  # where queues stand
        by_type = [(kind, name, None) for name in names]
        self.buckets: tuple[_Bucket, ...] = (*by_type, *((kind, ANY, anchor) for anchor in anchors[1:]))  # where it stands itself

    def admits(self, task: Task) -> bool:
        return self.kind == task.kind and (self.types is None or task.type in self.types) and task.capabilities <= self.capabilities

    def level(self) -> int:
        return min(self.levels)

    def __repr__(self) -> str:
        return f"Profile{self.key}"


class Offer:
    """A worker's word to take tasks: one `task.serve`, while its connection lives."""

    __slots__ = ("bytes", "full", "lingering", "member", "number", "profile", "session", "slots", "used")

    def __init__(self, session: Session, number: int, member: Member, profile: Profile, slots: int) -> None:
        self.session = session
        self.number = number
        self.member = member
        self.profile = profile
        self.slots = slots
        self.used = 0
        self.bytes = 0  # of the bodies of the tasks that it has in hand
        self.full = 0  # its slots, while it has so many of them that it gets no more: then it has none
        self.lingering: dict[tuple[str, int], int] = {}  # hand-outs that are over, by task and token, until it has done with them

    def take(self, size: int) -> None:
        """It has one more in hand from before: it is not in the market yet."""
        self.used += 1
        self.bytes += size

    def linger(self, task: str, token: int, size: int = 0) -> None:
        """This hand-out, of a body of so many bytes, is over and has its slot still: nobody can end a handler from outside."""
        self.lingering[task, token] = size


class Market:
    """The waiting tasks and the free offers."""

    __slots__ = ("_free", "_profiles", "_queues", "_standing", "_waiting")

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str, frozenset[str]], Queue] = {}
        self._waiting: dict[_Bucket, dict[Queue, None]] = {}  # queues that hold something
        self._standing: dict[str, dict[Queue, None]] = {}  # the same, by kind
        self._profiles: dict[tuple[str, frozenset[str] | None, frozenset[str]], Profile] = {}
        self._free: dict[_Bucket, dict[Profile, None]] = {}  # profiles with a free slot

    # -- waiting tasks

    def add(self, task: Task) -> None:
        """The task waits from now on."""
        key = (task.kind, task.type, task.capabilities)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(*key)
        heappush(queue.heap, (*task.rank, task))
        task.queue = queue
        queue.live += 1
        if queue.anchors is None:
            self._stand(queue)

    def remove(self, task: Task) -> None:
        """The task does not wait any more."""
        queue = task.queue
        if queue is None:
            return
        task.queue = None
        queue.live -= 1
        if not queue.live:
            queue.heap.clear()
            self._leave(queue)
        elif queue.heap[0][3] is task:
            heappop(queue.heap)
        elif len(queue.heap) > 2 * queue.live + 64:
            standing = {entry[3]: entry for entry in queue.heap if entry[3].queue is queue}
            queue.heap = list(standing.values())
            heapify(queue.heap)

    def best(self, profile: Profile) -> Task | None:
        """The task that an offer of this profile takes next."""
        standing = self._standing.get(profile.kind)
        if not standing:
            return None
        sights = profile.sights
        if len(standing) <= len(sights):
            queues = iter(standing)
            typed = profile.types
        else:
            queues = chain.from_iterable(self._waiting.get(bucket, ()) for bucket in sights)
            typed = None  # only queues of its types stand there
        best: _Entry | None = None
        for queue in queues:
            if queue.capabilities <= profile.capabilities and (typed is None or queue.type in typed):
                first = queue.first()
                if best is None or first < best:
                    best = first
        return None if best is None else best[3]

    def _stand(self, queue: Queue) -> None:
        capabilities = queue.capabilities
        anchors = []
        for name in (queue.type, ANY):
            anchor: str | None = None
            if capabilities:
                anchor = min(capabilities, key=lambda c: (len(self._waiting.get((queue.kind, name, c), ())), c))
            bucket = (queue.kind, name, anchor)
            anchors.append(bucket)
            self._waiting.setdefault(bucket, {})[queue] = None
        queue.anchors = (anchors[0], anchors[1])
        self._standing.setdefault(queue.kind, {})[queue] = None

    def _leave(self, queue: Queue) -> None:
        assert queue.anchors is not None
        for bucket in queue.anchors:
            _discard(self._waiting, bucket, queue)
        queue.anchors = None
        _discard(self._standing, queue.kind, queue)
        if len(self._queues) > 1024:  # below that, what empties is likely to fill again soon
            del self._queues[queue.kind, queue.type, queue.capabilities]

    # -- offers

    def open(self, offer: Offer) -> None:
        """The offer takes tasks from now on."""
        if offer.used < offer.slots:
            self._raise(offer, offer.used)
        self._close_if_full(offer)

    def profile(self, kind: str, types: frozenset[str] | None, capabilities: frozenset[str]) -> Profile:
        """The profile of a new offer."""
        key = (kind, types, capabilities)
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profiles[key] = Profile(kind, types, capabilities)
        profile.offers += 1
        return profile

    def close(self, offer: Offer) -> None:
        if offer.used < offer.slots:
            self._lower(offer, offer.used)
        offer.slots = offer.full = 0  # the tasks that it still holds leave one by one, and free no slot
        profile = offer.profile
        profile.offers -= 1
        if not profile.offers:
            del self._profiles[profile.key]

    def occupy(self, offer: Offer, size: int) -> None:
        """It has a task more, with a body of so many bytes."""
        self._shift(offer, 1)
        offer.bytes += size
        self._close_if_full(offer)

    def vacate(self, offer: Offer, size: int) -> None:
        self._shift(offer, -1)
        offer.bytes -= size
        if offer.full and offer.bytes < IN_HAND:
            offer.slots, offer.full = offer.full, 0
            if offer.used < offer.slots:
                self._raise(offer, offer.used)

    def find(self, task: Task) -> Offer | None:
        """A free offer for this task: the least loaded one of the first suitable profiles."""
        free, kind, type, capabilities = self._free, task.kind, task.type, task.capabilities
        named, open_ = free.get((kind, type, None), _NOBODY), free.get((kind, ANY, None), _NOBODY)
        profiles, turned = chain(named, open_), (named, open_)
        if capabilities:
            skilled = min((free.get((kind, ANY, capability), _NOBODY) for capability in capabilities), key=len)
            if len(skilled) < len(named) + len(open_):
                profiles, turned = chain(skilled), (skilled, _NOBODY)
        best: Profile | None = None
        load = seen = 0
        for profile in profiles:
            if capabilities <= profile.capabilities and (profile.types is None or type in profile.types):
                level = profile.level()
                if best is None or level < load:
                    best, load = profile, level
                seen += 1
                if seen == CHOICE or not load:
                    break
        if best is None:
            return None
        for bucket in turned:  # the next search begins with others, so that all get their share
            if best in bucket and len(bucket) > 1:
                del bucket[best]
                bucket[best] = None
        return next(iter(best.levels[load]))

    def _close_if_full(self, offer: Offer) -> None:
        if offer.bytes >= IN_HAND and offer.slots:
            if offer.used < offer.slots:
                self._lower(offer, offer.used)
            offer.full, offer.slots = offer.slots, 0

    def _shift(self, offer: Offer, step: int) -> None:
        before = offer.used
        offer.used = after = before + step
        if after < offer.slots:
            self._raise(offer, after)
        if before < offer.slots:
            self._lower(offer, before)

    def _raise(self, offer: Offer, level: int) -> None:
        profile = offer.profile
        if not profile.levels:
            for bucket in profile.buckets:
                self._free.setdefault(bucket, {})[profile] = None
        profile.levels.setdefault(level, {})[offer] = None

    def _lower(self, offer: Offer, level: int) -> None:
        profile = offer.profile
        offers = profile.levels[level]
        del offers[offer]
        if not offers:
            del profile.levels[level]
            if not profile.levels:
                for bucket in profile.buckets:
                    _discard(self._free, bucket, profile)


_K = TypeVar("_K")
_V = TypeVar("_V")
_NOBODY: Final[dict[Profile, None]] = {}


def _discard(index: dict[_K, dict[_V, None]], key: _K, value: _V) -> None:
    bucket = index[key]
    del bucket[value]
    if not bucket:
        del index[key]
