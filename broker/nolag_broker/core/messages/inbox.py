"""Directed messages: in the order they were sent, kept until the receiver has acknowledged them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.messages import InboxAck, InboxOpen, InboxSend
from ..entity import Entity
from ..event import Event
from ..limits import OVERHEAD
from ..turn import BodyAt, Caller

if TYPE_CHECKING:
    from ..room import Room

PAGE: Final = 1 << 20  # bytes of messages in one answer; one message at least
LARGE: Final = PAGE // 4  # what a message counts whose size an older broker did not write down


class Message(Entity):
    """A message that was not acknowledged yet; its body is that of the event at `seq`."""

    __slots__ = ("ct", "parent", "sender", "seq", "size", "time", "to", "unread")

    def __init__(self, to: str, seq: int, sender: str, time: float, ct: str | None, parent: int | None, size: int = LARGE) -> None:
        self.stored = False
        self.unread = True
        self.to = to
        self.seq = seq
        self.sender = sender
        self.time = time
        self.ct = ct
        self.parent = parent
        self.size = size  # of its body

    @property
    def key(self) -> str:
        return f"inbox/{self.seq}"

    def head(self) -> bytes | None:
        if not self.unread:
            return None
        row: bytes = pack((self.to, self.seq, self.sender, self.time, self.ct, self.parent, self.size))
        return row

    def view(self) -> dict[str, Any]:
        view: dict[str, Any] = {"seq": self.seq, "sender": self.sender, "time": self.time, "body": BodyAt(self.seq)}
        if self.ct is not None:
            view["ct"] = self.ct
        if self.parent is not None:
            view["parent"] = self.parent
        return view


class Inbox:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._unread: dict[str, dict[int, Message]] = {}

    def operations(self) -> dict[type, Any]:
        return {InboxSend: self.send, InboxOpen: self.open, InboxAck: self.ack}

    def folds(self) -> dict[str, Any]:
        return {"inbox.sent": self.apply_sent, "inbox.read": self.apply_read}

    # -- the fold

    def apply_sent(self, event: Event) -> None:
        to = event.subject or ""
        self._room.once.fold("inbox", event, to)
        message = Message(to, event.seq, event.sender, event.time, event.ct, event.parent, len(event.body or b""))
        self._unread.setdefault(to, {})[event.seq] = message
        self._room.touch(message)

    def apply_read(self, event: Event) -> None:
        actor = event.subject or ""
        unread = self._unread[actor]
        for seq in event.data["messages"]:
            message = unread.pop(seq)
            message.unread = False
            self._room.touch(message)
        if not unread:
            del self._unread[actor]

    def load(self, rows: Mapping[str, bytes]) -> None:
        messages = [Message(*msgpack.unpackb(row)) for key, row in rows.items() if key.startswith("inbox/")]
        for message in sorted(messages, key=lambda message: message.seq):
            message.stored = True
            self._unread.setdefault(message.to, {})[message.seq] = message

    def unread(self) -> list[Message]:
        return [message for messages in self._unread.values() for message in messages.values()]

    # -- operations

    def send(self, command: InboxSend, caller: Caller) -> dict[str, Any]:
        room, to = self._room, command.to
        room.allow("publish", "inbox/" + to)
        if (seq := room.once.before("inbox", command.key, to, command.body)) is not None:
            return {"seq": seq}
        room.tasks.check_lease(command.lease, caller)
        receivers = room.members.of_actor(to)
        if not receivers and not command.keep:
            raise Refusal("peer_not_found", f"{to!r} is not in the room; with keep the message waits for it")
        if len(receivers) > 1:
            raise Refusal("actor_ambiguous", f"{len(receivers)} processes are {to!r} here: give each an actor of its own")
        if len(self._unread.get(to, ())) >= room.limits.unread:
            raise Refusal("overloaded", f"{to!r} has {room.limits.unread} unread messages")
        data: dict[str, Any] = {"message": room.seq + 1, "keep": command.keep}
        if command.key is not None:
            data["key"] = command.key
        event = room.emit("inbox.sent", to, data, command.body, command.ct, command.parent, command.mid)
        if receivers and (session := receivers[0].session) is not None and session.inbox_live:
            room.push(session, {"push": "inbox", "room": room.name, "epoch": room.epoch, "messages": [self._unread[to][event.seq].view()]})
        return {"seq": event.seq}

    def open(self, command: InboxOpen, caller: Caller) -> dict[str, Any]:
        """A page of what is unread; whoever has the last one is told of new messages as they come."""
        members = self._room.members
        member = members.joined(caller)
        if any(other is not member and other.session is not None and other.session.inbox for other in members.of_actor(member.actor)):
            raise Refusal("actor_ambiguous", f"another process reads the inbox of {member.actor!r}: give each an actor of its own")
        session = members.session(caller)
        after = command.after if command.epoch in (None, self._room.epoch) else 0
        page, more = self._page(member.actor, after)
        session.inbox, session.inbox_live = True, not more
        return {"messages": [message.view() for message in page], "more": more}

    def _page(self, actor: str, after: int) -> tuple[list[Message], bool]:
        """Unread messages after this one, oldest first, and whether there are more."""
        page: list[Message] = []
        size = 0
        for seq, message in self._unread.get(actor, {}).items():
            if seq <= after:
                continue
            if size > PAGE:
                return page, True
            page.append(message)
            size += message.size + OVERHEAD
        return page, False

    def ack(self, command: InboxAck, caller: Caller) -> dict[str, Any]:
        member = self._room.members.joined(caller)
        if command.epoch not in (None, self._room.epoch):  # of a log that is lost: here they are other messages
            return {}
        unread = self._unread.get(member.actor, {})
        if read := [seq for seq in dict.fromkeys(command.messages) if seq in unread]:
            self._room.emit("inbox.read", member.actor, {"messages": read})
        return {}
