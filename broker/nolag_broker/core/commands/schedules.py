"""What can be asked about schedules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from .command import Command
from .fields import Body, Lease, Name, choice, read_cron
from .tasks import TaskDispatch, read_terms


@dataclass(slots=True)
class ScheduleSet(Command):
    op = "schedule.set"
    schedule: Name
    cron: Annotated[str, read_cron]
    type: Name
    body: Body
    ct: Name | None = None
    terms: Annotated[TaskDispatch, read_terms] | None = None
    tz: Name = "UTC"
    overlap: Annotated[str, choice("allow", "skip")] = "allow"
    lease: Lease | None = None

    @property
    def job(self) -> TaskDispatch:
        """As a task of it is dispatched."""
        if self.terms is None:
            return TaskDispatch("", self.type, self.body, ct=self.ct)
        return replace(self.terms, type=self.type, body=self.body, ct=self.ct)


@dataclass(slots=True)
class ScheduleGet(Command):
    op = "schedule.get"
    schedule: Name


@dataclass(slots=True)
class ScheduleList(Command):
    op = "schedule.list"


@dataclass(slots=True)
class SchedulePause(Command):
    op = "schedule.pause"
    schedule: Name
    lease: Lease | None = None


@dataclass(slots=True)
class ScheduleResume(Command):
    op = "schedule.resume"
    schedule: Name
    lease: Lease | None = None


@dataclass(slots=True)
class ScheduleDelete(Command):
    op = "schedule.delete"
    once = True
    schedule: Name
    lease: Lease | None = None
