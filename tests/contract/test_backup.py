"""A copy of a database in use: whole, as of its end, and a history of its own."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nolag_broker.core.event import Event
from nolag_broker.core.turn import ScanAt, Turn
from nolag_broker.engine.backup import PAGES
from nolag_broker.engine.base import BackupFailed, StorageFailed
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.engine.tables import PAGE

SIZE = 100_000  # bytes of a body: a few hundred of them are many pieces


def turn(last: int) -> Turn:
    events = [Event(last + 1, "t", 0.0, "a", {"n": last + 1}, body=bytes(SIZE))]
    return Turn(last, events, {"last": b"%d" % (last + 1)}, {f"k/{last + 1:04}": b"v"}, caught_up=True)


async def opened(folder: Path) -> SqliteEngine:
    engine = SqliteEngine(folder)
    await engine.open()
    return engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    engine = await opened(tmp_path / "data")
    await engine.create("r", "epoch")
    for last in range(100):
        await engine.commit([("r", turn(last))])
    yield engine
    await engine.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    return folder


async def contents(engine: SqliteEngine) -> int:
    """What is in the room, which must fit together; the last sequence."""
    image = await engine.load("r")
    assert image is not None
    events = await engine.events("r", 0, 10_000, 1 << 30)
    records = await engine.scan("r", ScanAt("k/", limit=10_000))
    assert [event.data["n"] for event in events] == list(range(1, image.sequence + 1))
    assert [key for key, _ in records] == [f"k/{n:04}" for n in range(1, image.sequence + 1)]
    assert image.heads == {"last": b"%d" % image.sequence}
    return image.sequence


async def test_commits_go_on_while_it_is_made_and_it_is_as_of_its_end(engine: SqliteEngine, folder: Path) -> None:
    acknowledged = 100
    copying = asyncio.create_task(engine.back_up(folder))
    await asyncio.sleep(0)
    during = 0
    while not copying.done():
        await engine.commit([("r", turn(acknowledged))])
        acknowledged += 1
        during += not copying.done()
        assert len(await engine.scan("r", ScanAt("k/", limit=10))) == 10  # and reads
    assert during, "no commit went on while it was made"
    events = await copying
    copy = await opened(folder)
    assert 100 < await contents(copy) == events <= acknowledged
    assert await contents(engine) == acknowledged
    await copy.close()


async def test_a_broker_that_starts_on_it_has_another_history(engine: SqliteEngine, folder: Path, tmp_path: Path) -> None:
    await engine.back_up(folder)
    twin = tmp_path / "twin"
    twin.mkdir()
    for file in folder.iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    epochs = ["epoch"]
    for place in (folder, twin):
        copy = await opened(place)
        image = await copy.load("r")
        assert image is not None
        epochs.append(image.epoch)
        assert await copy.commit([("r", turn(100))]) == [None]
        await copy.close()
        copy = await opened(place)
        again = await copy.load("r")
        assert again is not None
        assert (again.epoch, again.sequence) == (image.epoch, 101)  # from here on it is a database as any other
        await copy.close()
    assert len(set(epochs)) == 3
    original = await engine.load("r")
    assert original is not None
    assert original.epoch == "epoch"


async def test_an_older_copy_is_not_taken_for_a_newer_one(engine: SqliteEngine, folder: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    await engine.back_up(folder)
    await engine.commit([("r", turn(100))])
    await engine.back_up(newer)
    (newer / "rooms.db").write_bytes((folder / "rooms.db").read_bytes())
    with pytest.raises(StorageFailed, match=r"has lost 1 of 101 events"):
        await opened(newer)


async def test_without_a_witness_nobody_knows_whether_something_is_lost(engine: SqliteEngine, tmp_path: Path) -> None:
    await engine.close()
    (tmp_path / "data" / "rooms.end").unlink()
    again = await opened(tmp_path / "data")
    image = await again.load("r")
    assert image is not None
    assert image.epoch != "epoch"
    await again.close()


async def test_what_can_not_be_written_is_said_and_hurts_nothing(engine: SqliteEngine, folder: Path) -> None:
    (folder / "rooms.db").write_bytes(b"somebody else's")
    with pytest.raises(BackupFailed, match="File exists"):
        await engine.back_up(folder)
    with pytest.raises(BackupFailed, match="cannot write"):
        await engine.back_up(folder / "nowhere")
    assert (folder / "rooms.db").read_bytes() == b"somebody else's"
    assert await engine.commit([("r", turn(100))]) == [None]


async def test_one_at_a_time_and_a_stop_does_not_wait_for_it(engine: SqliteEngine, folder: Path, tmp_path: Path) -> None:
    copying = asyncio.create_task(engine.back_up(folder))
    await asyncio.sleep(0)
    with pytest.raises(BackupFailed, match="already"):
        await engine.back_up(tmp_path)
    await engine.close()
    with pytest.raises(BackupFailed, match="stopping"):
        await copying


async def test_a_copy_that_was_cut_off_is_not_taken_for_one(engine: SqliteEngine, folder: Path) -> None:
    """Killed while it is copied, or before it is sealed."""
    copying = asyncio.create_task(engine.back_up(folder))
    while not list(folder.iterdir()):
        await asyncio.sleep(0)
    assert not copying.done()
    with pytest.raises(StorageFailed, match="not finished"):
        await opened(folder)
    await copying
    assert {file.name for file in folder.iterdir()} == {"rooms.db", "rooms.end"}
    (folder / "rooms.db").rename(folder / "rooms.part")
    with pytest.raises(StorageFailed, match="not finished"):
        await opened(folder)
    assert not (folder / "rooms.db").exists()


async def test_it_is_private(engine: SqliteEngine, folder: Path) -> None:
    await engine.back_up(folder)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert {file.name for file in folder.iterdir()} == {"rooms.db", "rooms.end"}


def test_a_piece_is_small() -> None:
    assert PAGES * PAGE <= 1 << 18
