"""What a command prints: for people, or as JSON for programs; and errors as one line that says what to do."""

from __future__ import annotations

import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..errors import NoLagError

if TYPE_CHECKING:
    from rich.console import Console

NO, WRONG_USE, INTERRUPTED = 1, 2, 130
DEEPEST = 100  # levels of a value that are printed

# What could move the cursor, wipe a line or turn the order of letters round: people decide by what they see.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_VISIBLE |= {code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))}


class Output:
    """Where a command's answer goes.

    Args:
        as_json: one JSON document a call, on one line.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def show(self, value: Any, render: Callable[[Console], None]) -> None:
        """Print `value` as JSON, or call `render` with a console: coloured on a terminal, plain elsewhere."""
        if self.as_json:
            print(json.dumps(plain(value), ensure_ascii=False), flush=True)
        else:
            render(console())
            sys.stdout.flush()

    def say(self, value: Any, text: str) -> None:
        """The same for one line of text."""
        self.show(value, lambda screen: screen.print(text, markup=False, highlight=False, soft_wrap=True))

    def fail(self, error: NoLagError | str, status: int = NO) -> NoReturn:
        """Print one line, or one JSON document, on stderr and end with `status`."""
        message = error if isinstance(error, str) else str(error) or error.code
        message = " ".join(message.split())
        if self.as_json:
            facts: dict[str, Any] = {"code": "wrong_use" if status == WRONG_USE else "error", "message": message}
            if isinstance(error, NoLagError):
                facts |= {"code": error.code, "retryable": error.retryable, "maybe_applied": error.maybe_applied, "detail": error.detail}
            print(json.dumps({"error": plain(facts)}, ensure_ascii=False), file=sys.stderr)
        else:
            print(f"langgraph-nolag: {visible(message)}", file=sys.stderr)
        raise typer.Exit(status)


def console() -> Console:
    from rich.console import Console

    class Safe(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(visible(each) if isinstance(each, str) else each for each in objects), **options)

    # a pipe has no width: let lines be as long as they are
    return Safe(highlight=False, width=None if sys.stdout.isatty() else 400)


def table(screen: Console, columns: Iterable[str], rows: Iterable[Iterable[str]], empty: str) -> None:
    """Aligned columns; `empty` where there are no rows. Cells are text, never markup: they come from other people."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    screen.print(grid if grid.row_count else Text(empty))


def visible(text: str) -> str:
    """The text with control characters written out: other people's words must not steer a terminal."""
    return text.translate(_VISIBLE)


def plain(value: Any, depth: int = 0) -> Any:
    """The same value in JSON's types: bytes as base64, times as ISO 8601. What is nested deeper than `DEEPEST` is left out."""
    if isinstance(value, (dict, list, tuple, set, frozenset)) and depth == DEEPEST:
        return f"(nested deeper than {DEEPEST})"
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no word for it
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def span(seconds: float) -> str:
    """A length of time for people: `42s`, `5m`, `3h`, `2d`."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def ago(when: float) -> str:
    """How long ago a wall-clock time (seconds since 1970) was."""
    return f"{span(time.time() - when)} ago"


def clock(when: float) -> str:
    """Local time of day, to the millisecond."""
    return datetime.fromtimestamp(when).strftime("%H:%M:%S.%f")[:-3]
