"""`schedules`: what the rooms dispatch by themselves, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from ..errors import BadRequest, ScheduleNotFound
from .output import table
from .session import Access, AsJson, DataPath, Room, Session, Token, Url, with_broker

app = typer.Typer(name="schedules", help="See schedules; pause, resume or delete them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]


@app.command("list")
def list_(room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """List schedules, with the moment that comes next in local time."""

    async def command(session: Session) -> None:
        found = await _all(session, room)
        columns = ("NAME", "ROOM", "TYPE", "CRON", "TIME ZONE", "NEXT", "LAST", "OWNER")
        session.out.show({"schedules": found}, lambda screen: table(screen, columns, map(_row, found), "no schedules"))

    with_broker(Access(url, token, path), as_json, command)


@app.command("pause")
def pause(name: Name, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Let no moment of a schedule come until it is resumed."""
    _change(Access(url, token, path), as_json, room, name, "pause", "is paused")


@app.command("resume")
def resume(name: Name, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Go on with the next moment; what was missed is not made up for."""
    _change(Access(url, token, path), as_json, room, name, "resume", "goes on")


@app.command("delete")
def delete(name: Name, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """End a schedule. The tasks that it brought go on."""
    _change(Access(url, token, path), as_json, room, name, "delete", "is deleted")


def _change(access: Access, as_json: bool, room: str | None, name: str, what: str, done: str) -> None:
    async def command(session: Session) -> None:
        found = [schedule for schedule in await _all(session, room) if schedule["schedule"] == name]
        if not found:
            raise ScheduleNotFound(f"no schedule {name!r}; `langgraph-nolag schedules list` shows them")
        if len(found) > 1:
            raise BadRequest(f"{len(found)} rooms have a schedule {name!r}; say which with --room")
        where = found[0]["room"]
        answer = await session.ask(f"schedule.{what}", where, schedule=name)
        session.out.say({"schedule": name, "room": where, **answer}, f"{name} {done}")

    with_broker(access, as_json, command)


async def _all(session: Session, room: str | None) -> list[dict[str, Any]]:
    found = []
    for name in await session.rooms(room):
        found += [{**schedule, "room": name} for schedule in (await session.ask("schedule.list", name))["schedules"]]
    return found


def _row(schedule: dict[str, Any]) -> tuple[str, ...]:
    following = _moment(schedule.get("next"))
    if schedule["paused"]:
        following = f"paused: {schedule['reason']}" if schedule.get("reason") else "paused"
    what = (schedule["schedule"], schedule["room"], schedule["type"], schedule["cron"], schedule["tz"])
    return (*what, following, _moment(schedule.get("fired")), schedule["owner"])


def _moment(when: float | None) -> str:
    return "" if when is None else datetime.fromtimestamp(when).strftime("%Y-%m-%d %H:%M:%S")
