"""What can be asked about streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .command import Command
from .fields import MAX_INT, Lease, Name, Names, Pattern, Sequence, Sequences, Token, integer, listed, read_bytes, read_error


@dataclass(slots=True)
class StreamOpen(Command):
    op = "stream.open"
    once = True
    stream: Name
    to: Name | None = None
    topic: Name | None = None
    ct: Name | None = None
    lease: Lease | None = None  # the task under which it is written
    under: Lease | None = None  # a task that the caller has to hold to open it; the stream is not the task's
    keep: Sequence | None = None  # how many chunks of a former writer stay valid; None: all
    parent: Sequence | None = None


@dataclass(slots=True)
class StreamWrite(Command):
    op = "stream.write"
    stream: Name
    token: Token
    n: Annotated[int, integer(1, MAX_INT)]  # of the first chunk
    chunks: Annotated[tuple[bytes, ...], listed(read_bytes)]


@dataclass(slots=True)
class StreamClose(Command):
    op = "stream.close"
    stream: Name
    token: Token
    n: Sequence  # how many chunks there are
    error: Annotated[dict[str, str], read_error] | None = None


@dataclass(slots=True)
class StreamFollow(Command):
    op = "stream.follow"
    sub: Token
    stream: Name
    after: Sequence = 0
    token: Token = 0  # of the opening under which `after` was read; 0: of the current one


@dataclass(slots=True)
class StreamUnfollow(Command):
    op = "stream.unfollow"
    sub: Token


@dataclass(slots=True)
class StreamList(Command):
    op = "stream.list"
    topics: Pattern | None = None


@dataclass(slots=True)
class StreamAck(Command):
    op = "stream.ack"
    streams: Names
    tokens: Sequences | None = None  # of the openings that were read; a stream that was taken over since is not meant
