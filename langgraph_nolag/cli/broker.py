"""`broker`: run the bundled broker in this process."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .output import WRONG_USE, Output

DEFAULT_PORT = 7420


class Engine(StrEnum):
    sqlite = "sqlite"
    memory = "memory"


def broker(
    path: Annotated[
        Path | None,
        typer.Option("--path", help="Where data and credentials.json are kept. Else NOLAG_PATH, else .nolag.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    engine: Annotated[Engine, typer.Option("--engine", help="memory keeps nothing.")] = Engine.sqlite,
    lease: Annotated[
        float | None,
        typer.Option(
            "--lease", help="Seconds that the tasks of a silent worker stay its own; 30 where it is not given.", show_default=False
        ),
    ] = None,
    open_rooms: Annotated[
        bool | None,
        typer.Option(
            "--open-rooms/--no-open-rooms", help="Whether anyone may open a room; by default on loopback only.", show_default=False
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow an address beyond loopback, without TLS.")] = False,
) -> None:
    """Run a broker until it is interrupted. The first line printed is `listening on ws://HOST:PORT`."""
    chosen: dict[str, Any] = {"host": host, "port": port, "engine": engine.value, "insecure": insecure, "open_rooms": open_rooms}
    chosen["path"] = path or Path(os.environ.get("NOLAG_PATH") or ".nolag")
    if lease is not None:
        chosen["lease"] = lease
    status = _serve(chosen)
    if status:
        raise typer.Exit(status)


def _serve(chosen: dict[str, Any]) -> int:
    from pydantic import ValidationError

    from nolag_broker.server.process import run
    from nolag_broker.settings import Settings

    try:
        settings = Settings(**chosen)
    except ValidationError as error:
        first = error.errors()[0]
        Output().fail(f"--{'-'.join(map(str, first['loc']))}: {first['msg']}", WRONG_USE)
    return run(settings)
