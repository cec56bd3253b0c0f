from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from langgraph_nolag.client.socket import BATCH, Socket, messages, next_beat
from nolag_broker.wire.codec import pack, unpack


@given(st.lists(st.integers(0, BATCH + 10), max_size=30))
def test_batches_hold_every_frame_once_in_order(sizes: list[int]) -> None:
    frames = [pack({"n": n, "b": b"x" * size}) for n, size in enumerate(sizes)]
    found: list[Any] = []
    for message in messages(frames):
        inside = unpack(message)
        found.extend(inside if isinstance(inside, list) else [inside])
    assert [frame["n"] for frame in found] == list(range(len(sizes)))


def test_small_frames_share_a_message_and_large_ones_travel_uncopied() -> None:
    small, large = pack({"id": 1}), pack({"b": b"x" * (BATCH + 1)})
    assert len(messages([small] * 1000)) == 1
    assert messages([small, large, small]) == [small, large, small]
    assert messages([large])[0] is large
    assert messages([]) == []


@given(st.floats(0, 1e9), st.floats(0.1, 10))
def test_a_heartbeat_is_due_in_time_and_with_those_of_other_connections(now: float, heartbeat: float) -> None:
    due = next_beat(now, heartbeat)
    assert -1e-6 < due - now < heartbeat
    assert next_beat((now + due) / 2, heartbeat) == due or due - now < 1e-6


async def test_a_patient_frame_leaves_with_the_next_one_or_soon_by_itself() -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def handle(connection: ServerConnection) -> None:
        await connection.recv()
        facts = {"actor": "ana", "heartbeat": 10.0, "lease": 30.0, "max_frame": 1 << 20}
        await connection.send(pack({"type": "auth", "success": True, **facts}))
        async for message in connection:
            heard.put_nowait(unpack(message))  # type: ignore[arg-type]

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await Socket.open(f"ws://127.0.0.1:{port}", "token", "instance", lambda size: None)
        socket.send(pack({"n": 1}), patient=True)
        await asyncio.sleep(0)
        socket.send(pack({"n": 2}), patient=True)
        socket.send(pack({"n": 3}))
        assert await asyncio.wait_for(heard.get(), 10) == [{"n": 1}, {"n": 2}, {"n": 3}]
        socket.send(pack({"n": 4}), patient=True)
        assert await asyncio.wait_for(heard.get(), 10) == {"n": 4}
        await socket.close()
