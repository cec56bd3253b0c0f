"""`tasks`: what runs, what waits, and what failed for good."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from ..client.pages import TASKS, listed
from ..errors import BadRequest, TaskNotFound
from .output import ago, table
from .session import Access, AsJson, DataPath, Room, Session, Token, Url, with_broker

app = typer.Typer(name="tasks", help="See tasks; retry, cancel or purge them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The task; its first characters do, when no other begins so.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many of each room.")]
_LIVE = ["waiting", "delayed", "parked", "running"]
_ENDED = ["completed", "failed", "cancelled", "timed_out"]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="The finished ones too.")] = False,
    limit: Limit = 100,
    room: Room = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """List what waits and what runs."""
    _list(Access(url, token, path), as_json, room, _LIVE + _ENDED if everything else _LIVE, limit, "no task waits or runs")


@app.command("dead")
def dead(
    limit: Limit = 100, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False
) -> None:
    """List dead letters: tasks that failed on their last attempt, with their errors."""
    _list(Access(url, token, path), as_json, room, ["failed"], limit, "no dead letters")


@app.command("retry")
def retry(id: Id, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Put a dead letter back in the queue, with a fresh count of attempts."""
    _change(Access(url, token, path), as_json, room, id, ["failed"], "task.retry")


@app.command("purge")
def purge(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this dead letter; its first characters do.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    room: Room = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters for good."""

    async def command(session: Session) -> None:
        if (id is None) is not everything:
            raise BadRequest("name a dead letter, or say --all")
        purged = 0
        if id is not None:
            task = await _find(session, room, id, ["failed"])
            purged = (await session.ask("task.purge", task["room"], tasks=[task["task"]]))["purged"]
        else:
            for name in await session.rooms(room):
                purged += (await session.ask("task.purge", name))["purged"]
        session.out.say({"purged": purged}, f"{purged} dead letter{'' if purged == 1 else 's'} purged")

    with_broker(Access(url, token, path), as_json, command)


@app.command("cancel")
def cancel(id: Id, room: Room = None, url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Cancel a task; its worker is told."""
    _change(Access(url, token, path), as_json, room, id, _LIVE, "task.cancel")


def _list(access: Access, as_json: bool, room: str | None, states: list[str], limit: int, empty: str) -> None:
    async def command(session: Session) -> None:
        found = await _all(session, room, states, limit)
        columns = ("ID", "ROOM", "KIND", "TYPE", "STATE", "ATTEMPT", "WORKER", "DISPATCHED", "LAST ERROR")
        rows = [_row(task) for task in found]
        session.out.show({"tasks": found}, lambda screen: table(screen, columns, rows, empty))

    with_broker(access, as_json, command)


def _change(access: Access, as_json: bool, room: str | None, id: str, states: list[str], op: str) -> None:
    async def command(session: Session) -> None:
        task = await _find(session, room, id, states)
        answer = await session.ask(op, task["room"], task=task["task"])
        value = {"task": task["task"], "room": task["room"], "state": answer["state"]}
        session.out.say(value, f"{task['type']} ({task['task']}) is now {answer['state']}")

    with_broker(access, as_json, command)


async def _all(session: Session, room: str | None, states: list[str], limit: int | None) -> list[dict[str, Any]]:
    found = []
    for name in await session.rooms(room):
        infos = await listed(partial(session.ask, "task.list", name, states=states), "tasks", TASKS, limit)
        found += [{**task, "room": name} for task in infos]
    return sorted(found, key=lambda task: float(task["created"]))


async def _find(session: Session, room: str | None, id: str, states: list[str]) -> dict[str, Any]:
    found = await _all(session, room, states, None)
    matching = [task for task in found if task["task"] == id] or [task for task in found if str(task["task"]).startswith(id)]
    if not matching:
        raise TaskNotFound(f"no task that is {' or '.join(states)} begins with {id!r}; `langgraph-nolag tasks list --all` shows them")
    if len(matching) > 1:
        raise BadRequest(f"{len(matching)} tasks begin with {id!r}; give more of the id")
    return matching[0]


def _state(task: dict[str, Any]) -> str:
    """With the key that a parked task waits for."""
    by = task.get("parked_by")
    return f"{task['state']} ({by.removesuffix('_key')} {task[by]})" if by is not None else str(task["state"])


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    errors = task.get("errors") or []
    error = errors[-1]["error"] if errors else None
    last = f"{error['type']}: {error['message']}" if error else ""
    holder = task.get("holder")
    worker = holder["actor"] if isinstance(holder, dict) else (holder or "")
    return (
        task["task"],
        task["room"],
        task["kind"],
        task["type"],
        _state(task),
        str(task["attempt"]),
        worker,
        ago(task["created"]),
        " ".join(last.split())[:80],
    )
