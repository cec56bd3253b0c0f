"""Answers kept for requests that come again: what is not idempotent by nature is applied once.

This is not a fact of the room, so it is not in the log: one row a process beside it, in the same commit as what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from ..wire.codec import pack
from .entity import SEPARATOR, Entity
from .turn import Caller

if TYPE_CHECKING:
    from .room import Room


class Client(Entity):
    """The last answers of one process, oldest first."""

    logged = False

    __slots__ = ("actor", "answers", "instance", "kept", "seq")

    def __init__(self, actor: str, instance: str) -> None:
        self.stored = False
        self.kept = True
        self.actor = actor
        self.instance = instance
        self.seq = 0  # of the room when it last asked: who asked longest ago is dropped first
        self.answers: dict[int, dict[str, Any]] = {}

    @property
    def key(self) -> str:
        return f"client/{self.actor}{SEPARATOR}{self.instance}"

    def head(self) -> bytes | None:
        if not self.kept:
            return None
        row: bytes = pack((self.actor, self.instance, self.seq, list(self.answers.items())))
        return row


class Requests:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._clients: dict[tuple[str, str], Client] = {}

    def answered(self, caller: Caller, request: int) -> dict[str, Any] | None:
        """What this request was answered before, if it was."""
        client = self._clients.get((caller.actor, caller.instance))
        return None if client is None else client.answers.get(request)

    def remember(self, caller: Caller, request: int, ok: dict[str, Any]) -> None:
        room, key = self._room, (caller.actor, caller.instance)
        client = self._clients.pop(key, None) or Client(*key)
        self._clients[key] = client
        client.seq = room.seq
        client.answers[request] = ok
        if len(client.answers) > room.limits.answers:
            del client.answers[next(iter(client.answers))]
        room.touch(client)
        if len(self._clients) > room.limits.clients:
            oldest = self._clients.pop(next(iter(self._clients)))
            oldest.kept = False
            room.touch(oldest)

    def done(self, caller: Caller, below: int) -> None:
        """The process has the answers to all requests below this one. Its row follows with the next answer."""
        if (client := self._clients.get((caller.actor, caller.instance))) is not None:
            answers = client.answers
            while answers and (first := next(iter(answers))) < below:
                del answers[first]

    def load(self, rows: Mapping[str, bytes]) -> None:
        clients = []
        for key, row in rows.items():
            if key.startswith("client/"):
                actor, instance, seq, answers = msgpack.unpackb(row)
                client = Client(actor, instance)
                client.stored, client.seq, client.answers = True, seq, dict(answers)
                clients.append(client)
        self._clients = {(client.actor, client.instance): client for client in sorted(clients, key=lambda client: client.seq)}
