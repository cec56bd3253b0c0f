"""`worker`: serve the nodes, tools and task handlers of a `Worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from .session import DataPath, Token, Url


def worker(
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the Worker is, for example my_pkg.worker:app.", show_default=False)
    ],
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Tasks at a time.", show_default=False)] = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
) -> None:
    """Run a worker until it is interrupted. The current directory is on the module path."""
