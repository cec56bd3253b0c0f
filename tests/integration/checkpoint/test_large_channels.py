"""Channels of megabytes: stored once by what is in them, whichever checkpoint, thread or pending write has them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import msgpack
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

from langgraph_nolag import BlobNotFound, LocalBroker, NoLagSaver
from nolag_broker.wire.blobs import PIECE, Reference


def put(saver: NoLagSaver, thread: str, step: int, **values: Any) -> RunnableConfig:
    versions = dict.fromkeys(values, f"{step:032}.1")
    made: Any = {**empty_checkpoint(), "id": str(uuid6(clock_seq=step)), "channel_values": values, "channel_versions": versions}
    where: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    return saver.put(where, made, {"source": "loop", "step": step, "parents": {}}, versions)  # type: ignore[typeddict-item]


def latest(saver: NoLagSaver, thread: str) -> Any:
    found = saver.get_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
    assert found is not None
    return found


def blobs(path: Path) -> list[tuple[int, int]]:
    """Size and count of what refers to it, of what the room holds, in the database of a broker that has ended."""
    with contextlib.closing(sqlite3.connect(path / "rooms.db")) as file:
        return file.execute("SELECT size, refs FROM blob WHERE hash IS NOT NULL ORDER BY size").fetchall()


def test_a_large_channel_is_stored_once(tmp_path: Path) -> None:
    document, other = secrets.token_bytes(3 << 20), secrets.token_bytes(1 << 20)
    with LocalBroker(tmp_path) as broker:
        saver = NoLagSaver(broker.room("r"))
        for step in range(3):  # written again and again with the same in it
            where = put(saver, "a", step, document=document, count=step)
        saver.put_writes(where, [("other", other)], task_id="t")
        saver.copy_thread("a", "b")
    with LocalBroker(tmp_path) as broker:
        saver = NoLagSaver(broker.room("r"))
        for thread in ("a", "b"):
            found = latest(saver, thread)
            assert found.checkpoint["channel_values"] == {"document": document, "count": 2}
            assert found.pending_writes == [("t", "other", other)]
            everything: RunnableConfig = {"configurable": {"thread_id": thread}}
            assert [found.checkpoint["channel_values"]["document"] for found in saver.list(everything)] == [document] * 3
    (small, its_refs), (large, all_refs) = blobs(tmp_path)
    assert small > 1 << 20
    assert large > 3 << 20
    assert (its_refs, all_refs) == (2, 6)


async def test_a_deleted_thread_takes_its_large_channels_with_it(tmp_path: Path) -> None:
    shared, own = secrets.token_bytes(1 << 20), secrets.token_bytes(2 << 20)
    with LocalBroker(tmp_path, trim_every=0.02, keep_uploads=0.1) as broker:
        saver = NoLagSaver(broker.room("r"))
        await asyncio.to_thread(put, saver, "a", 1, shared=shared, own=own)
        await asyncio.to_thread(put, saver, "b", 1, shared=shared)
        hash = Reference.to(msgpack.packb(saver.serde.dumps_typed(own))).hash
        assert len((await saver.link.acall("blob.get", hash=hash, offset=0))["body"]) == PIECE
        await saver.adelete_thread("a")
        async with asyncio.timeout(15):
            with pytest.raises(BlobNotFound):
                while await saver.link.acall("blob.get", hash=hash, offset=0):
                    await asyncio.sleep(0.02)
        found = await saver.aget_tuple({"configurable": {"thread_id": "b", "checkpoint_ns": ""}})
        assert found is not None
        assert found.checkpoint["channel_values"] == {"shared": shared}
    assert [refs for _, refs in blobs(tmp_path)] == [1]


async def test_many_channels_that_are_large_together(tmp_path: Path) -> None:
    with LocalBroker(tmp_path) as broker:
        saver = NoLagSaver(broker.room("r"))
        values = {f"c{n}": secrets.token_bytes(250_000) for n in range(60)}
        await asyncio.to_thread(put, saver, "a", 1, **values)
        found = await saver.aget_tuple({"configurable": {"thread_id": "a", "checkpoint_ns": ""}})
        assert found is not None
        assert found.checkpoint["channel_values"] == values
