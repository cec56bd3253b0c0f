"""`events`: the log of a room, and what is added to it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import typer

from ..errors import BadRequest
from .output import Output, clock, plain
from .session import Access, AsJson, DataPath, Session, Token, Url, with_broker

_PAGE = 500
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BUFFER = 4 << 20  # bytes of events that may wait to be printed


def events(
    room: Annotated[
        str | None, typer.Option("--room", help="The room; may be left out when there is only one.", show_default=False)
    ] = None,
    types: Annotated[str, typer.Option("--types", help="Only these types, a pattern with * and **.")] = "**",
    since: Annotated[
        str, typer.Option("--since", help="Begin after this sequence, at a moment (2026-11-21T10:00), or so long ago (30s, 10m, 2h, 7d).")
    ] = "0",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    bodies: Annotated[bool, typer.Option("--bodies", help="With what the events carry.")] = False,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the events of a room, one a line."""
    begin = _begin(since)

    async def command(session: Session) -> None:
        name = await _one_room(session, room)
        source = _stored_and_coming if follow else _stored
        async for event in source(session, name, types, begin, bodies):
            _print(session.out, event)

    with_broker(Access(url, token, path), as_json, command)


async def _one_room(session: Session, named: str | None) -> str:
    found = await session.rooms(named)
    if len(found) != 1:
        raise BadRequest(f"name a room with --room; there are: {', '.join(found[:10]) or 'none yet'}")
    return found[0]


def _begin(since: str) -> dict[str, Any]:
    """Where to begin, as the fields of a request say it."""
    if since.isdecimal():
        return {"since": int(since)}
    if (ago := _AGO.fullmatch(since)) is not None:
        return {"since_time": time.time() - float(ago[1]) * _SECONDS[ago[2]]}
    try:
        return {"since_time": datetime.fromisoformat(since).timestamp()}  # without a zone: the time that the clock here shows
    except ValueError:
        message = f"{since!r} is no sequence, no moment like 2026-11-21T10:00, and no span like 10m"
        raise typer.BadParameter(message, param_hint="--since") from None


async def _stored(session: Session, room: str, types: str, begin: dict[str, Any], bodies: bool) -> AsyncIterator[dict[str, Any]]:
    where = {"after": begin["since"]} if "since" in begin else begin
    while True:
        page = await session.ask("log.read", room, **where, limit=_PAGE, types=types, bodies=bodies)
        if (gap := page.get("gap")) is not None:
            yield {"type": "gap", "seq": gap["to"], **gap}
        for event in page["events"]:
            yield event
        where = {"after": page["through"]}
        if page["end"]:
            return


async def _stored_and_coming(session: Session, room: str, types: str, begin: dict[str, Any], bodies: bool) -> AsyncIterator[dict[str, Any]]:
    from ..client.feed import Feed
    from ..client.subscription import Gap

    def on_gap(gap: Gap) -> None:
        feed.put({"type": "gap", "seq": gap.to_seq, "from": gap.from_seq, "to": gap.to_seq, "epoch": gap.epoch}, 64)

    def on_events(found: list[dict[str, Any]], through: int) -> None:
        for event in found:
            feed.put(event, 256 + len(event.get("body", b"")))

    # a terminal that is held up must not pile up the log here: the subscription waits, and goes on from where it was
    feed: Feed[dict[str, Any]] = Feed(_BUFFER, on_full=lambda: subscription.pause(), on_room=lambda: subscription.resume())
    subscription = session.link(room).subscribe(types, **begin, bodies=bodies, on_events=on_events, on_gap=on_gap, on_failed=feed.end)
    try:
        while True:
            yield await feed.get()
    finally:
        subscription.close()


def _print(out: Output, event: dict[str, Any]) -> None:
    from ..client.body import read
    from ..client.large import refers, size_of

    if event["type"] == "gap":
        out.say(event, f"gap: events {event['from']} to {event['to']} can't be had any more")
        return
    value = {key: item for key, item in event.items() if key not in ("body", "ct")}
    carried = ""
    if refers(event):  # not fetched: a look at the log is not to move what may be gigabytes
        value["large"] = size_of(event)
        carried = f" ({size_of(event) / 2**20:.1f} MiB)"
    elif "body" in event:
        value["body"] = read(event["body"], event.get("ct"))
        carried = " " + _short(value["body"])
    facts = "" if not event["data"] else " " + _short(event["data"])
    subject = f" {event['subject']}" if event.get("subject") else ""
    out.say(value, f"{event['seq']:>6} {clock(event['time'])} {event['type']:<20}{subject} by {event['sender']}{facts}{carried}")


def _short(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
