"""The broker as a client of its own rooms: for what belongs to no room and is kept in `_system`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ..core.commands import parse
from ..core.turn import Caller
from ..wire.codec import unpack
from ..wire.codes import Refusal
from ..wire.grants import Grants
from .auth import EVERYTHING
from .node import Node

OURSELVES: Final = Caller(session="@inside", actor="@broker", instance="", grants=Grants.parse(EVERYTHING))


class Inside:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        node.sinks[OURSELVES.session] = self._answered

    async def ask(self, room: str, **frame: Any) -> dict[str, Any]:
        """The content of the answer to a request; the room is opened if there is none. Raises `Refusal`."""
        self._last += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[self._last] = answer
        self._node.submit(room, parse(frame), OURSELVES, self._last, True)
        return await answer

    def _answered(self, encoded: bytes) -> None:
        frame = unpack(encoded)
        answer = self._asked.pop(frame["id"])
        if answer.done():
            return
        if (err := frame.get("err")) is not None:
            answer.set_exception(Refusal(err["code"], err["message"], detail=err["detail"], maybe_applied=err["maybe_applied"]))
        else:
            answer.set_result(frame["ok"])
