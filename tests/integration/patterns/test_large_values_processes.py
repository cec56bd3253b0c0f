"""Large values and a broker that is a process of its own: it is killed, and its memory is measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from langgraph_nolag import Room, connect
from langgraph_nolag.testing import eventually
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.wire.blobs import PIECE


class BrokerProcess:
    """A broker that comes back at the same address."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "nolag_broker", "--path", str(self.path), "--port", str(self._port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self._port = int(self.url.rpartition(":")[2])

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path)
    yield broker
    if broker.process.poll() is None:
        broker.end(signal.SIGKILL)


@pytest.fixture
async def room(broker: BrokerProcess) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(broker.url, token=lambda: token(broker)))
        yield await client.join("demo")


def token(broker: BrokerProcess) -> str:
    return str(json.loads((broker.path / "credentials.json").read_text())["token"])


def count_puts(room: Room, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offsets that were sent."""
    offsets: list[int] = []
    sender = room.link.connection._sender
    establish = sender.establish

    def counting(frame: dict[str, Any], *args: Any) -> None:
        if frame["op"] == "blob.put":
            offsets.append(frame["offset"])
        establish(frame, *args)

    monkeypatch.setattr(sender, "establish", counting)
    return offsets


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
async def test_a_broker_killed_in_the_middle_of_a_value(
    broker: BrokerProcess, room: Room, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    value = secrets.token_bytes(40 * PIECE)
    offsets = count_puts(room, monkeypatch)
    writing = asyncio.create_task(room.blackboard.set("k", value))
    for _ in range(kills):
        begun = len(offsets)
        await eventually(lambda begun=begun: len(offsets) > begun + 8)
        assert not writing.done()
        await asyncio.to_thread(broker.end, signal.SIGKILL)
        await asyncio.to_thread(broker.start)
    assert (await asyncio.wait_for(writing, 30)).revision == 1
    assert offsets.count(0) > kills  # it began again
    entry = await room.blackboard.get("k")
    assert entry is not None
    assert entry.value == value
    await asyncio.to_thread(broker.end, signal.SIGKILL)

    with contextlib.closing(sqlite3.connect(broker.path / "rooms.db")) as file:
        assert file.execute("SELECT count(*) FROM blob WHERE hash IS NULL").fetchone()[0] > 0  # what the kills left
    engine = SqliteEngine(broker.path)
    await engine.open()
    await engine.collect_blobs(lambda room, hash: False)
    await engine.close()
    with contextlib.closing(sqlite3.connect(broker.path / "rooms.db")) as file:
        assert file.execute("SELECT size, refs FROM blob").fetchall() == [(len(value) + 5, 1)]
        assert file.execute("SELECT count(*) FROM blob_piece").fetchone() == (41,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def largest(broker: BrokerProcess, work: asyncio.Task[Any]) -> int:
    """The most memory that the broker had while something was done."""
    most = broker.memory()
    while not work.done():
        await asyncio.sleep(0.005)
        most = max(most, broker.memory())
    await work
    return most


async def pass_through(room: Room, size: int) -> None:
    value = secrets.token_bytes(size)
    for n in range(3):
        await room.blackboard.set(f"k/{n}", value + bytes(n))
    entries = await asyncio.gather(*(room.blackboard.get(f"k/{n}") for n in range(3)))
    assert all(entry is not None and entry.value == value + bytes(n) for n, entry in enumerate(entries))


async def test_the_broker_never_holds_a_whole_value(broker: BrokerProcess, room: Room) -> None:
    """Three values of 12 MiB pass, up and down: what it holds is bounded by the pieces under way and SQLite's cache."""
    await pass_through(room, 1 << 20)
    before = broker.memory()
    most = await largest(broker, asyncio.create_task(pass_through(room, 12 << 20)))
    print(f"before {before >> 20} MiB, at most {most >> 20} MiB")
    assert most - before < 24 << 20


@pytest.mark.slow
async def test_the_broker_never_holds_a_whole_value_of_the_largest(broker: BrokerProcess, room: Room) -> None:
    await pass_through(room, 1 << 20)
    before = broker.memory()
    most = await largest(broker, asyncio.create_task(pass_through(room, 63 << 20)))
    print(f"before {before >> 20} MiB, at most {most >> 20} MiB")
    assert most - before < 24 << 20
