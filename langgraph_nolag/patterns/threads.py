"""How a thread is named among a room's tasks: its runs share a concurrency key, so that one of them runs at a time."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from ..client.body import encode

RUN: Final = "run"  # the kind of their tasks
FORMAT: Final = 1  # of their bodies
PLAIN: Final = "plain"  # the form of a body whose values are plain: of whoever has no graph
CONFIG: Final = ("tags", "metadata", "recursion_limit", "max_concurrency", "run_name")  # what of a configuration goes over
HAND_OUTS: Final = 20  # orchestrators that a run may lose until it is given up
PREFIX: Final = "thread/"
LONGEST: Final = 200  # characters of a thread's id that are shown as they are
NEEDLESS: Final = "wake"
"""The group of runs that only look whether a thread can go on: whoever runs the thread meanwhile looks by itself."""


def thread_key(thread: str) -> str:
    """The concurrency key of a thread's runs. Ids that are long, or hold what names in a room may not, are hashed."""
    if thread and len(thread) <= LONGEST and thread.isprintable() and "*" not in thread and not thread.startswith("~"):
        return PREFIX + thread
    return f"{PREFIX}~{hashlib.sha256(thread.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def look(graph: str, thread: str, cause: str) -> dict[str, Any]:
    """`task.dispatch` fields of a run that goes on with a thread, if there is something to go on with.

    Args:
        graph: `name@fingerprint`.
        cause: for what there is to be one such run, and not another.
    """
    return {
        "task": look_id(cause),
        "kind": RUN,
        "type": graph,
        "body": encode({"v": FORMAT, "graph": graph, "thread": thread, "form": PLAIN, "look": True}),
        "concurrency_key": thread_key(thread),
        "max_attempts": HAND_OUTS,
        "group": NEEDLESS,
    }


def look_id(cause: str) -> str:
    """The task of the one `look` for this cause."""
    return f"look-{hashlib.sha256(cause.encode()).hexdigest()[:32]}"


def thread_of(key: str | None) -> str | None:
    """The thread, where its key shows it."""
    if key is None or not key.startswith(PREFIX) or key.startswith(PREFIX + "~"):
        return None
    return key.removeprefix(PREFIX)
