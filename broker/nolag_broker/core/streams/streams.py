"""The streams of a room as the log tells them, and what becomes of them when time passes or somebody goes.

Chunks go to the readers at once and to the log in pieces: a buffer in memory is rolled up into one event when it is large, when it is
old, and when the stream ends or changes hands. What a crash takes of the buffer the writer has still, and sends again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..event import Event
from ..tasks.task import Holder, Task
from ..turn import Caller
from .stream import ABORTED, CLOSED, FAILED, OPEN, Follower, Piece, Stream, push_to

if TYPE_CHECKING:
    from ..members import Session
    from ..room import Room


class Streams:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.by_id: dict[str, Stream] = {}
        self.open_count = 0
        self.of_task: dict[str, dict[str, Stream]] = {}  # open ones
        self._of_holder: dict[Holder, dict[str, Stream]] = {}  # open ones without a task
        self._ended: dict[str, Stream] = {}  # oldest first
        self._ended_size = 0
        self._buffered = 0

    def folds(self) -> dict[str, Any]:
        return {
            "stream.opened": self.apply_opened,
            "stream.rolled": self.apply_rolled,
            "stream.closed": lambda event: self._apply_ended(event, CLOSED),
            "stream.failed": lambda event: self._apply_ended(event, FAILED),
            "stream.aborted": lambda event: self._apply_ended(event, ABORTED),
            "stream.read": self.apply_read,
        }

    # -- the fold

    def apply_opened(self, event: Event) -> None:
        stream = self.by_id.get(event.data["stream"])
        if stream is None:
            stream = self.by_id[event.data["stream"]] = Stream(event)
        else:
            self._leave(stream)
            stream.open(event)
        self._enter(stream)
        self._room.touch(stream)

    def apply_rolled(self, event: Event) -> None:
        data = event.data
        stream = self.by_id[data["stream"]]
        stream.add(Piece(data["first"], data["last"], event.seq, len(event.body or b"")))
        limits = self._room.limits
        while len(stream.pieces) > 1 and (len(stream.pieces) > limits.stream_pieces or stream.size > limits.stream_bytes):
            stream.drop_oldest()
        self._room.touch(stream)

    def _apply_ended(self, event: Event, state: str) -> None:
        data = event.data
        stream = self.by_id[data["stream"]]
        self._leave(stream)
        stream.state = state
        stream.end_seq, stream.ended = event.seq, event.time
        stream.error, stream.reason = data.get("error"), data.get("reason")
        self._enter(stream)
        self._room.touch(stream)
        self._forget_old(event.time)

    def apply_read(self, event: Event) -> None:
        for id in event.data["streams"]:
            stream = self.by_id[id]
            stream.read = True
            self._room.touch(stream)

    def load(self, rows: Mapping[str, bytes]) -> None:
        streams = [Stream.from_head(row) for key, row in rows.items() if key.startswith("stream/")]
        for stream in sorted(streams, key=lambda stream: stream.end_seq or stream.token):
            self.by_id[stream.id] = stream
            self._enter(stream)

    def _enter(self, stream: Stream) -> None:
        if stream.state != OPEN:
            self._ended[stream.id] = stream
            self._ended_size += stream.size
            return
        self.open_count += 1
        index: dict[Any, dict[str, Stream]] = self._of_holder if stream.task is None else self.of_task
        index.setdefault(stream.task or stream.holder, {})[stream.id] = stream

    def _leave(self, stream: Stream) -> None:
        if stream.state != OPEN:
            del self._ended[stream.id]
            self._ended_size -= stream.size
            return
        self.open_count -= 1
        index: dict[Any, dict[str, Stream]] = self._of_holder if stream.task is None else self.of_task
        group = index[stream.task or stream.holder]
        del group[stream.id]
        if not group:
            del index[stream.task or stream.holder]

    def _forget_old(self, time: float) -> None:
        """Those that ended are kept for a time, within bounds; the last one in any case."""
        limits = self._room.limits
        while len(self._ended) > 1 and (
            len(self._ended) > limits.ended_streams
            or self._ended_size > limits.ended_stream_bytes
            or next(iter(self._ended.values())).ended < time - limits.keep
        ):
            stream = next(iter(self._ended.values()))
            self._leave(stream)
            del self.by_id[stream.id]
            stream.kept = False
            self._room.touch(stream)

    def living(self) -> Iterator[int]:
        """The sequences whose bodies are still to be read. See `Retention.living`."""
        streams = list(self.by_id.values())
        for stream in streams:
            for piece in list(stream.pieces):
                yield piece.seq

    # -- chunks

    def take(self, stream: Stream, chunks: tuple[bytes, ...]) -> None:
        """The next chunks: to the readers, and into the buffer."""
        room, limits = self._room, self._room.limits
        first, last, packed = stream.n + 1, stream.n + len(chunks), pack(chunks)
        for follower in stream.followers:
            if follower.n < last:  # otherwise it has them from before a crash of the broker
                push_to(room, follower, {"first": first, "last": last, "body": packed})
                follower.n = last
        stream.buffer.extend(chunks)
        stream.buffered += len(packed)  # many small ones count too
        self._buffered += len(packed)
        if stream.buffered >= limits.roll_bytes or self._buffered > limits.stream_buffers:
            self.roll(stream)
        elif stream.timer is None:
            stream.timer = room.monotonic.at(room.env.now + limits.roll_after, self._roll_due, stream, stream.seq)

    def roll(self, stream: Stream, last: int | None = None) -> None:
        """Put what is buffered into the log, up to chunk `last` where it is given, and forget the rest; the writer is told what is kept."""
        room = self._room
        room.monotonic.cancel(stream.timer)
        stream.timer = None
        chunks = stream.buffer if last is None else stream.buffer[: max(0, last - stream.rolled)]
        self._buffered -= stream.buffered
        stream.buffer, stream.buffered = [], 0
        if not chunks:
            return
        data = {"stream": stream.id, "first": stream.rolled + 1, "last": stream.rolled + len(chunks), "writer": stream.writer}
        room.emit("stream.rolled", stream.subject, data, pack(chunks), None, stream.token)
        if stream.where is not None:
            kept = {"push": "kept", "room": room.name, "stream": stream.id, "token": stream.token, "n": stream.rolled}
            room.push(stream.where, kept)

    def _roll_due(self, stream: Stream) -> None:
        stream.timer = None
        self.roll(stream)

    # -- the end

    def end(self, stream: Stream, state: str, **facts: Any) -> None:
        """It ends, with all that was received of it; its readers are told."""
        self.roll(stream)
        data: dict[str, Any] = {"stream": stream.id, "n": stream.rolled}
        data.update((name, value) for name, value in facts.items() if value is not None)
        self._room.emit("stream." + state, stream.subject, data, parent=stream.token)
        followers, stream.followers = stream.followers, {}
        for follower in followers:
            if follower.n > stream.rolled:
                push_to(self._room, follower, {"rewind": stream.rolled})
            push_to(self._room, follower, {"end": stream.end()})
            del follower.session.reading[follower.sub]
        self.place(stream, None)

    def place(self, stream: Stream, where: Session | None) -> None:
        """The connection on which its writer is."""
        if stream.where is not where:
            if stream.where is not None:
                del stream.where.writing[stream]
            if where is not None:
                where.writing[stream] = None
            stream.where = where

    def abandon(self, holder: Holder) -> None:
        """A writer is gone for good. Streams of a task go on with the task."""
        for stream in list(self._of_holder.get(holder, {}).values()):
            self.end(stream, ABORTED, reason="writer_gone")

    def task_ended(self, task: Task) -> None:
        """Nobody will write any more."""
        for stream in list(self.of_task.get(task.id, {}).values()):
            self.end(stream, ABORTED, reason="task_" + task.state)

    # -- connections

    def disconnected(self, session: Session) -> None:
        for follower in session.reading.values():
            del follower.stream.followers[follower]
        for stream in session.writing:
            stream.where = None
            self.roll(stream)

    def refreshed(self, session: Session, caller: Caller) -> None:
        """The caller has other grants than before: what it may not read any more ends for it."""
        admitted = caller.grants.touches(self._room.name)
        for follower in list(session.reading.values()):
            if not (admitted and follower.stream.may_be_read(caller, self._room.name)):
                refusal = Refusal("not_authorized", f"the token's grants do not cover the stream {follower.stream.id!r} any more")
                push_to(self._room, follower, {"err": refusal.to_wire()})
                self.forget_follower(follower)

    def forget_follower(self, follower: Follower) -> None:
        del follower.stream.followers[follower]
        del follower.session.reading[follower.sub]
