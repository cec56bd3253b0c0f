"""The command `langgraph-nolag`. Each command is a small module; what it needs is imported when it runs."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from .. import __version__
from . import agents, approvals, backup, broker, demo, events, rooms, runs, schedules, tasks, tokens

app = typer.Typer(
    name="langgraph-nolag",
    help="The coordination layer for multi-agent systems written with LangGraph.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)] = False,
) -> None: ...


app.command("broker")(broker.broker)
app.command("worker")(agents.worker)
app.add_typer(approvals.app, name="approvals")
app.add_typer(tasks.app, name="tasks")
app.add_typer(runs.app, name="runs")
app.add_typer(schedules.app, name="schedules")
app.command("rooms")(rooms.rooms)
app.command("events")(events.events)
app.command("token", context_settings={"allow_interspersed_args": True})(tokens.token)
app.command("backup")(backup.backup)
app.command("ping")(rooms.ping)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line. Exit codes: 0 yes, 1 no, 2 wrong use. A defect of ours is one line too; `NOLAG_DEBUG=1` shows all of it."""
    # what the SDK logs, it also raises; said once is enough
    logging.getLogger("langgraph_nolag").addHandler(logging.NullHandler())
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output is gone, `| head` for example
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if os.environ.get("NOLAG_DEBUG"):
            raise
        print(f"langgraph-nolag: {type(error).__name__}: {error} (a defect; NOLAG_DEBUG=1 shows where)", file=sys.stderr)
        raise SystemExit(1) from None
