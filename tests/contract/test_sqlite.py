"""What only an engine with a file can show: what is left after a crash, and who may open it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest

from nolag_broker.core.event import Event
from nolag_broker.core.turn import ScanAt, Turn
from nolag_broker.engine import appended
from nolag_broker.engine.base import DatabaseInUse, DatabaseTooNew, SequenceConflict, StorageFailed
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.engine.pace import Pace
from nolag_broker.engine.reading import finish
from nolag_broker.engine.sqlite import SqliteEngine
from nolag_broker.engine.statements import read_sql
from nolag_broker.engine.tables import SCHEMAS, VERSION, Tables
from nolag_broker.engine.trimming import SEQUENCE_BITS

CHILD = """
import asyncio, sys
from pathlib import Path
from nolag_broker.core.event import Event
from nolag_broker.core.turn import ScanAt, Turn
from nolag_broker.engine import appended
from nolag_broker.engine.sqlite import SqliteEngine

appended.MANY, appended.AT_ONCE = 8, 3

async def main():
    engine = SqliteEngine(Path(sys.argv[1]))
    await engine.open()
    await engine.create("r", "epoch")
    last = (await engine.rooms())["r"]
    while True:
        turn = Turn(last, [Event(last + 1, "t", 0.0, "a", {})], {"count": b"%d" % (last + 1)}, {f"k/{last + 1}": b"v"})
        assert await engine.commit([("r", turn)]) == [None]
        last += 1
        print(last, flush=True)

asyncio.run(main())
"""


def start_child(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE)


def turn(last: int) -> Turn:
    return Turn(last, [Event(last + 1, "t", 0.0, "a", {}, body=b"x")], caught_up=True)


async def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    """Several times over the same file: every acknowledged commit is whole, and the log has no hole."""
    acknowledged = 0
    for _ in range(5):
        child = start_child(tmp_path)
        assert child.stdout is not None
        for _ in range(20):
            acknowledged = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split()
        acknowledged = max([acknowledged, *map(int, rest[:-1])])  # the last line may have been cut
        child.stdout.close()
        child.wait()

        engine = SqliteEngine(tmp_path)
        await engine.open()
        image = await engine.load("r")
        events = await engine.events("r", 0, 100_000, 1 << 30)
        records = await engine.scan("r", ScanAt("k/", limit=100_000))
        await engine.close()
        assert image is not None
        assert image.sequence >= acknowledged
        assert [event.seq for event in events] == list(range(1, image.sequence + 1))
        assert image.heads == {"count": b"%d" % image.sequence}
        assert len(records) == image.sequence


async def test_everything_is_there_after_a_close(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    await engine.create("empty", "other")
    for last in range(10):
        await engine.commit([("r", turn(last))])
    await engine.close()
    again = SqliteEngine(tmp_path)
    await again.open()
    assert await again.rooms() == {"r": 10, "empty": 0}
    assert [event.body for event in await again.events("r", 8, 10)] == [b"x", b"x"]
    assert await again.commit([("r", turn(10))]) == [None]
    await again.close()


async def test_a_second_process_is_told_what_to_do(tmp_path: Path) -> None:
    child = start_child(tmp_path)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(DatabaseInUse, match=r"in use by another broker.*--path"):
        await SqliteEngine(tmp_path).open()
    child.kill()
    child.stdout.close()
    child.wait()
    engine = SqliteEngine(tmp_path)  # the lock ends with the process
    await engine.open()
    await engine.close()


async def test_a_second_engine_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    with pytest.raises(DatabaseInUse):
        await SqliteEngine(tmp_path).open()
    await engine.close()


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.close()
    file = tmp_path / "rooms.db"
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(DatabaseTooNew, match=f"schema is {VERSION + 1}, this broker knows up to {VERSION}"):
        await SqliteEngine(tmp_path).open()
    assert file.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rooms.db").write_bytes(b"these are not the rows you are looking for" * 100)
    with pytest.raises(StorageFailed, match=r"rooms\.db"):
        await SqliteEngine(tmp_path).open()


@pytest.mark.parametrize("damage", ["other", "fewer", "none"])
async def test_a_damaged_row_is_an_error_and_not_other_events(tmp_path: Path, damage: str) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    await engine.commit([("r", Turn(0, [Event(seq, "t", 0.0, "a", {}, body=b"x") for seq in (1, 2, 3)]))])
    await engine.commit([("r", turn(3))])
    await engine.close()
    written, other = Event(1, "t", 0.0, "a", {}).encoded, Event(1, "t", 0.0, "a", {}, body=b"y").encoded
    row = {"other": other * 3, "fewer": written, "none": b"\xc1"}[damage]
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as file:
        assert file.execute("UPDATE log SET events = ? WHERE first = 1", (row,)).rowcount == 1
        file.commit()
    engine = SqliteEngine(tmp_path)
    await engine.open()
    try:
        with pytest.raises(StorageFailed, match=r"damaged: event \d of the room 'r'"):
            await asyncio.wait_for(engine.events("r", 0, 100), 10)
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE kv SET value = x'00' WHERE space = 0", "the row 'head' of the room 'r'"),
        ("UPDATE kv SET key = 'hear' WHERE space = 0", "the row 'hear' of the room 'r'"),
        ("UPDATE kv SET value = x'00' WHERE space = 1", "the record 'k/1' of the room 'r'"),
        ("UPDATE record SET value = x'00'", "the record 'k/2' of the room 'r'"),
        ("UPDATE record SET key = 'k/3'", "the record 'k/3' of the room 'r'"),
        ("UPDATE room SET epoch = 'other'", "the room 'r'"),
        ("UPDATE room SET name = 's'", "the room 's'"),
        ("UPDATE room SET folded = folded + 1", "the room 'r'"),
        ("DELETE FROM log WHERE first = 1", "event 1 of the room 'r'"),
        ("UPDATE log SET events = x'00' WHERE first = 2", "event 2 of the room 'r'"),
    ],
)
async def test_damage_is_named(tmp_path: Path, change: str, named: str) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    await engine.commit([("r", turn(0))])
    await engine.commit([("r", Turn(1, [Event(2, "t", 0.0, "a", {})], {"head": b"v"}, {"k/1": b"v"}, caught_up=True))])
    await engine.commit([("r", Turn(2, records={"k/2": b"v"}))])
    await engine.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as file:
        assert file.execute(change).rowcount == 1
        file.commit()
    engine = SqliteEngine(tmp_path)
    with pytest.raises(StorageFailed, match=f"damaged: {named}"):
        try:
            await engine.open()
            await engine.load("r")
            await engine.events("r", 0, 100)
            await engine.events("r", 2, 100)
            await engine.scan("r", ScanAt("k/"))
        finally:
            await engine.close()


async def test_an_older_copy_is_not_taken_for_the_database(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    await engine.commit([("r", turn(0))])
    await engine.close()
    file = tmp_path / "rooms.db"
    copy = file.read_bytes()
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.commit([("r", turn(1))])
    await engine.close()
    file.write_bytes(copy)
    with pytest.raises(StorageFailed, match=r"has lost 1 of 2 events.*remove .*rooms\.end"):
        await SqliteEngine(tmp_path).open()
    (tmp_path / "rooms.end").unlink()
    engine = SqliteEngine(tmp_path)
    await engine.open()
    assert await engine.rooms() == {"r": 1}
    await engine.close()


async def test_folder_and_file_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    engine = SqliteEngine(folder)
    await engine.open()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    await engine.close()


async def test_after_the_first_error_nothing_is_tried_again(tmp_path: Path) -> None:
    """A row that breaks a constraint stands for a disk that fails: half a transaction was written when it came."""
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    await engine.commit([("r", turn(0))])
    broken = turn(1)
    broken.events[0].seq = 1  # the row is there already
    with pytest.raises(StorageFailed):
        await engine.commit([("r", broken)])
    for call in (engine.commit([("r", turn(1))]), engine.rooms(), engine.events("r", 0, 1), engine.create("s", "e")):
        with pytest.raises(StorageFailed):
            await call
    await engine.close()
    again = SqliteEngine(tmp_path)
    await again.open()
    assert await again.rooms() == {"r": 1}
    await again.close()


async def test_a_commit_does_not_wait_for_a_long_read(tmp_path: Path) -> None:
    """Reads of hundreds of megabytes are under way, and commits come between their pieces."""
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    for last in range(40):
        await engine.commit([("r", Turn(last, [Event(last + 1, "t", 0.0, "a", {}, body=bytes(1 << 20))]))])
    reads = [asyncio.create_task(engine.events("r", 0, 1000, 1 << 30)) for _ in range(5)]
    await asyncio.sleep(0)
    commits = 0
    while not all(read.done() for read in reads):
        await engine.commit([("r", turn(40 + commits))])
        commits += 1
    assert commits > 5
    assert all(len(read.result()) >= 40 for read in reads)
    await engine.close()


async def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """Its log is whole, and what it takes is counted."""
    events = [Event(seq, "t", 0.0, "a", {}, body=bytes(1000)) for seq in range(1, 11)]
    connection = sqlite3.connect(tmp_path / "rooms.db")
    connection.executescript(read_sql(SCHEMAS[0]))
    connection.executemany("INSERT INTO room (id, name, epoch, last) VALUES (?, ?, 'e', 10)", [(1, "r"), (2, "s")])
    for id in (1, 2):
        rows = [(id << SEQUENCE_BITS | event.seq, event.seq, event.encoded) for event in events]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", rows)
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    for _ in range(2):
        engine = SqliteEngine(tmp_path)
        await engine.open()
        for room in ("r", "s"):
            image = await engine.load(room)
            assert image is not None
            assert (image.first_sequence, image.sequence) == (1, 10)
            assert await engine.floor(room, 3 * len(events[0].encoded)) == 8
        await engine.close()


async def test_what_a_trim_left_is_there_after_a_close(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "e")
    for last in range(10):
        assert await engine.commit([("r", turn(last))]) == [None]
    size = await engine.floor("r", 0)
    await engine.trim("r", 8, [2])
    await engine.close()
    engine = SqliteEngine(tmp_path)
    await engine.open()
    image = await engine.load("r")
    assert image is not None
    assert (image.first_sequence, image.sequence, size) == (8, 10, 11)
    assert set(await engine.bodies("r", range(1, 11))) == {2, 8, 9, 10}
    assert await engine.floor("r", len(turn(9).events[0].encoded)) == 10
    await engine.close()


async def test_what_a_log_takes_beyond_its_rows_is_counted_once(tmp_path: Path) -> None:
    """Through closes, whenever rows were written."""
    size = len(turn(0).events[0].encoded)
    for last, caught_up in enumerate((False, True, False, False, True, False)):
        engine = SqliteEngine(tmp_path)
        await engine.open()
        if not last:
            await engine.create("r", "e")
        assert await engine.commit([("r", replace(turn(last), caught_up=caught_up))]) == [None]
        image = await engine.load("r")
        assert image is not None
        assert (image.sequence, image.folded) == (last + 1, last + 1 if caught_up else 2 * (last > 1) + 3 * (last > 4))
        assert await engine.floor("r", last * size) == 2
        assert await engine.floor("r", (last + 1) * size) == 1
        await engine.close()


async def test_records_are_read_at_once_while_nothing_else_is_done(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    assert engine.records_at_once("r", ["k/1"]) is None  # not open
    await engine.open()
    await engine.create("r", "epoch")
    first = Turn(0, [Event(1, "t", 0.0, "a", {})], records={"k/1": b"one", "k/2": b"two"})
    assert await engine.commit([("r", first)]) == [None]
    assert engine.records_at_once("r", ["k/1", "k/none", "k/2"]) == {"k/1": b"one", "k/2": b"two"}
    assert engine.records_at_once("r", [f"k/{n}" for n in range(1000)]) is None  # that would take long
    assert engine.records_at_once("unknown", ["k/1"]) == {}
    assert engine.scan_at_once("r", ScanAt("k/", reverse=True, limit=1)) == [("k/2", b"two")]
    assert engine.scan_at_once("r", ScanAt("other/")) == []

    second = asyncio.ensure_future(engine.commit([("r", Turn(1, [Event(2, "t", 0.0, "a", {})], records={"k/1": b"new"}))]))
    await asyncio.sleep(0)  # it is handed over
    assert engine.records_at_once("r", ["k/1"]) is None
    assert engine.scan_at_once("r", ScanAt("k/")) is None
    assert await second == [None]
    assert engine.records_at_once("r", ["k/1"]) == {"k/1": b"new"}
    many: dict[str, bytes | None] = {f"m/{n:03}": b"x" for n in range(200)}
    assert await engine.commit([("r", Turn(2, [Event(3, "t", 0.0, "a", {})], records=many))]) == [None]
    assert engine.scan_at_once("r", ScanAt("m/", limit=200)) is None  # more than one piece
    assert len(await engine.scan("r", ScanAt("m/", limit=200))) == 200
    await engine.close()
    assert engine.records_at_once("r", ["k/1"]) is None


async def test_a_small_commit_is_made_at_once_where_nothing_else_is_done(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    assert engine.commit_at_once([("r", turn(0))]) is None  # not open
    await engine.open()
    await engine.create("r", "epoch")
    stored, refused = engine.commit_at_once([("r", turn(0)), ("unknown", turn(0))]) or []
    assert (stored, type(refused)) == (None, SequenceConflict)

    engine._pace = Pace()
    reading = asyncio.ensure_future(engine.rooms())
    await asyncio.sleep(0)  # it is handed over
    assert engine.commit_at_once([("r", turn(1))]) is None
    assert await reading == {"r": 1}
    engine._pace.took(1.0, perf_counter())  # a slow disk
    assert engine.commit_at_once([("r", turn(1))]) is None
    assert await engine.commit([("r", turn(1))]) == [None]
    await engine.close()
    assert engine.commit_at_once([("r", turn(2))]) is None

    again = SqliteEngine(tmp_path)
    await again.open()
    assert await again.rooms() == {"r": 2}
    await again.close()


EVENT = Event(1, "t", 0.0, "a", {})
LONG = Event(1, "t", 0.0, "a", {"text": "x" * 300_000})
NOT_SMALL = {
    "many events": [Turn(0, [Event(1 + n, "t", 0.0, "a", {}) for n in range(300)])],
    "a long event": [Turn(0, [LONG])],
    "long rows": [Turn(0, [EVENT], heads={f"h/{n}": bytes(60_000) for n in range(5)})],
    "long records": [Turn(0, [EVENT], records={f"k/{n}": bytes(60_000) for n in range(5)})],
    "many rows that go": [Turn(0, [EVENT], records={f"k/{n}": None for n in range(20)})],
    "a range of rows that goes": [Turn(0, [EVENT], deleted_prefixes=["k/"])],
    "many rooms": [Turn(0, caught_up=True) for _ in range(100)],
}


@pytest.mark.parametrize("what", NOT_SMALL)
async def test_what_may_take_long_is_not_committed_at_once(tmp_path: Path, what: str) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    turns = [(f"r{number}", each) for number, each in enumerate(NOT_SMALL[what])]
    for room, _ in turns:
        await engine.create(room, "epoch")
    assert engine.commit_at_once(turns) is None
    assert await engine.commit(turns) == [None] * len(turns)
    await engine.close()


async def test_the_write_ahead_log_is_copied_back_after_a_commit_was_answered(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    for last in range(30):
        assert await engine.commit([("r", Turn(last, [Event(last + 1, "t", 0.0, "a", {}, body=bytes(100_000))]))]) == [None]
    await engine.rooms()  # behind what is to be copied
    assert (tmp_path / "rooms.db").stat().st_size > 1 << 20
    assert (tmp_path / "rooms.db-wal").stat().st_size < 3 << 20
    await engine.close()


async def test_a_commit_that_fails_at_once_is_the_last_one(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    assert await engine.commit([("r", turn(0))]) == [None]
    broken = turn(1)
    broken.events[0].seq = 1  # the row is there already
    with pytest.raises(StorageFailed):
        engine.commit_at_once([("r", broken)])
    engine._pace = Pace()
    assert engine.commit_at_once([("r", turn(1))]) is None
    for call in (engine.commit([("r", turn(1))]), engine.rooms()):
        with pytest.raises(StorageFailed):
            await call
    await engine.close()


async def test_a_damaged_record_is_not_read_at_once_and_stops_the_engine(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "epoch")
    assert await engine.commit([("r", Turn(0, [Event(1, "t", 0.0, "a", {})], records={"k/1": b"one"}))]) == [None]
    await engine.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as sql:
        assert sql.execute("UPDATE record SET value = ? WHERE key = 'k/1'", (b"two",)).rowcount == 1
        sql.commit()
    again = SqliteEngine(tmp_path)
    await again.open()
    assert again.records_at_once("r", ["k/1"]) is None
    with pytest.raises(StorageFailed):
        await again.records("r", ["k/1"])
    await again.close()


@pytest.mark.parametrize("seed", range(5))
async def test_where_a_record_lies_makes_no_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int) -> None:
    """Appended, filed, in its row, replaced in another place, half of it at the time of a crash: as in an engine that has one place."""
    chance = random.Random(seed)
    monkeypatch.setattr(appended, "MANY", 4 + seed * 2)
    monkeypatch.setattr(appended, "AT_ONCE", 2 + seed)
    keys = ["a/", "a/1", "a/1/x", "a/2", "b/1", "b/2", "b/3"]
    engine, plain = SqliteEngine(tmp_path), MemoryEngine()
    for each in (engine, plain):
        await each.open()
        await each.create("r", "e")
        await each.create("s", "e")
    for number in range(60):
        if chance.random() < 0.1:
            await engine.close()
            engine = SqliteEngine(tmp_path)
            await engine.open()
        if chance.random() < 0.1:
            for each in (engine, plain):
                await each.sweep("r", "a/1")
        records = {key: None if chance.random() < 0.3 else b"%d" % number for key in chance.sample(keys, chance.randrange(4))}
        prefixes = ["a/"] if chance.random() < 0.1 else []
        turn = Turn(0, records=dict(records), deleted_prefixes=prefixes, caught_up=chance.random() < 0.3)
        for each in (engine, plain):
            assert await each.commit([(room, replace(turn)) for room in ("r", "s")]) == [None, None]
        for scan in (ScanAt(""), ScanAt("a/", reverse=True, limit=2), ScanAt("b/", after="b/1", limit=1), ScanAt("", bodies=False)):
            assert await engine.scan("r", scan) == await plain.scan("r", scan)
        assert await engine.scan("r", ScanAt(""), max_bytes=3) == await plain.scan("r", ScanAt(""), max_bytes=3)
        assert await engine.records("s", keys) == await plain.records("s", keys)
    await engine.close()
    engine = SqliteEngine(tmp_path)  # which files the last of them
    await engine.open()
    await engine.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as file:
        (lost,) = file.execute("SELECT count(*) FROM record WHERE id NOT IN (SELECT at FROM kv WHERE at IS NOT NULL)").fetchone()
    assert lost == 0  # no row that no key leads to


async def test_a_long_scan_goes_on_where_records_are_filed_meanwhile(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "e")
    await engine.create("s", "e")
    expected: dict[str, bytes | None] = {f"k/{n:04}": bytes(2000) for n in range(appended.MANY - 1)}
    assert await engine.commit([("r", Turn(0, records=expected))]) == [None]
    scanning = asyncio.ensure_future(engine.scan("r", ScanAt("k/", limit=2000)))
    for number in range(12):  # of another room, and the first of them makes it too many
        assert await engine.commit([("s", Turn(0, records={f"k/{number}": b"x"}))]) == [None]
    assert dict(await scanning) == expected
    assert dict(await engine.scan("r", ScanAt("k/", limit=2000))) == expected
    await engine.close()


def test_a_sweep_leaves_nothing_that_is_filed_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(appended, "MANY", 4)
    monkeypatch.setattr(appended, "AT_ONCE", 1)
    tables = Tables(tmp_path / "rooms.db")
    tables.create("r", "e")
    tables.commit([("r", Turn(0, records={f"old/b/{n:04}": b"x" for n in range(600)}, caught_up=True), [])])
    tables.commit([("r", Turn(0, records={"old/a": b"x", "z/1": b"", "z/2": b""}), [])])
    sweeping = tables.sweep("r", "old/")
    for _ in range(2):
        next(sweeping)
    tables.commit([("r", Turn(0, records={"z/3": b""}), [])])  # files what comes first
    for _ in sweeping:
        pass
    assert [key for key, _ in finish(tables.reads.scan("r", ScanAt(""), 1 << 20))] == ["z/1", "z/2", "z/3"]
    tables.close()


async def test_however_much_comes_little_is_not_filed(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    await engine.create("r", "e")
    for number in range(20):
        assert await engine.commit([("r", Turn(0, records={f"k/{number}/{n}": b"x" for n in range(500)}))]) == [None]
    await engine.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "rooms.db")) as file:
        (loose,) = file.execute("SELECT count(*) FROM record WHERE id NOT IN (SELECT at FROM kv WHERE at IS NOT NULL)").fetchone()
    assert loose < 2 * appended.MANY


async def test_what_is_asked_while_it_closes_is_refused(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.open()
    closing, asked = asyncio.create_task(engine.close()), asyncio.create_task(engine.rooms())
    async with asyncio.timeout(10):
        with pytest.raises(StorageFailed, match="closed"):
            await asked
        await closing
