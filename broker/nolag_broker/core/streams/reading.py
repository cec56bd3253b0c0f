"""What the readers of streams ask: which ones there are, and their chunks, from any number on and then live.

What was rolled up is answered in pages, asked for one by one, so that a slow reader is never sent more than it takes.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from ...wire.codec import pack
from ...wire.codes import Refusal
from ...wire.topics import matches
from ..commands.streams import StreamAck, StreamFollow, StreamList, StreamUnfollow
from ..turn import BodyAt, Caller
from .stream import DIRECTED, OPEN, Follower, Stream

if TYPE_CHECKING:
    from ..room import Room

PAGE: Final = 1 << 20  # bytes of pieces in one answer; one piece at least
MAX_FOLLOWED: Final = 1000  # by a connection


class StreamReading:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._streams = room.streams

    def operations(self) -> dict[type, Any]:
        return {StreamFollow: self.follow, StreamUnfollow: self.unfollow, StreamList: self.list_streams, StreamAck: self.ack}

    def follow(self, command: StreamFollow, caller: Caller) -> dict[str, Any]:
        session = self._room.members.session(caller)
        if command.sub in session.reading:
            raise Refusal("subscription_conflict", f"the number {command.sub} is in use on this connection")
        stream = self._streams.by_id.get(command.stream)
        if stream is None:
            raise Refusal("stream_not_found", f"no stream {command.stream!r} (any more)")
        if not stream.may_be_read(caller, self._room.name):
            raise Refusal("not_authorized", f"the stream {stream.id!r} is for others")
        answer = {**stream.info(), "more": False}
        after = self._rewind(stream, command, answer)
        if after + 1 < stream.first:
            answer["gap"] = [after + 1, stream.first - 1]
            after = stream.first - 1
        after = self._fill(stream, after, answer)
        if answer["more"]:
            return answer
        if stream.state != OPEN:
            answer["end"] = stream.end()
        elif len(session.reading) >= MAX_FOLLOWED:
            raise Refusal("overloaded", f"a connection can follow {MAX_FOLLOWED} streams of a room")
        else:
            follower = session.reading[command.sub] = Follower(stream, session, command.sub, after)
            stream.followers[follower] = None
        return answer

    def _rewind(self, stream: Stream, command: StreamFollow, answer: dict[str, Any]) -> int:
        """What holds of that which the reader has. More than there is, it has from before a crash: the writer will send it again."""
        after = stream.still_valid(command.token, command.after)
        if stream.state != OPEN:
            after = min(after, stream.n)
        if after < command.after:
            answer["rewind"] = after
        return after

    def _fill(self, stream: Stream, after: int, answer: dict[str, Any]) -> int:
        """A page of what comes after; the last chunk in it."""
        pieces: list[list[Any]] = []
        size = 0
        for piece in stream.pieces:
            if piece.last <= after:
                continue
            if size > PAGE:
                answer["more"] = True
                break
            pieces.append([piece.first, piece.last, BodyAt(piece.seq)])
            size += piece.size
            after = piece.last
        if not answer["more"] and after < stream.n:
            pieces.append([stream.rolled + 1, stream.n, pack(stream.buffer)])
            after = stream.n
        answer["pieces"] = pieces
        return after

    def unfollow(self, command: StreamUnfollow, caller: Caller) -> dict[str, Any]:
        if (follower := self._room.members.session(caller).reading.get(command.sub)) is not None:
            self._streams.forget_follower(follower)
        return {}

    def list_streams(self, command: StreamList, caller: Caller) -> dict[str, Any]:
        """Open ones of topics; or those for the caller that it has not read to the end."""
        streams = self._streams.by_id.values()
        if command.topics is not None:
            allows, room, pattern = caller.grants.allows, self._room.name, command.topics
            of_topics = [stream for stream in streams if stream.state == OPEN and stream.to is None and matches(pattern, stream.subject)]
            found = [stream for stream in of_topics if allows("subscribe", room, stream.subject)]
        else:
            mine = DIRECTED + caller.actor
            found = [stream for stream in streams if stream.subject == mine and not stream.read]
        return {"streams": [stream.info() for stream in sorted(found, key=lambda stream: stream.seq)]}

    def ack(self, command: StreamAck, caller: Caller) -> dict[str, Any]:
        if command.tokens is not None and len(command.tokens) != len(command.streams):
            raise Refusal("bad_request", "a token for each of the streams", detail={"field": "tokens"})
        mine, by_id, read = DIRECTED + caller.actor, self._streams.by_id, dict[str, None]()
        for id, token in zip(command.streams, command.tokens or repeat(None), strict=False):
            stream = by_id.get(id)
            if stream is not None and stream.subject == mine and stream.state != OPEN and not stream.read and token in (None, stream.token):
                read[id] = None
        if read:
            self._room.emit("stream.read", mine, {"streams": list(read)})
        return {}
