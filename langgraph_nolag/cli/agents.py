"""`worker`: serve the nodes, tools and task handlers of a `Worker`."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadRequest, NoLagError
from .output import NO, WRONG_USE, Output
from .session import DataPath, Token, Url

if TYPE_CHECKING:
    from ..graph.worker import Worker


def worker(
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the Worker is, for example my_pkg.worker:app.", show_default=False)
    ],
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Bodies at a time; 5 where it is not given.", show_default=False)
    ] = None,
    url: Url = None,
    token: Token = None,
    path: DataPath = None,
) -> None:
    """Run a worker until it is interrupted; then it finishes what runs. The current directory is on the module path."""
    out = Output()
    # in the environment, so that what the module itself opens (tools, a blackboard) finds the same broker
    if path is not None:
        os.environ.pop("NOLAG_URL", None)
        os.environ.pop("NOLAG_TOKEN", None)
    for name, value in (("NOLAG_URL", url), ("NOLAG_TOKEN", token), ("NOLAG_PATH", path)):
        if value is not None:
            os.environ[name] = str(value)
    found = _load(out, app)

    def on_ready(line: str) -> None:
        print(line, flush=True)
        # until here what goes wrong is raised, and said once; from here on it may be a matter for the log
        logging.getLogger("langgraph_nolag").addHandler(logging.StreamHandler())

    try:
        found.run(concurrency=concurrency, on_ready=on_ready)
    except NoLagError as error:
        out.fail(error, WRONG_USE if isinstance(error, BadRequest) else NO)


def _load(out: Output, where: str) -> Worker:
    """The worker of `module:app`. Ends the command with one line that says what is wrong with it."""
    from ..graph.worker import Worker

    module_name, _, attribute = where.partition(":")
    attribute = attribute or "app"
    is_file = module_name.endswith(".py") or "/" in module_name
    if is_file or not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        hint = " (write a module, not a file: my_pkg.worker:app)" if is_file else ""
        out.fail(f"{where!r} is not of the form module:app{hint}", WRONG_USE)
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            out.fail(f"there is no module {error.name!r}; the search began in {Path.cwd()}", WRONG_USE)
        if isinstance(error, NoLagError):
            out.fail(error, WRONG_USE)
        out.fail(f"importing {module_name} failed: {type(error).__name__}: {error}{_place(error)}", WRONG_USE)
    found = getattr(module, attribute, None)
    if found is None:
        there = sorted(name for name, value in vars(module).items() if isinstance(value, Worker))
        out.fail(f"{module_name} has no {attribute!r}; its workers: {', '.join(there) or 'none'}", WRONG_USE)
    if not isinstance(found, Worker):
        out.fail(f"{where} is a {type(found).__name__}, not a Worker", WRONG_USE)
    return found


def _place(error: BaseException) -> str:
    """File and line of the user's code that raised."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and file != __file__:
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place
