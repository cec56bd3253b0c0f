"""`backup DIRECTORY`: copy what a broker keeps while it goes on. Restoring is starting a broker on the copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .session import Access, AsJson, DataPath, Session, Token, Url, with_broker

WITHIN = 6 * 3600.0  # seconds


def backup(
    directory: Annotated[
        Path, typer.Argument(help="Where the copy goes, on the broker's machine; nothing may be there yet.", show_default=False)
    ],
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
    as_json: AsJson = False,
) -> None:
    """Copy what the broker keeps into a new DIRECTORY while it goes on. To restore: langgraph-nolag broker --path DIRECTORY."""

    async def command(session: Session) -> None:
        made = await session.ask("broker.backup", within=WITHIN, folder=str(directory.absolute()))
        session.out.say(made, f"{made['events']:,} events, {made['bytes']:,} bytes, in {made['seconds']:.1f} s: {made['folder']}")

    with_broker(Access(url, token, path), as_json, command)
