"""The broker as a process: what it prints, how it stops, and that a kill loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Process = subprocess.Popen[str]


@pytest.fixture
def spawned() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def spawn(spawned: list[Process], path: Path, *options: str) -> Process:
    command = [sys.executable, "-m", "nolag_broker", "--path", str(path), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    spawned.append(process)
    return process


async def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return await asyncio.wait_for(asyncio.to_thread(stream.readline), 20)


async def address(process: Process) -> str:
    first = await line(process.stdout)
    assert first.startswith("listening on ws://127.0.0.1:"), first
    return first.split()[-1]


Join = Callable[[str], Awaitable[ClientConnection]]


@pytest.fixture
async def join(tmp_path: Path) -> AsyncIterator[Join]:
    """Connect with the admin's token that lies in the broker's folder."""
    sockets: list[ClientConnection] = []

    async def join(url: str) -> ClientConnection:
        token = json.loads((tmp_path / "credentials.json").read_text())["token"]
        socket = await connect(url + "/ws", compression=None)
        sockets.append(socket)
        await socket.send(msgpack.packb({"type": "auth", "dialect": "nolag-rooms/1", "token": token, "instance": secrets.token_hex(8)}))
        assert msgpack.unpackb(await socket.recv(decode=False))["success"]
        return socket

    yield join
    for each in sockets:
        await each.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_stops_when_told(spawned: list[Process], join: Join, tmp_path: Path, number: int) -> None:
    process = spawn(spawned, tmp_path)
    socket = await join(await address(process))
    process.send_signal(number)
    with pytest.raises(Exception, match="1012"):
        await asyncio.wait_for(socket.recv(), 10)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rooms.db", "rooms.end", "secret.key"]


@pytest.mark.parametrize("closed", ["0", "1", "2", "12", "012"])
async def test_it_runs_with_its_standard_files_closed(tmp_path: Path, closed: str) -> None:
    closing = " ".join(f"{number}>&-" for number in closed)
    command = [sys.executable, "-m", "nolag_broker", "--path", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {closing}', "sh", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20):
            while not (tmp_path / "credentials.json").exists():
                assert process.poll() is None
                await asyncio.sleep(0.02)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_is_being_loaded_ends_it_quietly(spawned: list[Process], tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "nolag_broker", "--path", str(tmp_path / "data"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    spawned.append(process)
    while "pydantic" not in await line(process.stderr):
        pass
    process.send_signal(number)
    said, errors = await asyncio.to_thread(process.communicate, timeout=10)
    assert (process.returncode, said) == (0, "")
    assert not [line for line in errors.splitlines() if not line.startswith("import time:")]


async def stalled(join: Join, url: str) -> ClientConnection:
    """A client that asks for more than its connection holds, and does not read it."""
    socket = await join(url)
    for id in range(1, 41):
        await socket.send(msgpack.packb({"id": id, "op": "event.emit", "room": "r", "type": "a.big", "body": bytes(200_000)}))
    found: list[dict] = []
    while len(found) < 40:
        found += frames(await asyncio.wait_for(socket.recv(decode=False), 10))
    await socket.send(msgpack.packb({"id": 41, "op": "log.subscribe", "room": "r", "sub": 1, "since": 0}))
    return socket


async def test_sigterm_under_load_loses_nothing_and_waits_for_nobody(spawned: list[Process], join: Join, tmp_path: Path) -> None:
    process = spawn(spawned, tmp_path)
    url = await address(process)
    reads_nothing = await stalled(join, url)
    acknowledged: set[int] = set()
    refused: set[str] = set()

    async def load(socket: ClientConnection) -> None:
        id = 0
        with pytest.raises(ConnectionClosed, match="1012"):
            while True:
                batch = [{"id": (id := id + 1), "op": "event.emit", "room": "r", "type": "a.b", "body": b"x"} for _ in range(20)]
                await socket.send(msgpack.packb(batch))
                for answer in frames(await asyncio.wait_for(socket.recv(decode=False), 20)):
                    if "ok" in answer:
                        acknowledged.add(answer["seq"])
                    else:
                        refused.add(answer["err"]["code"])

    clients = [asyncio.create_task(load(await join(url))) for _ in range(3)]
    async with asyncio.timeout(20):
        while len(acknowledged) < 500:
            await asyncio.sleep(0.01)
    process.terminate()
    await asyncio.gather(*clients)
    assert await asyncio.to_thread(process.wait, 20) == 0
    reads_nothing.transport.abort()
    assert refused <= {"unavailable"}
    socket = await join(await address(spawn(spawned, tmp_path)))
    await socket.send(msgpack.packb({"id": 1, "op": "room.info", "room": "r"}))
    (info,) = frames(await asyncio.wait_for(socket.recv(decode=False), 10))
    assert info["ok"]["seq"] >= max(acknowledged)


async def test_a_second_signal_ends_it_at_once(spawned: list[Process], join: Join, tmp_path: Path) -> None:
    process = spawn(spawned, tmp_path)
    url = await address(process)
    reads_nothing = await stalled(join, url)
    witness = await join(url)
    process.terminate()
    with pytest.raises(ConnectionClosed, match="1012"):
        await asyncio.wait_for(witness.recv(), 10)
    process.send_signal(signal.SIGINT)  # it waits for the one that does not read
    assert await asyncio.to_thread(process.wait, 20) == 128 + signal.SIGINT
    reads_nothing.transport.abort()


HANGS = """
import asyncio, sys, time
from pathlib import Path
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.server import process
from nolag_broker.settings import Settings

async def wait_for_ever(engine):
    await asyncio.sleep(3600)

async def sleep_for_ever(engine, *given):
    print("the loop stands", flush=True)
    time.sleep(3600)

setattr(SqliteEngine, sys.argv[2], {"close": wait_for_ever, "create": sleep_for_ever}[sys.argv[2]])
process.EXIT_WITHIN = 0.5
process.run(Settings(path=Path(sys.argv[1]), port=0))
"""


def spawn_one_that_hangs(spawned: list[Process], folder: Path, where: str) -> Process:
    process = subprocess.Popen([sys.executable, "-c", HANGS, str(folder), where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    spawned.append(process)
    return process


async def test_it_ends_even_if_its_storage_hangs(spawned: list[Process], tmp_path: Path) -> None:
    process = spawn_one_that_hangs(spawned, tmp_path, "close")
    await address(process)
    process.terminate()
    _, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert (process.returncode, err.splitlines()[-1]) == (1, "did not stop within 0.5 s, and is ended: the storage hangs, perhaps")


async def test_it_ends_even_if_nobody_hears_why(spawned: list[Process], tmp_path: Path) -> None:
    process = spawn_one_that_hangs(spawned, tmp_path, "close")
    await address(process)
    assert process.stderr is not None
    process.stderr.close()
    process.terminate()
    assert await asyncio.to_thread(process.wait, 20) == 1


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]])
async def test_it_ends_even_if_its_loop_waits_for_a_disk(
    spawned: list[Process], join: Join, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    process = spawn_one_that_hangs(spawned, tmp_path, "create")
    socket = await join(await address(process))
    await socket.send(msgpack.packb({"id": 1, "op": "event.emit", "room": "r", "type": "a.b"}))
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "the loop stands\n"
    for number in signals:
        process.send_signal(number)
        await asyncio.sleep(0.1)
    assert await asyncio.to_thread(process.wait, 20) == (1 if len(signals) == 1 else 128 + signal.SIGINT)
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(socket.recv(), 10)


async def test_kills_lose_nothing_that_was_acknowledged(spawned: list[Process], join: Join, tmp_path: Path) -> None:
    """A client counts in one key and emits events; the broker is killed in the middle, several times."""
    acknowledged, id, last_epoch = 0, 0, None
    for _ in range(4):
        process = spawn(spawned, tmp_path)
        socket = await join(await address(process))
        await socket.send(msgpack.packb({"id": 1_000_000, "op": "log.read", "room": "r", "limit": 1000}))
        page = msgpack.unpackb(await socket.recv(decode=False))
        sequences = [event["seq"] for event in page["ok"]["events"]]
        assert sequences == list(range(1, len(sequences) + 1))
        assert page["ok"]["through"] >= acknowledged
        assert last_epoch in (None, page["epoch"])
        last_epoch = page["epoch"]
        for _ in range(30):
            id += 1
            await socket.send(msgpack.packb({"id": id, "op": "event.emit", "room": "r", "type": "a.b", "body": b"x"}))
            acknowledged = msgpack.unpackb(await socket.recv(decode=False))["ok"]["seq"]
        for _ in range(50):  # under way when it dies
            id += 1
            await socket.send(msgpack.packb({"id": id, "op": "event.emit", "room": "r", "type": "a.b", "body": b"x"}))
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            while True:
                for answer in frames(await asyncio.wait_for(socket.recv(decode=False), 10)):
                    acknowledged = max(acknowledged, answer["ok"]["seq"])


def frames(message: bytes) -> list[dict]:
    found = msgpack.unpackb(message)
    return found if isinstance(found, list) else [found]


async def refused_start(process: Process) -> str:
    """The one line of a broker that does not start."""
    out, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1
    return err


async def test_connections_are_not_bounded_by_the_usual_limit_of_files(spawned: list[Process], tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        process = spawn(spawned, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await address(process)
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] >= min(10_000, hard)


async def test_a_folder_in_use(spawned: list[Process], tmp_path: Path) -> None:
    await address(spawn(spawned, tmp_path))
    assert "in use by another broker" in await refused_start(spawn(spawned, tmp_path))


async def test_a_database_from_the_future(spawned: list[Process], tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rooms.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "written by a newer version: its schema is 99" in await refused_start(spawn(spawned, tmp_path))


async def test_a_room_that_is_damaged_is_named_and_the_others_are_served(spawned: list[Process], join: Join, tmp_path: Path) -> None:
    process = spawn(spawned, tmp_path)
    socket = await join(await address(process))
    await socket.send(msgpack.packb({"id": 1, "op": "blackboard.set", "room": "newsroom", "key": "k", "body": b"v"}))
    await asyncio.wait_for(socket.recv(), 10)
    process.terminate()
    await asyncio.to_thread(process.communicate, timeout=20)
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as file:
        assert file.execute("UPDATE kv SET value = x'c1', sum = NULL WHERE key = 'blackboard/k'").rowcount == 1
        file.commit()
    again = spawn(spawned, tmp_path)
    socket = await join(await address(again))
    await socket.send(msgpack.packb({"id": 1, "op": "room.info", "room": "newsroom"}))
    (answer,) = frames(await asyncio.wait_for(socket.recv(decode=False), 10))
    assert answer["err"]["code"] == "internal"
    assert answer["err"]["message"].startswith("the room 'newsroom' can't go on")
    await socket.send(msgpack.packb({"id": 2, "op": "room.info", "room": "sports"}))
    (answer,) = frames(await asyncio.wait_for(socket.recv(decode=False), 10))
    assert answer["ok"]["seq"] == 0
    again.terminate()
    _, err = await asyncio.to_thread(again.communicate, timeout=20)
    assert again.returncode == 0
    assert "a room can't be loaded" in err
    assert "newsroom" in err


async def test_a_port_in_use(spawned: list[Process], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} on 127.0.0.1 is in use" in await refused_start(spawn(spawned, tmp_path, "--port", port))


async def test_an_address_for_everybody(spawned: list[Process], tmp_path: Path) -> None:
    assert "--insecure" in await refused_start(spawn(spawned, tmp_path, "--host", "0.0.0.0"))


async def test_a_folder_that_can_not_be_written(spawned: list[Process], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "cannot open" in await refused_start(spawn(spawned, tmp_path / "file"))


async def test_credentials_that_can_not_be_written(spawned: list[Process], tmp_path: Path) -> None:
    (tmp_path / "credentials.json").mkdir()
    assert "cannot write" in await refused_start(spawn(spawned, tmp_path))
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


async def test_a_disk_that_fails_stops_it_with_one_line(spawned: list[Process], join: Join, tmp_path: Path) -> None:
    """The database may not grow any further: the first commit that needs more space fails, and the broker ends."""
    process = spawn(spawned, tmp_path)
    url = await address(process)
    socket = await join(url)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 100_000, size + 100_000))
    answers = []
    with pytest.raises(Exception, match="1012"):
        for id in range(1, 50):
            await socket.send(msgpack.packb({"id": id, "op": "event.emit", "room": "r", "type": "a.b", "body": bytes(20_000)}))
            answers += frames(await asyncio.wait_for(socket.recv(decode=False), 10))
    acknowledged = [answer for answer in answers if "ok" in answer]
    refused = answers[len(acknowledged) :]  # once it failed, everything is refused until it is gone
    assert refused
    assert {answer["err"]["code"] for answer in refused} == {"storage_failed"}
    _, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("stopped: ")

    again = spawn(spawned, tmp_path)
    socket = await join(await address(again))
    await socket.send(msgpack.packb({"id": 1, "op": "log.read", "room": "r", "limit": 1000}))
    page = msgpack.unpackb(await socket.recv(decode=False))["ok"]
    assert page["through"] > len(acknowledged)  # room.opened, then one for each
