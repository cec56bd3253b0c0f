"""`demo`: the briefing example, from a clone or from the wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from .output import WRONG_USE, Output
from .session import run


def demo(
    question: Annotated[str | None, typer.Option("--question", help="What the briefing must answer.", show_default=False)] = None,
    docs: Annotated[
        Path | None, typer.Option("--docs", help="A folder of Markdown or text files; else Python's reference.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the briefing goes.")] = Path("build/briefing.md"),
    model: Annotated[
        str | None, typer.Option("--model", help="provider:name, for LangChain; else the agents go by rule.", show_default=False)
    ] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="kill -9 of a worker, the orchestrator and the broker on the way.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer the gate, from a second process.")] = False,
    pace: Annotated[
        float | None, typer.Option("--pace", min=0.0, help="Seconds an agent takes over a passage.", show_default=False)
    ] = None,
    path: Annotated[Path | None, typer.Option("--path", help="Keep the broker's data here.", show_default=False)] = None,
) -> None:
    """A team of agents on three worker processes writes a sourced briefing; a person lets it be published."""
    out_ = Output()
    if importlib.util.find_spec("bm25s") is None:
        out_.fail("the demo ranks passages with bm25s: pip install 'langgraph-nolag[demo]'")
    if question is not None and not question.strip():
        out_.fail("--question is empty; ask something, or leave it out", WRONG_USE)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        out_.fail(f"the briefing can't go to {out}: {error}", WRONG_USE)
    if out.is_dir():
        out_.fail(f"--out {out} is a folder; name a file in it", WRONG_USE)

    async def command(output: Output) -> int:
        from nolag_briefing.corpus import CorpusError
        from nolag_briefing.models import ModelError
        from nolag_briefing.processes import Died
        from nolag_briefing.settings import PACE, QUESTION, Settings
        from nolag_briefing.supervisor import Options
        from nolag_briefing.supervisor import run as run_demo

        settings = Settings(str(docs.absolute()) if docs else "", model or "", PACE if pace is None else pace)
        options = Options(question or QUESTION, out, settings, chaos, yes, path)
        try:
            return await run_demo(options)
        except (CorpusError, ModelError) as error:
            output.fail(str(error), WRONG_USE)
        except Died as error:
            output.fail(str(error))

    run(False, command)
