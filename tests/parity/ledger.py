"""What bodies did, in order, whatever process they ran in: a file for each thread."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = os.environ.setdefault("PARITY_LEDGER", tempfile.mkdtemp(prefix="parity-"))
"""Workers inherit it."""
PATIENCE = 20.0  # seconds


class Ledger:
    def __init__(self, thread: str) -> None:
        self._path = Path(FOLDER, thread)

    def __call__(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(line + "\n")

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    async def until(self, line: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.lines.count(line) < times:
                await asyncio.sleep(0.01)

    def wait(self, line: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while line not in self.lines:
            if time.monotonic() > deadline:
                raise TimeoutError(line)
            time.sleep(0.01)


def noted(config: Mapping[str, Any]) -> Ledger:
    """That of the thread, or where a case has none, of what stands for it."""
    return Ledger(config["configurable"]["ledger"])
