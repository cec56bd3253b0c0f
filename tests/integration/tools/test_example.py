"""The team of the examples says what its README promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TEAM = Path(__file__).parents[3] / "examples" / "team"


def test_the_team() -> None:
    done = subprocess.run([sys.executable, "writer.py"], cwd=TEAM, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    first, *said = done.stdout.splitlines()
    assert first.startswith("the writer is process")
    struck = [line for line in said if "struck out" in line]
    assert len(struck) == 3
    assert [line for line in said if line not in struck] == [
        "you: tea",
        "writer: Tea is really a very good drink, of course with milk. [transfer_to_editor]",
        "transfer_to_editor: Handed over to editor",
        "editor: [shorten]",
        "shorten: Tea is a good drink with milk.",
        "editor: [transfer_to_writer]",
        "transfer_to_writer: Handed over to writer",
        "writer: Final: Tea is a good drink with milk.",
    ]
