"""What can be asked about events, topics and their cursors and groups, and inboxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .command import Command
from .fields import Body, Flag, Lease, Name, Pattern, Sequence, Sequences, integer


@dataclass(slots=True)
class EventEmit(Command):
    op = "event.emit"
    once = True
    type: Name
    severity: Name = "info"
    body: Body | None = None
    ct: Name | None = None
    parent: Sequence | None = None
    key: Name | None = None  # a repeat happens once, as of topic.publish
    mid: Name | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class TopicPublish(Command):
    op = "topic.publish"
    once = True
    topic: Name
    body: Body
    ct: Name | None = None
    qos: Annotated[int, integer(0, 2)] = 1
    retain: Flag = False
    key: Name | None = None
    parent: Sequence | None = None
    mid: Name | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class CursorMove(Command):
    op = "cursor.move"
    cursor: Name
    seq: Sequence
    epoch: Name | None = None


@dataclass(slots=True)
class CursorDelete(Command):
    op = "cursor.delete"
    cursor: Name
    lease: Lease | None = None


@dataclass(slots=True)
class GroupAck(Command):
    op = "group.ack"
    group: Name
    messages: Sequences
    epoch: Name | None = None
    types: Pattern = "**"
    subject: Pattern = "**"


@dataclass(slots=True)
class InboxSend(Command):
    op = "inbox.send"
    once = True
    to: Name
    body: Body
    ct: Name | None = None
    keep: Flag = False
    key: Name | None = None  # a repeat happens once, as of topic.publish
    parent: Sequence | None = None
    mid: Name | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class InboxOpen(Command):
    op = "inbox.open"
    after: Sequence = 0
    epoch: Name | None = None


@dataclass(slots=True)
class InboxAck(Command):
    op = "inbox.ack"
    messages: Sequences
    epoch: Name | None = None
