"""A broker on a real socket, and the smallest client of PROTOCOL.md: MessagePack over a WebSocket."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from nolag_broker.server.auth import EVERYTHING
from nolag_broker.server.broker import Broker
from nolag_broker.settings import Settings

WAIT = 15.0  # seconds any single thing may take; only a failure takes so long


class Refused(Exception):
    def __init__(self, err: dict[str, Any]) -> None:
        super().__init__(f"{err['code']}: {err['message']}")
        self.code = err["code"]
        self.err = err


class Client:
    """One connection. Responses go to whoever asked; pushes are kept, in order, until asked for."""

    def __init__(self, socket: ClientConnection, instance: str) -> None:
        self.socket = socket
        self.instance = instance
        self.welcome: dict[str, Any] = {}
        self.ids = itertools.count(1)
        self.answered: list[int] = []  # ids of responses in the order in which they came
        self.pushes: list[dict[str, Any]] = []
        self.heartbeats = 0
        self.messages = 0
        self.closed: tuple[int, str] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def auth(self, token: Any, **fields: Any) -> dict[str, Any]:
        frame = {"type": "auth", "dialect": "nolag-rooms/1", "token": token, "instance": self.instance, **fields}
        await self.socket.send(msgpack.packb(frame))
        self.welcome = msgpack.unpackb(await asyncio.wait_for(self.socket.recv(decode=False), WAIT))
        if self.welcome["success"]:
            self.listen()
        return self.welcome

    def listen(self) -> None:
        self._reader = asyncio.create_task(self._read())

    async def send(self, frame: Any) -> None:
        """A frame, an array of frames, or raw bytes."""
        await self.socket.send(frame if isinstance(frame, bytes) else msgpack.packb(frame))

    def request(self, op: str, room: str | None = "r", **fields: Any) -> tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]:
        """A request frame, not yet sent, and its whole response to come."""
        id = fields.pop("id", None) or next(self.ids)
        frame = {"id": id, "op": op, **({} if room is None else {"room": room}), **fields}
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        return frame, answer

    async def response(self, op: str, room: str | None = "r", **fields: Any) -> dict[str, Any]:
        """Ask, and give the whole response. Raises `Refused`."""
        frame, answer = self.request(op, room, **fields)
        await self.send(frame)
        response = await asyncio.wait_for(answer, WAIT)
        if "err" in response:
            raise Refused(response["err"])
        return response

    async def call(self, op: str, room: str | None = "r", **fields: Any) -> Any:
        return (await self.response(op, room, **fields))["ok"]

    async def refused(self, op: str, room: str | None = "r", **fields: Any) -> dict[str, Any]:
        """Ask for something that must be refused; the error."""
        with pytest.raises(Refused) as caught:
            await self.call(op, room, **fields)
        return caught.value.err

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something that came makes the condition true; its value."""
        async with asyncio.timeout(WAIT), self._news:
            await self._news.wait_for(condition)
        return condition()

    async def push(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next push of a kind with these fields; it is taken out."""

        def find() -> dict[str, Any] | None:
            return next((p for p in self.pushes if p["push"] == kind and all(p.get(k) == v for k, v in fields.items())), None)

        found = await self.until(find)
        self.pushes.remove(found)
        return found

    def events(self, sub: int = 1) -> list[dict[str, Any]]:
        """All events that came for a subscription so far."""
        return [event for push in self.pushes if push["push"] == "log" and push["sub"] == sub for event in push["events"]]

    async def close_code(self) -> tuple[int, str]:
        """Wait until the broker has closed the connection; code and reason."""
        if self._reader is None:
            self.listen()
        await self.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    async def _read(self) -> None:
        try:
            while True:
                message = await self.socket.recv(decode=False)
                self.messages += 1
                frames = [] if not message else msgpack.unpackb(message)
                async with self._news:
                    self.heartbeats += not message
                    for frame in frames if isinstance(frames, list) else [frames]:
                        self._take(frame)
                    self._news.notify_all()
        except ConnectionClosed as end:
            code = (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")
            async with self._news:
                self.closed = code
                self._news.notify_all()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError(f"closed: {code}"))
                    answer.exception()

    def _take(self, frame: dict[str, Any]) -> None:
        if "push" in frame:
            self.pushes.append(frame)
        else:
            self.answered.append(frame["id"])
            answer = self._answers.pop(frame["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(frame)


class Harness:
    """A broker and its clients."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broker = Broker(settings)
        self._clients: list[Client] = []

    async def start(self) -> None:
        await self.broker.start()

    async def restart(self) -> None:
        await self.broker.stop()
        self.broker = Broker(self.settings)
        await self.broker.start()

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        await self.broker.stop()

    async def socket(self, instance: str | None = None, **options: Any) -> Client:
        """A connection that has not said who it is."""
        options = {"compression": None, "max_size": 1 << 30, "ping_interval": None, "max_queue": None, **options}
        socket = await connect(self.broker.url + "/ws", **options)
        client = Client(socket, instance or secrets.token_hex(16))
        self._clients.append(client)
        return client

    async def client(self, actor: str = "ana", *, token: str | None = None, instance: str | None = None, **options: Any) -> Client:
        """A connection as this actor, who may do everything but administer, or with this token."""
        client = await self.socket(instance, **options)
        welcome = await client.auth(token or self.broker.mint(actor))
        assert welcome["success"], welcome
        return client

    async def admin(self) -> Client:
        return await self.client(token=self.broker.mint("root", EVERYTHING))

    async def member(self, actor: str = "ana", room: str = "r", **fields: Any) -> Client:
        """A client that joined the room."""
        client = await self.client(actor, **{k: fields.pop(k) for k in ("token", "instance") if k in fields})
        await client.call("room.join", room, **fields)
        return client


Start = Callable[..., Awaitable[Harness]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start brokers with settings of one's own; they end with the test."""
    started: list[Harness] = []

    async def start(**settings: Any) -> Harness:
        harness = Harness(Settings(**{"engine": "memory", "port": 0, "path": tmp_path / "data", **settings}))
        await harness.start()
        started.append(harness)
        return harness

    yield start
    for harness in started:
        await harness.stop()


@pytest.fixture
async def broker(start: Start) -> Harness:
    """A broker in memory."""
    return await start()


@pytest.fixture(params=["memory", "sqlite"])
async def any_broker(start: Start, request: pytest.FixtureRequest) -> Harness:
    """A broker on each engine."""
    return await start(engine=request.param)


def junk(size: int) -> bytes:
    return os.urandom(size)
