"""A stream: chunks with the numbers 1, 2, 3 …, by one writer at a time. Its header is stored; its chunks are in the log, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..entity import Entity, Row
from ..event import Event
from ..tasks.task import Holder
from ..timers import Timer
from ..turn import Caller

if TYPE_CHECKING:
    from ..members import Session
    from ..room import Room

OPEN: Final = "open"
CLOSED: Final = "closed"  # by its writer
FAILED: Final = "failed"  # as its writer said
ABORTED: Final = "aborted"  # its writer is gone

DIRECTED: Final = "inbox/"  # how the subject of a stream to an actor begins
OPENINGS: Final = 16  # remembered; a reader that knows an older one begins again

_ROW: Final = Row(
    "id",
    "seq",
    "subject",
    "writer",
    "instance",
    "ct",
    "task",
    "lease",
    "state",
    "end_seq",
    "ended",
    "error",
    "reason",
    "read",
    "first",
    "rolled",
    "openings",
    "pieces",
)


class Piece(NamedTuple):
    """Chunks that were rolled up: the body of the event at `seq` holds those from `first` on, up to `last` or beyond."""

    first: int
    last: int
    seq: int
    size: int


class Follower:
    """Somebody who reads a stream live, under a number of its own choice."""

    __slots__ = ("n", "session", "stream", "sub")

    def __init__(self, stream: Stream, session: Session, sub: int, n: int) -> None:
        self.stream = stream
        self.session = session
        self.sub = sub
        self.n = n  # the last chunk that it has; after a crash of the broker perhaps more than there is


class Stream(Entity):
    """What the room knows of one stream. `rolled` chunks are in the log; those in `buffer`, and who reads, are gone with a restart."""

    __slots__ = (
        "buffer",
        "buffered",  # bytes
        "ct",
        "end_seq",
        "ended",
        "error",
        "first",  # the first chunk that can still be had
        "followers",
        "id",
        "instance",
        "kept",  # the room still knows it
        "lease",
        "openings",  # (token, how many chunks of the former ones stayed valid)
        "pieces",
        "read",  # by its receiver, to the end
        "reason",
        "rolled",
        "seq",
        "size",  # bytes of the pieces
        "state",
        "subject",
        "task",
        "timer",
        "where",  # the writer's connection
        "writer",
    )

    def __init__(self, event: Event | None) -> None:
        """As opened for the first time. None: everything is set from a row."""
        if event is None:
            return
        self.stored = False
        self.kept = True
        self.id: str = event.data["stream"]
        self.seq = event.seq
        self.subject = event.subject or ""
        self.first = 1
        self.rolled = self.size = 0
        self.pieces: list[Piece] = []
        self.openings: list[tuple[int, int]] = []
        self._begin()
        self.open(event)

    def _begin(self) -> None:
        """What is never stored."""
        self.buffer: list[bytes] = []
        self.buffered = 0
        self.timer: Timer | None = None
        self.followers: dict[Follower, None] = {}
        self.where: Session | None = None

    def open(self, event: Event) -> None:
        """By a writer, the first one or another: chunks beyond those it keeps are not valid any more."""
        data = event.data
        self.writer = event.sender
        self.instance: str = data["instance"]
        self.ct: str | None = data.get("ct")
        self.task: str | None = None
        self.lease = 0
        if (lease := data.get("lease")) is not None:
            self.task, self.lease = lease
        self.state = OPEN
        self.end_seq, self.ended = 0, 0.0
        self.error: dict[str, Any] | None = None
        self.reason: str | None = None
        self.read = False
        self.openings.append((event.seq, data["kept"]))
        del self.openings[:-OPENINGS]
        self._cut(data["kept"])

    def _cut(self, kept: int) -> None:
        while self.pieces and self.pieces[-1].last > kept:
            piece = self.pieces.pop()
            self.size -= piece.size
            if piece.first <= kept:
                self.add(piece._replace(last=kept))
        self.rolled = kept
        self.first = min(self.first, kept + 1)

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.size += piece.size
        self.rolled = piece.last

    def drop_oldest(self) -> None:
        self.size -= self.pieces.pop(0).size
        self.first = self.pieces[0].first

    # -- what it is

    @property
    def key(self) -> str:
        return "stream/" + self.id

    @property
    def token(self) -> int:
        """The fencing token of its writer: the sequence of the opening."""
        return self.openings[-1][0]

    @property
    def holder(self) -> Holder:
        return self.writer, self.instance

    @property
    def to(self) -> str | None:
        """The one actor it is for; None: it is for the subscribers of a topic."""
        return self.subject.removeprefix(DIRECTED) if self.subject.startswith(DIRECTED) else None

    @property
    def n(self) -> int:
        """The last chunk received."""
        return self.rolled + len(self.buffer)

    def may_be_read(self, caller: Caller, room: str) -> bool:
        if (to := self.to) is None:
            return caller.grants.allows("subscribe", room, self.subject)
        return caller.actor in (to, self.writer) or caller.grants.is_admin(room)

    def still_valid(self, token: int, n: int) -> int:
        """How many of the first `n` chunks hold that somebody read under an opening (0: of the current one)."""
        if token in (0, self.token):
            return n
        tokens = [token for token, _ in self.openings]
        if token not in tokens:
            return 0
        return min(n, *(kept for _, kept in self.openings[tokens.index(token) + 1 :]))

    def head(self) -> bytes | None:
        return _ROW.of(self) if self.kept else None

    @classmethod
    def from_head(cls, row: bytes) -> Stream:
        self = cls(None)
        _ROW.load(self, row)
        self.stored = self.kept = True
        lists: Any = self  # in a row there are no tuples
        self.openings = [(token, kept) for token, kept in lists.openings]
        self.pieces = [Piece(*piece) for piece in lists.pieces]
        self.size = sum(piece.size for piece in self.pieces)
        self._begin()
        return self

    def info(self) -> dict[str, Any]:
        """As `stream.list` shows it."""
        info: dict[str, Any] = {
            "stream": self.id,
            "seq": self.seq,
            "subject": self.subject,
            "writer": self.writer,
            "state": self.state,
            "token": self.token,
            "n": self.n,
        }
        info.update((name, value) for name, value in (("task", self.task), ("ct", self.ct)) if value is not None)
        return info

    def end(self) -> dict[str, Any]:
        """How it ended, as its readers are told."""
        end: dict[str, Any] = {"state": self.state}
        end.update((name, value) for name, value in (("error", self.error), ("reason", self.reason)) if value is not None)
        return end


def push_to(room: Room, follower: Follower, fields: dict[str, Any]) -> None:
    room.push(follower.session, {"push": "stream", "sub": follower.sub, "token": follower.stream.token, **fields})
