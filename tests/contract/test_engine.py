"""What every engine promises (the docstring of `Engine`), on each of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nolag_broker.core.event import Event
from nolag_broker.core.turn import ScanAt, Turn
from nolag_broker.engine.base import Engine, SequenceConflict, StorageFailed
from nolag_broker.engine.memory import MemoryEngine
from nolag_broker.engine.sqlite import SqliteEngine

ENGINES: dict[str, Callable[[Path], Engine]] = {"memory": lambda folder: MemoryEngine(), "sqlite": SqliteEngine}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = ENGINES[request.param](tmp_path)
    await engine.open()
    await engine.create("r", "epoch-1")
    yield engine
    await engine.close()


def turn(expected: int, count: int = 0, *, body: bytes | None = b"body", **rows: object) -> Turn:
    events = [Event(expected + n, "test.happened", 1000.0 + n, "ana", {"n": n}, body=body) for n in range(1, count + 1)]
    return Turn(expected, events, **{"caught_up": True, **rows})  # type: ignore[arg-type]


async def commit(engine: Engine, room: str, turn: Turn) -> None:
    assert await engine.commit([(room, turn)]) == [None]


async def heads(engine: Engine, room: str = "r") -> dict[str, bytes]:
    image = await engine.load(room)
    assert image is not None
    return image.heads


async def test_a_room_is_absent_until_created_and_created_once(engine: Engine) -> None:
    assert await engine.load("other") is None
    await engine.create("other", "epoch-a")
    await engine.create("other", "epoch-b")
    image = await engine.load("other")
    assert image is not None
    assert (image.name, image.epoch, image.sequence, image.first_sequence, image.heads) == ("other", "epoch-a", 0, 1, {})
    assert await engine.rooms() == {"r": 0, "other": 0}


async def test_rooms_with_a_kind_of_head_are_found_and_those_whose_rows_are_behind(engine: Engine) -> None:
    for room in ("with", "without", "behind"):
        await engine.create(room, "epoch")
    for room, key in (("with", "kind/a"), ("without", "kinda")):
        await commit(engine, room, turn(0, heads={key: b"1"}))
    await commit(engine, "behind", turn(0, 1, caught_up=False))
    assert sorted(await engine.rooms_with("kind/")) == ["behind", "with"]
    await commit(engine, "behind", turn(1))
    await commit(engine, "with", turn(0, heads={"kind/a": None}))
    assert await engine.rooms_with("kind/") == []


async def test_events_come_back_as_they_were(engine: Engine) -> None:
    full = Event(1, "note.taken", 12.5, "ana", {"a": [1, None]}, subject="tea", body=b"\x00\xff", ct="text", parent=7, id="m1")
    bare = Event(2, "note.taken", 13.5, "bob", {})
    await commit(engine, "r", Turn(0, [full, bare]))
    found = await engine.events("r", 0, 10)
    assert [event.to_wire() for event in found] == [full.to_wire(), bare.to_wire()]
    assert [event.encoded for event in found] == [full.encoded, bare.encoded]
    assert await engine.bodies("r", [1, 2, 3]) == {1: (b"\x00\xff", "text"), 2: (None, None)}


async def test_events_can_be_read_from_any_sequence_over_any_batches(engine: Engine) -> None:
    for last in range(0, 30, 3):
        await commit(engine, "r", turn(last, 3))
    for after in range(31):
        found = await engine.events("r", after, 7)
        assert [event.seq for event in found] == list(range(after + 1, min(after + 7, 30) + 1))
    assert await engine.bodies("r", [30, 1, 17, 0, 31]) == dict.fromkeys((1, 17, 30), (b"body", None))


async def test_a_batch_larger_than_a_row_is_read_whole(engine: Engine) -> None:
    await commit(engine, "r", turn(0, 40, body=bytes(20_000)))  # 800 kB: several rows of the log
    await commit(engine, "r", turn(40, 1, body=bytes(1 << 20)))  # larger than a row may be, alone
    await commit(engine, "r", turn(41, 1))
    assert [event.seq for event in await engine.events("r", 0, 100, max_bytes=1 << 30)] == list(range(1, 43))
    assert len((await engine.bodies("r", [41]))[41][0] or b"") == 1 << 20
    assert len(await engine.bodies("r", list(range(1, 41)))) == 40
    assert list(await engine.bodies("r", [30, 41, 2, 7, 1], max_bytes=(1 << 20) + 30_000)) == [30, 41, 2]
    assert list(await engine.bodies("r", [41, 2], max_bytes=1)) == [41]


async def test_reading_stops_at_the_bytes_asked_for_but_gives_one(engine: Engine) -> None:
    await commit(engine, "r", turn(0, 10, body=bytes(1000)))
    assert len(await engine.events("r", 0, 10, max_bytes=1)) == 1
    assert len(await engine.events("r", 0, 10, max_bytes=2500)) == 3


async def test_heads_come_back_at_recovery_and_records_do_not(engine: Engine) -> None:
    await commit(engine, "r", turn(0, 1, heads={"a": b"1", "b": b"2"}, records={"k": b"v"}))
    await commit(engine, "r", turn(1, 1, heads={"a": None, "b": b"3", "c": b"4", "never": None}))
    assert await heads(engine) == {"b": b"3", "c": b"4"}
    assert await engine.records("r", ["k", "b", "absent"]) == {"k": b"v"}
    await engine.create("r2", "epoch")
    await commit(engine, "r2", turn(0, 1, records={"a": b"12", "b": b"34", "c": b"56"}))
    assert list(await engine.records("r2", ["c", "absent", "a", "b"], max_bytes=4)) == ["c", "a"]


async def test_a_turn_needs_no_events(engine: Engine) -> None:
    await commit(engine, "r", turn(0, heads={"a": b"1"}, records={"k": b"v"}))
    assert (await engine.rooms())["r"] == 0
    assert await heads(engine) == {"a": b"1"}


async def test_prefixes_go_before_records_are_put(engine: Engine) -> None:
    await commit(engine, "r", turn(0, records={f"p/{n}": b"old" for n in range(100)} | {"p0": b"kept", "o": b"kept"}))
    await commit(engine, "r", turn(0, records={"p/5": b"new"}, deleted_prefixes=["p/", "nothing/"]))
    assert await engine.scan("r", ScanAt("")) == [("o", b"kept"), ("p/5", b"new"), ("p0", b"kept")]


async def test_rooms_do_not_see_each_other(engine: Engine) -> None:
    await engine.create("s", "epoch-s")
    await commit(engine, "r", turn(0, 2, heads={"a": b"r"}, records={"k": b"r"}))
    await commit(engine, "s", turn(0, 1, heads={"a": b"s"}, records={"k": b"s", "l": b"s"}, deleted_prefixes=[""]))
    assert [await heads(engine, room) for room in "rs"] == [{"a": b"r"}, {"a": b"s"}]
    assert [await engine.scan(room, ScanAt("")) for room in "rs"] == [[("k", b"r")], [("k", b"s"), ("l", b"s")]]
    assert [len(await engine.events(room, 0, 10)) for room in "rs"] == [2, 1]
    assert await engine.events("s", 1, 10) == []


async def test_an_image_says_what_its_rows_are_the_fold_of(engine: Engine) -> None:
    for events, caught_up, folded in ((2, False, 0), (1, True, 3), (2, False, 3), (0, True, 5)):
        last = (await engine.rooms())["r"]
        await commit(engine, "r", turn(last, events, caught_up=caught_up))
        image = await engine.load("r")
        assert image is not None
        assert (image.sequence, image.folded) == (last + events, folded)


async def test_a_trim_leaves_what_the_rows_are_not_the_fold_of(engine: Engine) -> None:
    await commit(engine, "r", turn(0, 3))
    await commit(engine, "r", turn(3, 3, caught_up=False))
    await engine.trim("r", 6, [])
    assert [event.seq for event in await engine.events("r", 0, 10)] == [4, 5, 6]


async def test_a_sweep_takes_what_begins_with_its_prefix(engine: Engine) -> None:
    old = {f"kept/1/{n:04}": b"old" for n in range(1000)}
    rest = {"kept/1": b"a", "kept/10/x": b"b", "kept/2/x": b"c"}
    await engine.create("s", "epoch-s")
    await commit(engine, "r", turn(0, records={**old, **rest}))
    await commit(engine, "s", turn(0, records=old))
    sweeping = asyncio.ensure_future(engine.sweep("r", "kept/1/"))
    await commit(engine, "r", turn(0, 1))
    await sweeping
    await engine.sweep("r", "kept/1/")
    await engine.sweep("r", "nothing/")
    assert dict(await engine.scan("r", ScanAt("", limit=2000))) == rest
    assert len(await engine.scan("s", ScanAt("", limit=2000))) == len(old)


async def test_a_turn_on_the_wrong_sequence_changes_nothing_and_others_are_stored(engine: Engine) -> None:
    await engine.create("s", "epoch-s")
    await commit(engine, "r", turn(0, 2))
    stale = turn(1, 1, heads={"a": b"1"}, records={"k": b"1"}, deleted_prefixes=[""])
    ahead = turn(3, 1, heads={"b": b"1"})
    for wrong in (stale, ahead):
        first, second = await engine.commit([("r", wrong), ("s", turn((await engine.rooms())["s"], 1))])
        assert isinstance(first, SequenceConflict)
        assert second is None
    assert await engine.rooms() == {"r": 2, "s": 2}
    assert await heads(engine) == {}
    assert await engine.scan("r", ScanAt("")) == []


async def test_a_turn_for_an_unknown_room_is_a_conflict(engine: Engine) -> None:
    assert isinstance((await engine.commit([("nowhere", turn(0, 1))]))[0], SequenceConflict)


async def test_reads_of_unknown_rooms_are_empty(engine: Engine) -> None:
    assert await engine.events("nowhere", 0, 10) == []
    assert await engine.bodies("nowhere", [1]) == {}
    assert await engine.records("nowhere", ["k"]) == {}
    assert await engine.scan("nowhere", ScanAt("")) == []


async def test_a_trimmed_log_begins_at_its_floor(engine: Engine) -> None:
    await engine.create("s", "epoch-s")
    await commit(engine, "s", turn(0, 3))
    for last in range(0, 30, 3):
        await commit(engine, "r", turn(last, 3))
    for floor in (1, 4, 8, 8, 5, 31):  # none, a whole row, within a row, again, below, all of it
        await engine.trim("r", floor, [])
        image = await engine.load("r")
        assert image is not None
        begins = max(8, floor) if floor > 4 else floor
        assert (image.first_sequence, image.sequence) == (begins, 30)
        assert [event.seq for event in await engine.events("r", begins - 1, 100)] == list(range(begins, 31))
        assert [event.seq for event in await engine.events("r", 0, 100)] == list(range(begins, 31))
        assert await engine.bodies("r", list(range(32))) == dict.fromkeys(range(begins, 31), (b"body", None))
    await commit(engine, "r", turn(30, 2))
    assert [event.seq for event in await engine.events("r", 30, 100)] == [31, 32]
    assert len(await engine.events("s", 0, 10)) == 3


async def test_a_floor_beyond_the_end_is_the_end(engine: Engine) -> None:
    await commit(engine, "r", turn(0, 3))
    await engine.trim("r", 100, [])
    await commit(engine, "r", turn(3, 1))
    image = await engine.load("r")
    assert image is not None
    assert (image.first_sequence, image.sequence) == (4, 4)


async def test_what_is_pinned_outlives_trims_until_it_is_not(engine: Engine) -> None:
    for last in range(0, 30, 3):
        await commit(engine, "r", turn(last, 3))
    steps = [(11, [1, 4, 5, 6, 10]), (20, [4, 6, 10, 12, 19, 25]), (20, [6, 12, 19]), (31, [12, 30]), (31, [])]
    for floor, pinned in steps:
        await engine.trim("r", floor, pinned)
        below = {seq for seq in pinned if seq < floor}
        assert set(await engine.bodies("r", range(1, 31))) == below | set(range(floor, 31))
        for seq in pinned:
            assert [event.seq for event in await engine.events("r", seq - 1, 1)] == [seq]


async def test_the_floor_for_so_many_bytes(engine: Engine) -> None:
    for last in range(20):
        await commit(engine, "r", turn(last, 1, body=bytes(10_000)))
    assert await engine.floor("r", 1 << 30) == 1
    assert await engine.floor("r", 0) == 21
    floor = await engine.floor("r", 55_000)
    assert floor == 16  # five of them, and what they take beside their bodies
    await engine.trim("r", floor, [3, 4])  # what is pinned does not count
    assert await engine.floor("r", 55_000) == 16
    assert await engine.floor("r", 35_000) == 18


async def test_events_are_read_while_the_log_is_trimmed(engine: Engine) -> None:
    """A read goes past none of those that are kept, and commits go on."""
    for last in range(0, 400, 4):
        await commit(engine, "r", turn(last, 4, body=bytes(10_000)))

    async def read() -> list[int]:
        return [event.seq for event in await engine.events("r", 300, 100, max_bytes=1 << 30)]

    async def write() -> None:
        for last in range(400, 420):
            await commit(engine, "r", turn(last, 1))

    _, found, _ = await asyncio.gather(engine.trim("r", 301, list(range(1, 301, 7))), read(), write())
    assert found == list(range(301, 401))
    assert set(await engine.bodies("r", range(1, 421))) == set(range(1, 301, 7)) | set(range(301, 421))


KEYS = st.text(alphabet=st.sampled_from("ab/\0\u00e9\ud7ff\ue000\uffff\U0001f600\U0010ffff"), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.sets(KEYS, max_size=20),
    prefix=KEYS | st.just(""),
    after=st.none() | KEYS,
    before=st.none() | KEYS,
    reverse=st.booleans(),
    limit=st.integers(1, 12),
)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_scans_equal_the_obvious(
    engine_name: str,
    tmp_path_factory: pytest.TempPathFactory,
    keys: set[str],
    prefix: str,
    after: str | None,
    before: str | None,
    reverse: bool,
    limit: int,
) -> None:
    expected = sorted(
        (
            key
            for key in keys
            if key.startswith(prefix)
            and (after is None or key.encode() > after.encode())
            and (before is None or key.encode() < before.encode())
        ),
        key=str.encode,
        reverse=reverse,
    )[:limit]

    async def run() -> None:
        engine = ENGINES[engine_name](tmp_path_factory.mktemp("scan"))
        await engine.open()
        await engine.create("r", "e")
        await commit(engine, "r", turn(0, records={key: key.encode() for key in keys}))
        found = await engine.scan("r", ScanAt(prefix, after=after, before=before, reverse=reverse, limit=limit))
        bare = await engine.scan("r", ScanAt(prefix, after=after, before=before, reverse=reverse, limit=limit, bodies=False))
        await commit(engine, "r", turn(0, deleted_prefixes=[prefix]))
        left = await engine.scan("r", ScanAt(""))
        await engine.close()
        assert found == [(key, key.encode()) for key in expected]
        assert bare == [(key, None) for key in expected]
        assert {key for key, _ in left} == {key for key in keys if not key.startswith(prefix)}

    asyncio.run(run())


@pytest.mark.parametrize("reverse", [False, True])
async def test_long_scans_come_in_order_and_stop_at_the_bytes_asked_for(engine: Engine, reverse: bool) -> None:
    keys = [f"k/{n:04}" for n in range(300)]
    await commit(engine, "r", turn(0, records=dict.fromkeys(keys, bytes(1000))))
    ordered = keys[::-1] if reverse else keys
    assert [key for key, _ in await engine.scan("r", ScanAt("k/", limit=250, reverse=reverse))] == ordered[:250]
    assert [key for key, _ in await engine.scan("r", ScanAt("k/", limit=1000, reverse=reverse))] == ordered
    assert [key for key, _ in await engine.scan("r", ScanAt("k/", limit=300, reverse=reverse), max_bytes=9500)] == ordered[:10]
    assert len(await engine.scan("r", ScanAt("k/", reverse=reverse), max_bytes=1)) == 1


async def test_reads_beside_commits_never_see_half_of_a_turn(engine: Engine) -> None:
    """Every turn writes the same number into all records, and more of them than one piece of a read takes."""
    keys = [f"k/{n:04}" for n in range(200)]
    size = 8_000
    await commit(engine, "r", turn(0, records=dict.fromkeys(keys, bytes(size))))

    async def write() -> None:
        for number in itertools.count(1):
            await commit(engine, "r", turn(number - 1, 1, records=dict.fromkeys(keys, bytes([number % 256]) * size)))
            await asyncio.sleep(0)  # the memory engine never gives way

    async def read() -> None:
        seen: set[int] = set()
        while len(seen) < 5:
            scanned = {value[0] for _, value in await engine.scan("r", ScanAt("k/", limit=200), max_bytes=1 << 30) if value is not None}
            assert len(scanned) == 1
            assert len({value[0] for value in (await engine.records("r", keys)).values()}) == 1
            seen |= scanned
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    async with asyncio.timeout(60):
        await read()
    assert not writer.done()
    writer.cancel()
    await asyncio.wait([writer])


async def test_a_read_that_began_after_a_commit_sees_it(engine: Engine) -> None:
    async def round_trip(number: int) -> None:
        room = f"room-{number}"
        await engine.create(room, "e")
        for step in range(10):
            await commit(engine, room, turn(step, 1, records={"k": bytes([step])}))
            assert await engine.records(room, ["k"]) == {"k": bytes([step])}
            assert [event.seq for event in await engine.events(room, step, 10)] == [step + 1]

    await asyncio.gather(*(round_trip(number) for number in range(10)))


async def test_one_commit_takes_many_rooms(engine: Engine) -> None:
    rooms = [f"room-{n}" for n in range(150)]
    for room in rooms:
        await engine.create(room, "e")
    for step in range(3):
        assert await engine.commit([(room, turn(step, 1, heads={"a": bytes([step])})) for room in rooms]) == [None] * 150
    assert all(last == 3 for name, last in (await engine.rooms()).items() if name != "r")
    assert await heads(engine, "room-149") == {"a": b"\x02"}


async def test_a_closed_engine_says_so(engine: Engine) -> None:
    await engine.close()
    for call in (
        engine.rooms(),
        engine.load("r"),
        engine.create("s", "e"),
        engine.commit([]),
        engine.scan("r", ScanAt("")),
        engine.events("r", 0, 1),
    ):
        with pytest.raises(StorageFailed):
            await call
