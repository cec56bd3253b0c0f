"""Which rooms' rows are behind their logs, and when they are written: with a commit, once a second, or sooner when a lot has come.

A crash in between costs nothing but the time to fold the log's tail over the rows (`opening.py`), which the bounds keep short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..core.turn import Turn
from .hosted import HostedRoom

EVERY: Final = 1.0  # seconds
EVENTS: Final = 8192  # a room's log is ahead of its rows; to fold so many takes a third of a second
BYTES: Final = 8 << 20


class Behind:
    """`write` is called with the rooms whose rows are to be written with the next commit, and until that has happened again and again."""

    def __init__(self, write: Callable[[list[HostedRoom]], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, HostedRoom] = {}
        self._timer: asyncio.TimerHandle | None = None

    def due(self, hosted: HostedRoom) -> bool:
        """Whether the rows go with the commit that is being put together."""
        assert hosted.room is not None
        if hosted.blocked:  # what is decided next was told which records to read
            return False
        behind = hosted.room.behind
        return behind > 0 and (hosted.catch_up or behind >= EVENTS or hosted.behind_bytes >= BYTES)

    def stored(self, hosted: HostedRoom, turn: Turn) -> None:
        """A turn of the room was stored."""
        if turn.caught_up:
            hosted.behind_bytes = 0
            self._rooms.pop(hosted.name, None)
            waiting, hosted.waiting_for_rows = hosted.waiting_for_rows, []
            for seq, future in waiting:
                if seq > turn.end:
                    hosted.waiting_for_rows.append((seq, future))
                elif not future.done():
                    future.set_result(None)
            hosted.catch_up = False
            if hosted.waiting_for_rows:  # asked for while these were on their way
                self._soon(hosted)
        elif turn.events:
            hosted.behind_bytes += sum([len(event.body) for event in turn.events if event.body is not None])
            self._rooms[hosted.name] = hosted
            self._arm()

    def written(self, hosted: HostedRoom) -> asyncio.Future[None]:
        """Until the rows tell everything decided in the room so far. Does not end for a room that is thrown away."""
        room, in_flight = hosted.room, hosted.in_flight
        future: asyncio.Future[None] = self._loop.create_future()
        if room is None or not (room.behind or (in_flight is not None and in_flight.caught_up)):
            future.set_result(None)
            return future
        hosted.waiting_for_rows.append((room.seq, future))
        if room.behind:
            self._soon(hosted)
        return future

    def _soon(self, hosted: HostedRoom) -> None:
        self._rooms[hosted.name] = hosted
        self._ask([hosted])
        self._arm()

    def all(self) -> bool:
        """Ask for the rows of all rooms; whether any are behind."""
        self._ask(list(self._rooms.values()))
        return bool(self._rooms)

    def forget(self, hosted: HostedRoom) -> None:
        self._rooms.pop(hosted.name, None)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rooms.clear()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY, self._due)

    def _due(self) -> None:
        self._timer = None
        if self.all():
            self._arm()

    def _ask(self, rooms: list[HostedRoom]) -> None:
        for hosted in rooms:
            hosted.catch_up = True
        self._write(rooms)
