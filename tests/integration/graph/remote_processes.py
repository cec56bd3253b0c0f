"""Worker processes of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from langgraph_nolag import LocalBroker

HERE = Path(__file__).parent


class WorkerProcess:
    """One worker process; its output is read all the time, so that it can't block on it."""

    def __init__(self, broker: LocalBroker, actor: str, capabilities: tuple[str, ...] = ()) -> None:
        env = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token(actor), "PYTHONPATH": str(HERE)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "remote_worker.py"), *capabilities],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("worker ready"):
                self._ready.set()
        self._ready.set()

    def wait_ready(self) -> WorkerProcess:
        assert self._ready.wait(30), "no worker after 30 s"
        assert self.process.poll() is None, "".join(self.output)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
