"""Processes of the tests of runs, and waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph_nolag import LocalBroker

HERE = Path(__file__).parent


class Process:
    """One process of the tests; its output is read all the time."""

    def __init__(self, broker: LocalBroker, actor: str, *words: str) -> None:
        env = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token(actor), "PYTHONPATH": str(HERE)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "runs_process.py"), *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.output.append(line)
                self._said.notify_all()

    def wait_for(self, start: str) -> Process:
        with self._said:
            found = self._said.wait_for(lambda: any(line.startswith(start) for line in self.output), 40)
        assert found, f"no {start!r}: {''.join(self.output)}"
        return self

    def finish(self) -> Any:
        """What it printed last."""
        self.process.wait(40)
        self._reader.join(10)
        return json.loads(self.output[-1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


Start = Callable[..., Process]


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.01)


def ran(file: Path) -> list[str]:
    """What ran, in order."""
    return file.read_text().split() if file.exists() else []


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}
