"""Who writes streams in a simulation, and who reads them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from nolag_broker.wire.codec import unpack

from .client import Client, Refused

READER: Final = "follower"


@dataclass(slots=True)
class Read:
    """How far a stream was read. Kept by the world, as by a process that stores its position."""

    token: int = 0
    chunks: list[bytes | None] = field(default_factory=list)
    ended: bool = False


def streamer(client: Client) -> None:
    """Writes streams, two at a time; takes over what a process of it that was killed has left, and its own."""
    world, chance = client.world, client.world.chance

    async def go_on() -> None:
        while await world.next_operation(client):
            open_ones = sorted(world.rules.chunks)
            stream = chance.choice(open_ones) if open_ones and chance.random() < 0.5 else world.name("stream")
            try:
                while (opened := await ask("stream.open", stream=stream, to=READER, keep=chance.choice((None, 0, 2)))) is None:
                    pass
                await write(stream, opened["token"], opened["n"])
            except Refused as refused:
                # It was taken over, or aborted while we were silent, closed by an earlier request of ours, or all were forgotten.
                world.refused(refused, "stale_lease", "stream_ended", "stream_not_found", "not_joined")

    async def write(stream: str, token: int, sent: int) -> None:
        last, writing = sent + chance.randint(0, 12), {"stream": stream, "token": token}
        while True:
            if sent == last or chance.random() < 0.05:  # or too early: it is not closed then
                answer = await ask("stream.close", **writing, n=last)
            else:
                numbers = range(sent + 1, min(last, sent + chance.randint(1, 4)) + 1)
                chunks = [f"{stream} {token} {n}".encode() for n in numbers]
                answer = await ask("stream.write", **writing, n=sent + 1, chunks=chunks)
            if answer is not None and answer.get("closed"):
                return
            if answer is not None:
                sent = answer["n"]
            await asyncio.sleep(chance.expovariate(3.0))

    async def ask(op: str, **fields: Any) -> dict[str, Any] | None:
        """None: its broker failed, and it is asked again, which does no harm here."""
        try:
            return await client.ask(op, **fields)
        except Refused as refused:
            if not refused.maybe_applied:
                raise
            return None

    client.connected.append(lambda: client.ask_here("room.join"))
    client.pushed["expired"] = lambda frame: client.ask_here("room.join")
    client.run(go_on())
    client.run(go_on())


def follower(client: Client) -> None:
    """Reads every stream to its end."""
    world = client.world
    numbers = count(2)
    following: dict[int, str] = {}

    def connected() -> None:
        following.clear()
        client.ask_here("stream.list", listed)
        client.ask_here("log.subscribe", sub=1, types="stream.opened")

    def listed(ok: dict[str, Any]) -> None:
        for info in ok["streams"]:
            follow(info["stream"])

    def opened(frame: dict[str, Any]) -> None:
        for event in frame["events"]:
            stream = event["data"]["stream"]
            read = world.read.get(stream)
            known = read is not None and read.ended and read.token >= event["seq"]  # its end was pushed before: the log may lag behind
            if not known and stream not in following.values():
                follow(stream)

    def follow(stream: str) -> None:
        read = world.read.setdefault(stream, Read())
        read.ended = False
        following[sub := next(numbers)] = stream
        client.ask_here("stream.follow", lambda ok: page(sub, ok), sub=sub, stream=stream, after=len(read.chunks), token=read.token)

    def page(sub: int, ok: dict[str, Any]) -> None:
        if (stream := following.get(sub)) is None:
            return
        take(stream, ok)
        if ok["more"]:
            del following[sub]
            follow(stream)
        elif "end" in ok:
            ended(sub, stream, ok["end"])

    def pushed(frame: dict[str, Any]) -> None:
        if (stream := following.get(frame["sub"])) is not None:
            take(stream, frame)
            if "end" in frame:
                ended(frame["sub"], stream, frame["end"])

    def take(stream: str, frame: dict[str, Any]) -> None:
        read = world.read[stream]
        read.token = frame["token"]
        if (n := frame.get("rewind")) is not None:
            world.hit("rewind told")
            del read.chunks[n:]
        if (gap := frame.get("gap")) is not None:
            read.chunks.extend([None] * (gap[1] - len(read.chunks)))
        for first, last, body in frame.get("pieces", [[frame["first"], frame["last"], frame["body"]]] if "body" in frame else []):
            if first > len(read.chunks) + 1:
                world.broke(AssertionError(f"{stream}: {first} follows {len(read.chunks)}"))
            read.chunks.extend(unpack(body)[len(read.chunks) + 1 - first : last + 1 - first])

    def ended(sub: int, stream: str, end: dict[str, Any]) -> None:
        read = world.read[stream]
        read.ended = True
        del following[sub]
        result = {"state": end["state"], "chunks": list(read.chunks)}
        world.history.observed(client.name, "stream.end", result, stream=stream, token=read.token)
        client.ask_here("stream.ack", streams=[stream], tokens=[read.token])

    client.connected.append(connected)
    client.pushed["log"] = opened
    client.pushed["stream"] = pushed
