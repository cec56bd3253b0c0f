"""A broker that ends itself with SIGKILL around a commit.

The file `moment` in its folder names it: a room, when (`before` the commit, or `stored`: on disk, and nobody was told), what is in it (a
type of event, `put` or `put_writes`), and the how manieth.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.graph_moments import written
from nolag_broker.engine.tables import Tables
from nolag_broker.server.process import run
from nolag_broker.settings import Settings

NOTED = Path(os.environ["CHAOS_FOLDER"]) / "commits"
PLAN = Path(os.environ["CHAOS_FOLDER"]) / "moment"
GRACE = 0.5  # seconds until what a killed process held goes to others

commit = Tables.commit
seen: Counter[tuple[str, str, str]] = Counter()


def names(turn: Any) -> list[str]:
    found = [event.type for event in turn.events]
    if keys := [key for key in turn.records if key.startswith("checkpoint/")]:
        found.append(written(keys))
    return found


def moment(room: str, when: str, what: str) -> None:
    seen[room, when, what] += 1
    with NOTED.open("a") as file:
        file.write(json.dumps([room, when, what]) + "\n")
    if PLAN.exists() and json.loads(PLAN.read_text()) == [room, when, what, seen[room, when, what]]:
        PLAN.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def commit_and_note(self: Tables, turns: Sequence[tuple[str, Any, Any]]) -> Any:
    for room, turn, _ in turns:
        for what in names(turn):
            moment(room, "before", what)
    done = commit(self, turns)
    for room, turn, _ in turns:
        for what in names(turn):
            moment(room, "stored", what)
    return done


Tables.commit = commit_and_note  # type: ignore[method-assign]
parser = argparse.ArgumentParser()
for option in ("--path", "--port", "--lease"):
    parser.add_argument(option)
sys.exit(run(Settings.model_validate({**vars(parser.parse_args()), "disconnect_grace": GRACE})))
