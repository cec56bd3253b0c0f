"""`ping` and `rooms`: is the broker there, and what does it hold."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from .output import Output, table
from .session import Access, AsJson, DataPath, Session, Token, Url, with_broker


def ping(url: Url = None, token: Token = None, path: DataPath = None, as_json: AsJson = False) -> None:
    """Ask the broker whether it is there; exit 0 when it answers."""

    async def command(session: Session) -> None:
        began = time.perf_counter()
        answer = await session.ask("ping")
        took = time.perf_counter() - began
        value = {"url": session.url, "server": answer.get("server"), "time": answer["time"], "seconds": round(took, 6)}
        session.out.say(value, f"{session.url} answers in {took * 1000:.1f} ms ({answer.get('server', 'unknown version')})")

    with_broker(Access(url, token, path), as_json, command)


def rooms(
    name: Annotated[str | None, typer.Argument(help="Show this room instead of the list.", show_default=False)] = None,
    create: Annotated[bool, typer.Option("--create", help="Open the room first, where there is none (needs an admin token).")] = False,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """List the rooms that the token covers, or show one."""

    async def command(session: Session) -> None:
        if name is None:
            _show_list(session.out, (await session.ask("rooms.list"))["rooms"])
            return
        if create:
            await session.ask("room.create", name=name)
        await session.rooms(name)
        info = await session.ask("room.info", name)
        members = (await session.ask("presence.list", name))["members"]
        _show_one(session.out, info, members)

    if create and name is None:
        raise typer.BadParameter("--create needs the NAME of the room")
    with_broker(Access(url, token, path), as_json, command)


def _show_list(out: Output, found: list[dict[str, Any]]) -> None:
    found = sorted(found, key=lambda room: str(room["name"]))
    rows = [(room["name"], str(room["seq"])) for room in found]
    out.show({"rooms": found}, lambda screen: table(screen, ("ROOM", "EVENTS"), rows, "no rooms yet"))


def _show_one(out: Output, info: dict[str, Any], members: list[dict[str, Any]]) -> None:
    tasks = ", ".join(f"{count} {state}" for state, count in sorted(info["tasks"].items()) if count) or "none"
    rows = [
        (m["actor"], "yes" if m["online"] else "no", ", ".join(m["capabilities"]), f"{m['load']}/{m['max_concurrency']}") for m in members
    ]

    def render(screen: Any) -> None:
        screen.print(f"room       {info['name']}", markup=False)
        screen.print(f"events     {info['seq']}")
        screen.print(f"tasks      {tasks}")
        screen.print(f"approvals  {info['approvals']}\n")
        table(screen, ("AGENT", "ONLINE", "CAPABILITIES", "LOAD"), rows, "nobody is here")

    out.show({**info, "members": members}, render)
