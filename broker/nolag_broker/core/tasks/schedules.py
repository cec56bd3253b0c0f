"""Schedules: tasks that the room dispatches by itself, whenever the moments of a cron line come.

The room knows no calendar. The server tells it the moments of a line (`Env.calendar`), and what it was told is in the events: folding
them needs no calendar, and whoever has other time zone data later folds alike.

A moment is fired in one commit with the task it brings and the moment that is next, so that no crash fires it twice or not at
all. What was missed, since nobody was there to fire it, is fired once: for the last moment that has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack

from ...wire.codec import pack
from ...wire.codes import Refusal
from ..commands.schedules import ScheduleDelete, ScheduleGet, ScheduleList, SchedulePause, ScheduleResume, ScheduleSet
from ..entity import Entity
from ..event import Event
from ..timers import Timer
from ..turn import Caller
from .dispatching import check_terms, digest_of, terms_of, verb_on
from .task import LIVE

if TYPE_CHECKING:
    from ..room import Room


KEYS: Final = "schedule/"


class Schedule(Entity):
    """One schedule, as it was set last. The payload of its tasks is the body of the event at `seq`."""

    __slots__ = ("alive", "data", "fired", "first_seq", "next", "owner", "paused", "reason", "seq", "task", "timer", "type")

    def __init__(
        self,
        type: str,
        owner: str,
        data: dict[str, Any],
        first_seq: int,
        seq: int,
        next: float | None = None,
        fired: float = 0.0,
        task: str | None = None,
        paused: bool = False,
        reason: str | None = None,
    ) -> None:
        self.stored = False
        self.alive = True
        self.type = type
        self.owner = owner
        self.data = data  # of the event that set it
        self.first_seq = first_seq  # when it was set first: tasks of an older one of this name have other ids
        self.seq = seq
        self.next = next  # None while it is paused
        self.fired = fired  # the last moment that came, skipped ones too; no moment comes twice, wherever the clock is set
        self.task = task  # that it brought
        self.paused = paused
        self.reason = reason  # why the room paused it
        self.timer: Timer | None = None

    @property
    def name(self) -> str:
        name: str = self.data["schedule"]
        return name

    @property
    def key(self) -> str:
        return KEYS + self.name

    def head(self) -> bytes | None:
        if not self.alive:
            return None
        now = (self.next, self.fired, self.task, self.paused, self.reason)
        row: bytes = pack((self.type, self.owner, self.data, self.first_seq, self.seq, *now))
        return row

    def info(self) -> dict[str, Any]:
        data = self.data
        info: dict[str, Any] = {"schedule": self.name, "type": self.type, "kind": data["terms"]["kind"], "owner": self.owner}
        info.update(cron=data["cron"], tz=data["tz"], overlap=data["overlap"], paused=self.paused)
        optional = {"next": self.next, "fired": self.fired or None, "task": self.task, "reason": self.reason}
        info.update((name, value) for name, value in optional.items() if value is not None)
        return info


class Schedules:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._by_name: dict[str, Schedule] = {}

    def operations(self) -> dict[type, Any]:
        return {
            ScheduleSet: self.set,
            ScheduleGet: self.get,
            ScheduleList: self.list_schedules,
            SchedulePause: self.pause,
            ScheduleResume: self.resume,
            ScheduleDelete: self.delete,
        }

    def folds(self) -> dict[str, Any]:
        return {
            "schedule.set": self.apply_set,
            "schedule.fired": self.apply_fired,
            "schedule.skipped": self.apply_fired,
            "schedule.paused": self.apply_paused,
            "schedule.resumed": self.apply_resumed,
            "schedule.deleted": self.apply_deleted,
        }

    def all(self) -> list[Schedule]:
        return list(self._by_name.values())

    # -- the fold

    def apply_set(self, event: Event) -> None:
        data = dict(event.data)
        following = data.pop("next")
        type = event.subject or ""
        schedule = self._by_name.get(data["schedule"])
        if schedule is None:
            schedule = self._by_name[data["schedule"]] = Schedule(type, event.sender, data, event.seq, event.seq)
        schedule.type, schedule.owner, schedule.data, schedule.seq = type, event.sender, data, event.seq
        self._go_on(schedule, following)

    def apply_fired(self, event: Event) -> None:
        data = event.data
        schedule = self._by_name[data["schedule"]]
        schedule.fired = data["moment"]
        schedule.task = data.get("task", schedule.task)
        self._go_on(schedule, data["next"])

    def apply_paused(self, event: Event) -> None:
        schedule = self._by_name[event.data["schedule"]]
        schedule.paused, schedule.reason = True, event.data.get("reason")
        self._go_on(schedule, None)

    def apply_resumed(self, event: Event) -> None:
        schedule = self._by_name[event.data["schedule"]]
        schedule.paused, schedule.reason = False, None
        self._go_on(schedule, event.data["next"])

    def apply_deleted(self, event: Event) -> None:
        schedule = self._by_name.pop(event.data["schedule"])
        schedule.alive = False
        self._go_on(schedule, None)

    def _go_on(self, schedule: Schedule, following: float | None) -> None:
        """It comes next at this moment."""
        schedule.next = following
        self._wake(schedule)
        self._room.touch(schedule)

    def _wake(self, schedule: Schedule) -> None:
        wall = self._room.wall
        wall.cancel(schedule.timer)
        schedule.timer = None if schedule.next is None else wall.at(schedule.next, self._due, schedule, schedule.first_seq)

    def load(self, rows: Mapping[str, bytes]) -> None:
        for key, row in rows.items():
            if key.startswith(KEYS):
                schedule = Schedule(*msgpack.unpackb(row))
                schedule.stored = True
                self._by_name[schedule.name] = schedule
                self._wake(schedule)

    # -- when the time comes

    def _due(self, schedule: Schedule) -> None:
        room, first = self._room, schedule.next
        assert first is not None
        data: dict[str, Any] = {"schedule": schedule.name}
        calendar, cron, tz = room.env.calendar, schedule.data["cron"], schedule.data["tz"]
        moment = first
        try:
            following = calendar.after(cron, tz, first)
            if following <= room.env.wall:
                moment = max(first, calendar.until(cron, tz, room.env.wall))
                following = calendar.after(cron, tz, room.env.wall)
        except Refusal as refusal:  # the line was good once; this machine's calendar knows its zone no more
            room.emit("schedule.paused", schedule.type, {**data, "reason": refusal.message})
            return
        data.update(moment=moment, next=following)
        if moment != first:
            data["first"] = first
        task = f"{schedule.name[:64]}-{schedule.first_seq}@{moment:.0f}"
        if (reason := self._hindered(schedule, task)) is not None:
            room.emit("schedule.skipped", schedule.type, {**data, "reason": reason})
            return
        room.emit("schedule.fired", schedule.type, {**data, "task": task})
        self._dispatch(schedule, task, moment)

    def _hindered(self, schedule: Schedule, task: str) -> str | None:
        tasks, terms = self._room.tasks, schedule.data["terms"]
        last = tasks.by_id.get(schedule.task or "")
        if schedule.data["overlap"] == "skip" and last is not None and last.state in LIVE:
            return "running"
        if task in tasks.by_id:  # somebody took its id on purpose
            return "key_conflict"
        try:
            tasks.check_bounds(terms.get("rate_key"))
        except Refusal as refusal:
            return refusal.code
        return None

    def _dispatch(self, schedule: Schedule, task: str, moment: float) -> None:
        room = self._room
        facts = {**schedule.data["terms"], "task": task, "dispatcher": schedule.owner, "instance": ""}
        facts.update(payload=schedule.seq, moment=moment)
        if (timeout := facts.pop("timeout", None)) is not None:
            facts["deadline"] = room.env.wall + timeout
        room.emit("task.dispatched", schedule.type, facts, parent=room.seq)

    # -- decisions

    def set(self, command: ScheduleSet, caller: Caller) -> dict[str, Any]:
        room, job = self._room, command.job
        room.tasks.check_lease(command.lease, caller)
        check_terms(job)
        room.allow(*verb_on(job.kind, job.type))
        former = self._by_name.get(command.schedule)
        after = room.env.wall if former is None else max(room.env.wall, former.fired)
        following = room.env.calendar.after(command.cron, command.tz, after)
        if former is None and len(self._by_name) >= (bound := room.limits.schedules):
            raise Refusal("overloaded", f"the room has {bound} schedules already", detail={"max": bound})
        if former is not None:
            self._allow_of(former)
        terms = {**terms_of(job), "digest": digest_of(job)}
        if job.ct is not None:
            terms["payload_ct"] = job.ct
        if job.timeout is not None:
            terms["timeout"] = job.timeout
        data = {"schedule": command.schedule, "cron": command.cron, "tz": command.tz, "overlap": command.overlap, "terms": terms}
        if former is None or pack((job.type, data)) != pack((former.type, former.data)):
            paused = former is not None and former.paused
            room.emit("schedule.set", job.type, {**data, "next": None if paused else following}, job.body, job.ct)
        return {**self._by_name[command.schedule].info(), "created": former is None}

    def get(self, command: ScheduleGet, caller: Caller) -> dict[str, Any]:
        return self._find(command.schedule).info()

    def list_schedules(self, command: ScheduleList, caller: Caller) -> dict[str, Any]:
        return {"schedules": [schedule.info() for schedule in self.all() if self._allows(schedule)]}

    def pause(self, command: SchedulePause, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        schedule = self._find(command.schedule)
        if not schedule.paused:
            self._room.emit("schedule.paused", schedule.type, {"schedule": schedule.name})
        return schedule.info()

    def resume(self, command: ScheduleResume, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        schedule = self._find(command.schedule)
        if schedule.paused:
            env = self._room.env
            following = env.calendar.after(schedule.data["cron"], schedule.data["tz"], max(env.wall, schedule.fired))
            self._room.emit("schedule.resumed", schedule.type, {"schedule": schedule.name, "next": following})
        return schedule.info()

    def delete(self, command: ScheduleDelete, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        schedule = self._find(command.schedule)
        self._room.emit("schedule.deleted", schedule.type, {"schedule": schedule.name})
        return {}

    def _find(self, name: str) -> Schedule:
        schedule = self._by_name.get(name)
        if schedule is None:
            raise Refusal("schedule_not_found", f"no schedule {name[:64]!r} in this room")
        self._allow_of(schedule)
        return schedule

    def _allow_of(self, schedule: Schedule) -> None:
        self._room.allow(*verb_on(schedule.data["terms"]["kind"], schedule.type))

    def _allows(self, schedule: Schedule) -> bool:
        room = self._room
        verb, resource = verb_on(schedule.data["terms"]["kind"], schedule.type)
        return room.caller.grants.allows(verb, room.name, resource)
