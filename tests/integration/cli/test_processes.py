"""`broker` and `worker`, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from langgraph_nolag import Room, TaskTimeout

from .conftest import Cli

COMMAND = [sys.executable, "-m", "langgraph_nolag"]
PATIENCE = 30.0


@contextmanager
def running(*arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the first line it printed."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=PATIENCE, check=False
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_broker_says_where_it_listens_and_is_found_by_the_others(tmp_path: Path) -> None:
    with running("broker", "--path", str(tmp_path), "--port", "0") as (process, line):
        assert line.startswith("listening on ws://127.0.0.1:")
        file = tmp_path / "credentials.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert json.loads(file.read_text())["url"] == line.removeprefix("listening on ")
        assert run("ping", NOLAG_PATH=str(tmp_path)).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("broker", "--path", str(tmp_path), "--port", str(port))
    assert done.returncode == 1
    assert str(port) in one_line(done)


def test_a_directory_in_use_is_one_line(tmp_path: Path) -> None:
    with running("broker", "--path", str(tmp_path), "--port", "0"):
        done = run("broker", "--path", str(tmp_path), "--port", "0")
        assert done.returncode == 1
        assert one_line(done)


def test_a_bind_beyond_this_machine_must_be_asked_for(tmp_path: Path) -> None:
    done = run("broker", "--path", str(tmp_path), "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "--insecure" in one_line(done)


@pytest.mark.parametrize("arguments", [("--port", "70000"), ("--lease", "0"), ("--engine", "stone")])
def test_wrong_settings_are_wrong_use(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run("broker", "--path", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


GOOD = """
from langgraph_nolag import Worker

app = Worker(room="yard")


@app.tool
def double(n: int) -> int:
    "Twice a number."
    return 2 * n


number = 7
"""


DRAINING = """
import asyncio
import multiprocessing
import time
from pathlib import Path

from langgraph_nolag import Worker
from langgraph_nolag.graph import worker

worker.ENDS_WITHIN = 1.0
app = Worker(room="harbour", drain_timeout=float(Path("drain").read_text()))


@app.task("waits")
async def waits(task):
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return "done"


@app.task("other")
async def other(task):
    return "done"


@app.task("stuck")
def stuck(task):
    time.sleep(600)


@app.task("ignores")
async def ignores(task):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass


@app.task("blocks")
async def blocks(task):
    Path("blocks").touch()
    time.sleep(600)


def stay(begun):
    begun.set()
    time.sleep(600)


@app.task("forks")
def forks(task):
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()
    child = fork.Process(target=stay, args=(begun,))
    child.start()
    begun.wait()
    child.terminate()
    child.join(10)
    return child.exitcode


@app.task("threads")
async def threads(task):
    await asyncio.to_thread(time.sleep, 600)
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "good_worker.py").write_text(textwrap.dedent(GOOD))
    (tmp_path / "broken_worker.py").write_text("def app(:\n")
    (tmp_path / "raising_worker.py").write_text("x = 1\nraise RuntimeError('no luck today')\n")
    (tmp_path / "leaving_worker.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "needy_worker.py").write_text("import a_package_that_is_not_there\n")
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_a_worker_serves_until_it_is_told_to_stop(cli: Cli, module: Path) -> None:
    command = ("worker", "good_worker:app", "--path", str(cli.path), "--concurrency", "2")
    with running(*command, cwd=module, NOLAG_URL="ws://another.broker:1", NOLAG_TOKEN="of-another") as (process, line):
        assert line, process.stderr and process.stderr.read()

        async def work(room: object) -> int:
            return int(await room.tools.invoke("double", {"n": 21}))  # type: ignore[attr-defined]

        assert cli.agent(work, "yard") == 42
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_worker_that_is_told_to_stop_claims_nothing_and_finishes_what_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "draining_worker.py").write_text(DRAINING)
    (tmp_path / "drain").write_text("60")
    with running("worker", "draining_worker:app", "--path", str(cli.path), cwd=tmp_path) as (process, _):

        async def work(room: Room) -> tuple[str, int]:
            task = await room.handoff.dispatch("waits")
            await state(room, task.id, "running")
            process.send_signal(signal.SIGTERM)
            served = 0
            while True:
                probe = await room.handoff.dispatch("other")
                try:
                    await probe.result(timeout=1)
                except TaskTimeout:
                    break
                served += 1
            assert (await room.handoff.get(probe.id)).state == "waiting"
            await probe.cancel()
            assert process.poll() is None
            (tmp_path / "go").touch()
            return await task.result(timeout=10), served

        result, served = cli.agent(work, "harbour")
        assert (result, process.wait(PATIENCE)) == ("done", 0)
        assert served < 100


def test_a_worker_hands_back_what_does_not_end(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "draining_worker.py").write_text(DRAINING)
    (tmp_path / "drain").write_text("0.2")
    with running("worker", "draining_worker:app", "--path", str(cli.path), cwd=tmp_path) as (process, _):

        async def work(room: Room) -> None:
            tasks = [await room.handoff.dispatch(type) for type in ("stuck", "waits", "ignores")]
            for task in tasks:
                await state(room, task.id, "running")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0
            for task in tasks:
                await state(room, task.id, "waiting")
                assert (await room.handoff.get(task.id)).errors == ()
                await task.cancel()

        cli.agent(work, "harbour")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_a_worker_whose_loop_is_blocked_ends_all_the_same(cli: Cli, tmp_path: Path, signals: list[signal.Signals]) -> None:
    (tmp_path / "draining_worker.py").write_text(DRAINING)
    (tmp_path / "drain").write_text("0.2" if len(signals) == 1 else "60")
    with running("worker", "draining_worker:app", "--path", str(cli.path), cwd=tmp_path) as (process, _):

        async def work(room: Room) -> None:
            task = await room.handoff.dispatch("blocks", max_attempts=2)
            while not (tmp_path / "blocks").exists():
                await asyncio.sleep(0.01)
            for number in signals:
                process.send_signal(number)
                await asyncio.sleep(0.1)
            assert await asyncio.to_thread(process.wait, PATIENCE) == (1 if len(signals) == 1 else 128 + signal.SIGTERM)
            await state(room, task.id, "waiting")  # another worker may have it
            await task.cancel()

        cli.agent(work, "harbour")
        if len(signals) == 1:
            assert process.stderr is not None
            said = process.stderr.read()
            assert "did not stop within 1.2 s" in said
            assert "'blocks', attempt=1" in said
            assert "in blocks" in said


def test_the_signals_of_a_process_that_a_handler_forked_are_its_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "draining_worker.py").write_text(DRAINING)
    (tmp_path / "drain").write_text("60")
    with running("worker", "draining_worker:app", "--path", str(cli.path), cwd=tmp_path):

        async def work(room: Room) -> None:
            for _ in range(2):  # the worker goes on
                task = await room.handoff.dispatch("forks", max_attempts=1)
                assert await task.result(timeout=PATIENCE) == -signal.SIGTERM

        cli.agent(work, "harbour")


def test_a_worker_does_not_wait_for_threads_that_its_handlers_left_behind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "draining_worker.py").write_text(DRAINING)
    (tmp_path / "drain").write_text("0.2")
    with running("worker", "draining_worker:app", "--path", str(cli.path), cwd=tmp_path) as (process, _):

        async def work(room: Room) -> None:
            task = await room.handoff.dispatch("threads")
            await state(room, task.id, "running")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 1
            await state(room, task.id, "waiting")
            await task.cancel()

        cli.agent(work, "harbour")


async def state(room: Room, task: str, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await room.handoff.get(task)).state != wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:app", "no module 'no_such_module'"),
        ("good_worker:nobody", "its workers: app"),
        ("good_worker:number", "is a int, not a Worker"),
        ("good_worker.py:app", "module:app"),
        ("./good_worker", "module:app"),
        ("broken_worker:app", "SyntaxError"),
        ("raising_worker:app", "no luck today"),
        ("leaving_worker:app", "SystemExit"),
        ("needy_worker:app", "a_package_that_is_not_there"),
    ],
)
def test_a_worker_that_is_not_there_is_one_line(target: str, words: str, module: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    answer = cli("worker", target)
    assert answer.status == 2
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_worker_that_is_not_there_ends_its_process(module: Path) -> None:
    done = run("worker", "leaving_worker:app", cwd=module)
    assert done.returncode == 2
    assert "SystemExit" in one_line(done)


def test_a_worker_without_a_broker_is_one_line(module: Path) -> None:
    done = run("worker", "good_worker:app", "--path", str(module / "nothing"), cwd=module)
    assert done.returncode == 1
    assert "langgraph-nolag broker" in one_line(done)


def test_a_worker_whose_token_is_refused_is_one_line(cli: Cli, module: Path) -> None:
    done = run("worker", "good_worker:app", "--url", cli.broker.url, "--token", "forged", cwd=module)
    assert done.returncode == 1
    assert "token" in one_line(done)


def test_the_commands_are_listed() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("broker", "worker", "approvals", "tasks", "rooms", "events", "token", "ping", "demo"):
        assert command in done.stdout
    assert run("no-such-command").returncode == 2
