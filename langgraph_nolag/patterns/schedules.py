"""Schedules: tasks that the room dispatches by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..client.link import RoomLink


class Schedule:
    """A schedule of the room, as it was when we last asked. Times in seconds since 1970.

    Attributes:
        name: unique in the room.
        type: of its tasks.
        cron, tz, overlap: as it was set.
        owner: the actor who set it; its tasks are this actor's.
        next: the moment that comes next; None while it is paused.
        last: the last moment that came; None before the first.
        task: the id of the last task it brought, if any.
        paused: whether it rests.
        reason: why the broker paused it by itself, if it did.
    """

    name: str
    type: str
    cron: str
    tz: str
    overlap: str
    owner: str
    next: float | None
    last: float | None
    task: str | None
    paused: bool
    reason: str | None

    def __init__(self, link: RoomLink, info: Mapping[str, Any]) -> None:
        self._link = link
        self._tell(info)

    def __repr__(self) -> str:
        return f"Schedule({self.name!r}, {self.cron!r}, tz={self.tz!r}{', paused' if self.paused else ''})"

    async def refresh(self) -> None:
        """Ask how it is now. Raises `ScheduleNotFound`."""
        self._tell(await self._link.acall("schedule.get", schedule=self.name))

    async def pause(self) -> None:
        """No moment comes until it is resumed. Raises `ScheduleNotFound`."""
        self._tell(await self._link.acall("schedule.pause", schedule=self.name))

    async def resume(self) -> None:
        """Go on with the next moment; what was missed meanwhile is not made up for. Raises `ScheduleNotFound`."""
        self._tell(await self._link.acall("schedule.resume", schedule=self.name))

    async def delete(self) -> None:
        """End it. The tasks that it brought go on. Raises `ScheduleNotFound`."""
        await self._link.acall("schedule.delete", schedule=self.name)

    def _tell(self, info: Mapping[str, Any]) -> None:
        self.name, self.type, self.owner = info["schedule"], info["type"], info["owner"]
        self.cron, self.tz, self.overlap = info["cron"], info["tz"], info["overlap"]
        self.next, self.last, self.task = info.get("next"), info.get("fired"), info.get("task")
        self.paused, self.reason = info["paused"], info.get("reason")
