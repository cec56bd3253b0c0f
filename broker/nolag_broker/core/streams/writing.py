"""What the writers of streams ask: to open one, or take one over; to write, and to close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...wire.codes import Refusal
from ...wire.topics import segments
from ..commands.streams import StreamClose, StreamOpen, StreamWrite
from ..turn import Caller
from .stream import ABORTED, CLOSED, DIRECTED, FAILED, OPEN, Stream, push_to

if TYPE_CHECKING:
    from ..room import Room

MAX_CHUNK: Final = 1 << 20  # bytes


class StreamWriting:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._streams = room.streams

    def operations(self) -> dict[type, Any]:
        return {StreamOpen: self.open, StreamWrite: self.write, StreamClose: self.close}

    def open(self, command: StreamOpen, caller: Caller) -> dict[str, Any]:
        room, streams = self._room, self._streams
        room.members.joined(caller)
        subject = _subject(command)
        room.allow("publish", subject)
        room.tasks.check_lease(command.lease, caller)
        room.tasks.check_lease(command.under, caller)
        kept = 0
        if (stream := streams.by_id.get(command.stream)) is not None:
            self._check_take_over(stream, command, subject, caller)
            kept = stream.n if command.keep is None else min(command.keep, stream.n)
        if (stream is None or stream.state != OPEN) and streams.open_count >= room.limits.streams:
            raise Refusal("overloaded", f"{room.limits.streams} streams are open already")
        if stream is not None:
            streams.place(stream, None)
            streams.roll(stream, kept)
        data: dict[str, Any] = {"stream": command.stream, "instance": caller.instance, "kept": kept}
        if stream is not None:
            data["again"] = True
        if command.ct is not None:
            data["ct"] = command.ct
        if command.lease is not None:
            data["lease"] = list(command.lease)
        token = room.emit("stream.opened", subject, data, parent=command.parent).seq
        for follower in () if stream is None else stream.followers:
            if follower.n > kept:
                push_to(room, follower, {"rewind": kept})
                follower.n = kept
        streams.place(streams.by_id[command.stream], room.members.session(caller))
        return {"stream": command.stream, "token": token, "n": kept}

    def write(self, command: StreamWrite, caller: Caller) -> dict[str, Any]:
        """The answer says what was received: a writer that is behind that, or ahead of it, goes on from there."""
        room, streams = self._room, self._streams
        room.members.joined(caller)
        stream = self._written_by(command, caller)
        room.allow("publish", stream.subject)
        if any(len(chunk) > MAX_CHUNK for chunk in command.chunks):
            raise Refusal("message_too_large", f"a chunk can have {MAX_CHUNK} bytes", detail={"max": MAX_CHUNK})
        streams.place(stream, room.members.session(caller))
        if command.n <= stream.n + 1 and (chunks := command.chunks[stream.n + 1 - command.n :]):
            streams.take(stream, chunks)
        return {"n": stream.n, "kept": stream.rolled}

    def close(self, command: StreamClose, caller: Caller) -> dict[str, Any]:
        streams = self._streams
        stream = streams.by_id.get(command.stream)
        if stream is not None and stream.state in (CLOSED, FAILED) and self._owns(stream, command.token, caller):
            return {"closed": True, "n": stream.n}  # sent again
        stream = self._written_by(command, caller)
        if stream.n != command.n:
            return {"closed": False, "n": stream.n}
        streams.end(stream, CLOSED if command.error is None else FAILED, error=command.error)
        return {"closed": True, "n": stream.n}

    # -- who may write

    def _check_take_over(self, stream: Stream, command: StreamOpen, subject: str, caller: Caller) -> None:
        task = None if command.lease is None else command.lease[0]
        if (stream.subject, stream.ct, stream.task) != (subject, command.ct, task):
            raise Refusal("key_conflict", f"the stream {stream.id!r} was opened for {stream.subject!r}, or under another task")
        if command.lease is not None:
            if command.lease[1] > stream.lease or stream.state in (OPEN, ABORTED):
                return  # another attempt writes it anew, whatever became of the former one
        elif stream.writer != caller.actor:
            raise Refusal("key_conflict", f"the stream {stream.id!r} is written by {stream.writer!r}")
        elif stream.state in (OPEN, ABORTED):
            return
        raise _ended(stream)

    def _written_by(self, command: StreamWrite | StreamClose, caller: Caller) -> Stream:
        """The open stream that this caller writes under this token. Raises `Refusal`."""
        stream = self._streams.by_id.get(command.stream)
        if stream is None:
            raise Refusal("stream_not_found", f"no stream {command.stream!r}")
        if not self._owns(stream, command.token, caller):
            raise Refusal("stale_lease", "another writer took the stream over: stop writing")
        if stream.state != OPEN:
            raise _ended(stream)
        if stream.task is not None and self._room.tasks.held_by(stream.holder, stream.task, stream.lease) is None:
            raise Refusal("stale_lease", "another attempt owns the task of this stream: stop working on it")
        return stream

    def _owns(self, stream: Stream, token: int, caller: Caller) -> bool:
        return stream.token == token and stream.holder == (caller.actor, caller.instance)


def _subject(command: StreamOpen) -> str:
    """What it is for is named as for a message: an actor's inbox, or a topic."""
    if (command.to is None) == (command.topic is None):
        raise Refusal("bad_request", "a stream is for an actor or for a topic: to or topic", detail={"field": "to"})
    if command.topic is None:
        return f"{DIRECTED}{command.to}"
    if segments(command.topic)[0] == segments(DIRECTED)[0]:
        raise Refusal("bad_request", "topics under 'inbox' are for directed streams: name the actor with to", detail={"field": "topic"})
    return command.topic


def _ended(stream: Stream) -> Refusal:
    return Refusal("stream_ended", f"the stream is {stream.state}", detail=stream.end())
