"""The desk of an agent in a room: search and documents are tools that another process serves, the board and the log are the room's."""

from __future__ import annotations

import asyncio
import os
from functools import cached_property
from typing import Any

from langgraph_nolag import Room, ToolNotFound, open_room

from .desk import Source

PATIENCE = 60.0  # seconds that a tool may be away, because its worker is just starting
PAUSE = 0.1


class RoomDesk:
    """Speaks to the room at `address` (`ws://HOST:PORT/ROOM`), from the first use on."""

    def __init__(self, address: str) -> None:
        self._address = address

    @cached_property
    def _room(self) -> Room:
        return Room(open_room(self._address))

    async def search(self, query: str, limit: int) -> list[Source]:
        found: list[Source] = await self._call("search_passages", {"query": query, "limit": limit})
        return found

    async def read(self, document: str) -> str | None:
        text: str | None = await self._call("read_document", {"name": document})
        return text

    async def share(self, key: str, value: Any) -> None:
        await self._room.blackboard.set(key, value)

    async def note(self, step: str, **facts: Any) -> None:
        await self._room.observe.emit(step, facts)

    async def _call(self, tool: str, args: dict[str, Any]) -> Any:
        """Raises `ToolNotFound` when nobody serves the tool for `PATIENCE` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                return await self._room.tools.invoke(tool, args)
            except ToolNotFound:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(PAUSE)


def room_address(room: str) -> str:
    """The room on the broker that `NOLAG_URL` names."""
    return f"{os.environ['NOLAG_URL']}/{room}"
