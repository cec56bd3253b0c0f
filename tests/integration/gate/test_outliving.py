"""A gate outlives every process: asked on Friday, answered when nothing runs but a broker that was started anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@contextmanager
def started(path: Path, *command: str, until: str) -> Iterator[str]:
    """A process, killed with -9 at the end of the block. Gives the line that says it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "langgraph_nolag", *command],
        env=environment(path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    out, is_ready = process.stdout, threading.Event()
    seen: list[str] = []
    assert out is not None

    def read() -> None:
        for line in out:
            seen.append(line.strip())
            if until in line:
                is_ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert is_ready.wait(30), f"{command} is not ready: {seen}"
        yield next(line for line in seen if until in line)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        reader.join(10)
        out.close()


def environment(path: Path) -> dict[str, str]:
    return {**os.environ, "NOLAG_PATH": str(path), "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}


def run(path: Path, *command: str) -> Any:
    done = subprocess.run([sys.executable, *command], env=environment(path), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_answered_while_nobody_runs(tmp_path: Path, answer: str) -> None:
    path, book = tmp_path / "broker", tmp_path / "book"
    main = str(HERE / "gate_main.py")
    with started(path, "broker", "--path", str(path), "--port", "0", until="listening on") as line:
        url = line.rpartition(" ")[2]
        with started(path, "worker", "gate_graphs:app", "--url", url, until="worker ready"):
            begun = run(path, main, url, "begin", str(book))
        (approval,) = begun["waiting"]
    # the orchestrator has ended, the worker and the broker were killed
    with started(path, "broker", "--path", str(path), "--port", url.rpartition(":")[2], until="listening on"):
        (listed,) = run(path, "-m", "langgraph_nolag", "approvals", "list", "--json", "--path", str(path))["approvals"]
        assert (listed["approval"], listed["args"]) == (approval, {"amount": 100})
        run(path, "-m", "langgraph_nolag", "approvals", answer, approval, "--json", "--path", str(path))
    with (
        started(path, "broker", "--path", str(path), "--port", url.rpartition(":")[2], until="listening on"),
        started(path, "worker", "gate_graphs:app", "--url", url, until="worker ready"),
    ):
        ended = run(path, main, url, "go_on", str(book))
    assert ended["waiting"] == []
    assert [ended["log"][0], ended["log"][1][0]] == ["prepared", answer == "approve"]
    assert book.read_text().splitlines()[0] == "prepared"
    assert len(book.read_text().splitlines()) == 2, "each node entered its line once"
