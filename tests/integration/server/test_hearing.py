"""Who lives is not taken for dead, whatever keeps the broker from hearing it; who is silent is."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect

from nolag_broker.server.node import Node

if TYPE_CHECKING:
    from .conftest import Client, Start

LEASE = 1.5
PAUSE = 2.2  # seconds
MEMBERS = 30
BROKER = """
import sys
from pathlib import Path
if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
from nolag_broker.server import process
from nolag_broker.settings import Settings
process.run(Settings(path=Path(sys.argv[2]), port=0, lease=float(sys.argv[3])))
"""

Begin = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a broker in a process of its own, on this loop."""
    begun: list[subprocess.Popen[str]] = []

    def begin(loop: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BROKER, loop, str(tmp_path), str(LEASE)]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def ask(socket: ClientConnection, op: str, **fields: Any) -> list[dict[str, Any]]:
    """Everything up to the answer, which comes last."""
    await socket.send(msgpack.packb({"id": 1, "op": op, "room": "r", **fields}))
    return await heard(socket, "id")


async def heard(socket: ClientConnection, what: str) -> list[dict[str, Any]]:
    """Everything up to a frame that has this field."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(15):
        while not any(what in frame for frame in found):
            if message := await socket.recv(decode=False):
                frames = msgpack.unpackb(message)
                found += frames if isinstance(frames, list) else [frames]
    return sorted(found, key=lambda frame: what in frame)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_who_spoke_while_the_broker_was_stopped_keeps_its_tasks(begin: Begin, tmp_path: Path, loop: str) -> None:
    """Its timers are due before it has read a thing. One who did not speak has left, one in the middle of a large message has not."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    process = begin(loop)
    assert process.stdout is not None
    url = (await asyncio.to_thread(process.stdout.readline)).split()[-1] + "/ws"
    token = json.loads((tmp_path / "credentials.json").read_text())["token"]
    sockets: list[ClientConnection] = []

    async def say(seconds: float) -> None:
        """Let time pass, in which all but the silent one, and the one that is sending already, say that they live."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for socket in sockets[2:]:
                await socket.send(b"")
            await asyncio.sleep(LEASE / 10)

    for number in range(MEMBERS):
        sockets.append(await connect(url, compression=None, max_queue=None))
        auth = {"type": "auth", "dialect": "nolag-rooms/1", "token": token, "instance": f"member {number}"}
        await sockets[-1].send(msgpack.packb(auth))
        assert msgpack.unpackb(await sockets[-1].recv(decode=False))["success"]
    for socket in sockets:
        await ask(socket, "room.join")
    sending, worker, asking = sockets[1], sockets[-2], sockets[-1]
    await ask(worker, "task.serve", offer=1, slots=1)
    await ask(asking, "task.dispatch", task="t", type="t", body=b"", follow=False)
    task = (await heard(worker, "push"))[-1]
    process.send_signal(signal.SIGSTOP)
    large = asyncio.create_task(sending.send(msgpack.packb({"op": "event.emit", "room": "r", "type": "large", "body": bytes(12 << 20)})))
    await say(PAUSE)
    process.send_signal(signal.SIGCONT)
    await say(LEASE / 2)
    await large
    assert "ok" in (await ask(worker, "task.complete", task="t", token=task["token"], body=b""))[-1]
    log = (await ask(asking, "log.read", limit=1000, bodies=False))[-1]["ok"]["events"]
    assert [event["data"]["instance"] for event in log if event["type"] == "presence.left"] == ["member 0"]
    assert [event["type"] for event in log if event["type"].startswith("task.")] == ["task.dispatched", "task.claimed", "task.completed"]
    for socket in sockets:
        socket.transport.abort()


async def test_a_large_message_is_a_sign_of_life_while_it_comes(start: Start) -> None:
    """Nothing else can be said before it ends."""
    broker = await start(lease=LEASE)
    ana = await broker.member("ana")
    body = msgpack.packb({"op": "event.emit", "room": "r", "type": "large", "body": bytes(60_000)})
    message = b"\x82\xfe" + len(body).to_bytes(2, "big") + bytes(4) + body
    for begin in range(0, len(message), 4000):
        ana.socket.transport.write(message[begin : begin + 4000])
        await asyncio.sleep(PAUSE / 15)
    assert await types(ana) == ["room.opened", "presence.joined", "large"]


async def test_who_is_not_read_is_not_silent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker can take no more for longer than a lease: a disk hangs. It reads no heartbeats either, then."""
    broker = await start(lease=LEASE)
    ana = await broker.member("ana")
    relieved = asyncio.Event()

    async def relief(self: Node) -> None:
        await relieved.wait()

    monkeypatch.setattr(Node, "overloaded", property(lambda self: not relieved.is_set()))
    monkeypatch.setattr(Node, "relief", relief)
    for _ in range(10):
        await ana.send({"op": "event.emit", "room": "r", "type": "note", "body": b""})
    end = time.monotonic() + PAUSE
    while time.monotonic() < end:
        await ana.send(b"")
        await asyncio.sleep(LEASE / 10)
    relieved.set()
    assert await types(ana) == ["room.opened", "presence.joined", *["note"] * 10]


async def types(client: Client) -> list[str]:
    return [event["type"] for event in (await client.call("log.read", limit=1000))["events"]]
