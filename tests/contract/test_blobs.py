"""What every engine promises of large values (the docstring of `BlobStore`)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nolag_broker.core.event import Event
from nolag_broker.core.turn import Turn
from nolag_broker.engine.base import Engine
from nolag_broker.engine.blobs import BlobDamaged, Name
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.wire.blobs import BLOB, PIECE, Reference

ENGINES: dict[str, Callable[[Path], Engine]] = {"memory": lambda folder: MemoryEngine(), "sqlite": SqliteEngine}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = ENGINES[request.param](tmp_path)
    await engine.open()
    await engine.create("r", "epoch-1")
    yield engine
    await engine.close()


def value(size: int, of: int = 0) -> bytes:
    return bytes((of + n) % 251 for n in range(1000)) * (size // 1000) + bytes(size % 1000)


async def store(engine: Engine, value: bytes, room: str = "r") -> Reference:
    reference = Reference.to(value)
    blob = await engine.begin_blob(room)
    for start in range(0, len(value), PIECE):
        last = start + PIECE >= len(value)
        await engine.add_piece(blob, start // PIECE, value[start : start + PIECE], Name(reference.hash, len(value)) if last else None)
    return reference


async def read(engine: Engine, reference: Reference, room: str = "r") -> bytes:
    pieces = [await engine.piece(room, reference.hash, number) for number in range(-(-reference.size // PIECE))]
    return b"".join(piece or b"" for piece in pieces)


async def refer(engine: Engine, *references: Reference, after: int = 0) -> None:
    events = [Event(after + n, "t", 0.0, "a", {}, body=one.body, ct=BLOB) for n, one in enumerate(references, 1)]
    assert await engine.commit([("r", Turn(after, events, caught_up=True))]) == [None]


def spare_nothing(room: str, hash: bytes) -> bool:
    return False


async def test_a_blob_is_read_as_it_was_written(engine: Engine) -> None:
    for size in (1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE):
        reference = await store(engine, value(size))
        assert await engine.blob_size("r", reference.hash) == size
        assert await read(engine, reference) == value(size)


async def test_a_blob_is_not_there_before_it_is_whole(engine: Engine) -> None:
    whole = value(2 * PIECE)
    reference = Reference.to(whole)
    blob = await engine.begin_blob("r")
    await engine.add_piece(blob, 0, whole[:PIECE])
    assert await engine.blob_size("r", reference.hash) is None
    assert await engine.piece("r", reference.hash, 0) is None
    await engine.add_piece(blob, 1, whole[PIECE:], Name(reference.hash, len(whole)))
    assert await read(engine, reference) == whole


async def test_blobs_belong_to_a_room(engine: Engine) -> None:
    await engine.create("s", "e")
    reference = await store(engine, value(1000))
    assert await engine.blob_size("s", reference.hash) is None
    assert await engine.piece("s", reference.hash, 0) is None
    assert await engine.blob_size("nowhere", reference.hash) is None


async def test_a_room_holds_one_of_a_hash(engine: Engine) -> None:
    first, second = await asyncio.gather(store(engine, value(2 * PIECE)), store(engine, value(2 * PIECE)))
    assert first == second
    await refer(engine, first)
    await engine.collect_blobs(spare_nothing)
    assert await engine.collect_blobs(spare_nothing) == 0
    assert await read(engine, first) == value(2 * PIECE)


async def test_what_an_event_refers_to_stays_and_the_rest_goes(engine: Engine) -> None:
    kept, spared, gone = [await store(engine, value(PIECE + 1, of)) for of in range(3)]
    await refer(engine, kept)
    assert await engine.collect_blobs(lambda room, hash: (room, hash) == ("r", spared.hash)) == 1
    assert [await engine.blob_size("r", one.hash) for one in (kept, spared, gone)] == [PIECE + 1, PIECE + 1, None]
    assert await engine.piece("r", gone.hash, 0) is None
    assert await read(engine, kept) == value(PIECE + 1, 0)


async def test_what_a_trim_drops_refers_to_nothing_any_more(engine: Engine) -> None:
    one, two, both = [await store(engine, value(1000, of)) for of in range(3)]
    await refer(engine, one, both, two, both)
    await engine.trim("r", 4, [3])
    await engine.collect_blobs(spare_nothing)
    assert [await engine.blob_size("r", blob.hash) for blob in (one, two, both)] == [None, 1000, 1000]
    await engine.trim("r", 4, [])  # it may be pinned no more
    await engine.collect_blobs(spare_nothing)
    assert [await engine.blob_size("r", blob.hash) for blob in (two, both)] == [None, 1000]
    await engine.trim("r", 5, [])
    await engine.collect_blobs(spare_nothing)
    assert await engine.blob_size("r", both.hash) is None


async def test_a_trim_in_the_middle_of_a_batch_keeps_what_the_rest_refers_to(engine: Engine) -> None:
    blobs = [await store(engine, value(1000, of)) for of in range(10)]
    await refer(engine, *blobs[:5])
    await refer(engine, *blobs[5:], after=5)
    await engine.trim("r", 8, [2, 4])
    assert await engine.collect_blobs(spare_nothing) == 5
    assert [n for n, blob in enumerate(blobs, 1) if await engine.blob_size("r", blob.hash)] == [2, 4, 8, 9, 10]


async def test_the_floor_for_so_many_bytes_of_values(engine: Engine) -> None:
    assert await engine.values_floor("r", 0) == 0
    one, two, three = [await store(engine, value(1000 * n, n)) for n in (1, 2, 3)]
    await refer(engine, one, two, three, two, one)
    await store(engine, value(9000))  # that no event refers to does not count
    floors = {10_000: 0, 6000: 0, 5999: 4, 3000: 4, 2999: 5, 1000: 5, 999: 6, 0: 6}
    assert {size: await engine.values_floor("r", size) for size in floors} == floors
    await engine.trim("r", 4, [])
    await engine.collect_blobs(spare_nothing)
    assert await engine.values_floor("r", 3000) == 0
    assert await engine.values_floor("r", 2999) == 5


async def records(engine: Engine, *deleted: str, **references: Reference | None) -> None:
    rows = {key: one.record if one is not None else None for key, one in references.items()}
    assert await engine.commit(
        [("r", Turn(0, records={f"k/{key}": row for key, row in rows.items()}, deleted_prefixes=list(deleted)))]
    ) == [None]


async def test_what_a_record_refers_to_stays_as_long_as_the_record_says_so(engine: Engine) -> None:
    blobs = [await store(engine, value(1000, of)) for of in range(5)]

    async def left() -> list[int]:
        await engine.collect_blobs(spare_nothing)
        return [n for n, blob in enumerate(blobs) if await engine.blob_size("r", blob.hash)]

    await records(engine, a=blobs[0], b=blobs[1], ba=blobs[2], c=blobs[0], d=blobs[3])
    assert await left() == [0, 1, 2, 3]
    await records(engine, a=None, d=blobs[3])
    assert await left() == [0, 1, 2, 3]
    await records(engine, "k/b", b=blobs[1])
    assert await left() == [0, 1, 3]
    await records(engine, c=blobs[1])
    assert await left() == [1, 3]
    await records(engine, "k/")
    assert await left() == []


async def test_a_blob_under_way_is_not_collected_and_one_given_up_is(engine: Engine) -> None:
    whole = value(2 * PIECE)
    reference = Reference.to(whole)
    under_way, given_up = await engine.begin_blob("r"), await engine.begin_blob("r")
    for blob in (under_way, given_up):
        await engine.add_piece(blob, 0, whole[:PIECE])
    await engine.drop_blob(given_up)
    await engine.collect_blobs(spare_nothing)
    assert not await engine.add_piece(given_up, 1, whole[PIECE:], Name(reference.hash, len(whole)))
    assert await engine.blob_size("r", reference.hash) is None
    assert await engine.add_piece(under_way, 1, whole[PIECE:], Name(reference.hash, len(whole)))
    assert await read(engine, reference) == whole


async def test_a_turn_that_is_not_stored_refers_to_nothing(engine: Engine) -> None:
    reference = await store(engine, value(1000))
    event = Event(8, "t", 0.0, "a", {}, body=reference.body, ct=BLOB)
    assert (await engine.commit([("r", Turn(7, [event]))]))[0] is not None
    assert await engine.collect_blobs(spare_nothing) == 1


# -- what only an engine with a file can show


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(folder)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "rooms.db")) as file:
        found = file.execute(query).fetchall()
        file.commit()
        return found


async def test_blobs_and_what_refers_to_them_outlive_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        await engine.create("r", "e")
        kept, gone = await store(engine, value(PIECE, 1)), await store(engine, value(3 * PIECE, 2))
        recorded = await store(engine, value(PIECE, 3))
        await records(engine, a=recorded)
        await refer(engine, kept)
        half = await engine.begin_blob("r")
        await engine.add_piece(half, 0, value(PIECE))
    async with opened(tmp_path) as engine:
        assert await engine.begin_blob("r") > half
        assert await engine.blob_size("r", gone.hash) == 3 * PIECE
        assert await engine.collect_blobs(spare_nothing) == 2
        assert await read(engine, kept) == value(PIECE, 1)
        assert await read(engine, recorded) == value(PIECE, 3)
        assert await engine.commit([("r", Turn(1, records={"k/a": None}))]) == [None]
        assert await engine.collect_blobs(spare_nothing) == 1
    assert rows(tmp_path, "SELECT count(*) FROM blob_piece") == [(1,)]
    assert rows(tmp_path, "SELECT size, refs FROM blob") == [(PIECE, 1)]


@pytest.mark.parametrize("damage", ["UPDATE blob_piece SET bytes = x'00' WHERE id & 1", "DELETE FROM blob_piece WHERE id & 1"])
async def test_a_damaged_piece_is_named_and_harms_nothing_else(tmp_path: Path, damage: str) -> None:
    async with opened(tmp_path) as engine:
        await engine.create("r", "e")
        reference = await store(engine, value(2 * PIECE))
    rows(tmp_path, damage)
    async with opened(tmp_path) as engine:
        assert await engine.piece("r", reference.hash, 0) == value(2 * PIECE)[:PIECE]
        with pytest.raises(BlobDamaged, match="piece 1 of a large value of the room 'r'"):
            await engine.piece("r", reference.hash, 1)
        await refer(engine, reference)


async def test_commits_pass_while_blobs_are_written_and_collected(tmp_path: Path) -> None:
    """How long one takes is not for a test; that there are many between the pieces is."""
    async with opened(tmp_path) as engine:
        await engine.create("r", "e")

        async def work() -> None:
            for of in range(2):
                await store(engine, value(20 * PIECE, of))
            await engine.collect_blobs(spare_nothing)

        begun, commits = time.monotonic(), 0
        working = asyncio.ensure_future(work())
        while not working.done():
            assert await engine.commit([("r", Turn(commits, [Event(commits + 1, "t", 0.0, "a", {})]))]) == [None]
            commits += 1
        await working
        assert commits > 20, f"{commits} commits in {time.monotonic() - begun:.1f} s"
    assert rows(tmp_path, "SELECT count(*) FROM blob_piece") == [(0,)]
