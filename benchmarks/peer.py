"""One connection to a broker whose frames are written by hand, many to a message: for figures of which the broker is the subject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Peer:
    """One connection, with frames in and out by the array."""

    def __init__(self, url: str, token: str, name: str, room: str) -> None:
        self._url, self._auth = url, {"type": "auth", "dialect": "nolag-rooms/1", "token": token, "instance": name}
        self._room = room
        self._id = self.done = 0

    async def __aenter__(self) -> Peer:
        from websockets.asyncio.client import connect

        self._socket = await connect(self._url + "/ws", compression=None, ping_interval=None, max_size=None, max_queue=None)
        await self.send([self._auth])
        ((welcome),) = await self.receive()
        if not welcome["success"]:
            raise RuntimeError(f"refused: {welcome}")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._socket.close()

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self._id += 1
        return {"id": self._id, "op": op, "room": self._room, "done": self.done, **fields}

    async def send(self, frames: list[dict[str, Any]]) -> None:
        from nolag_broker.wire.codec import pack

        await self._socket.send(pack(frames[0] if len(frames) == 1 else frames))

    async def receive(self) -> Iterable[dict[str, Any]]:
        """The next frames; a refusal among them ends the run."""
        from nolag_broker.wire.codec import unpack

        frames = unpack(await self._socket.recv(decode=False))
        frames = frames if isinstance(frames, list) else [frames]
        for frame in frames:
            if "err" in frame:
                raise RuntimeError(f"refused: {frame['err']}")
            self.done = max(self.done, frame.get("id", 0))
        return frames

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The content of the answer; pushes that come before are dropped."""
        request = self.request(op, **fields)
        await self.send([request])
        while True:
            for frame in await self.receive():
                if frame.get("id") == request["id"]:
                    return dict(frame["ok"])
