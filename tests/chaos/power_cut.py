"""Row 2: the power goes. What the broker wrote is recorded, and the database opened from what a disk may hold at any moment of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from nolag_broker.engine.base import StorageFailed
from nolag_broker.engine.blobs import BlobDamaged
from nolag_broker.engine.reading import finish
from nolag_broker.engine.tables import Tables
from nolag_broker.wire.blobs import BLOB, PIECE, Reference

from . import shim
from .processes import PROGRAM, ROOM, Broker, joined
from .shim import Entry
from .trial import Row, Trial

CAREFUL = PROGRAM
CARELESS = (sys.executable, str(Path(__file__).with_name("careless_broker.py")))
CLIENTS = 4
SECTOR = 512  # bytes that are written whole or not at all
CONTROL_CUTS = 20
LARGE = 50  # every so many bodies a large one
EVENTS = 2_000  # enough that the write-ahead log is moved into the database, and begun anew

Acknowledged = list[tuple[int, int]]  # bytes of the record when an answer came, and the sequence that it named


class Disk:
    """What is certainly on the disk, and what is written and not synced: of that, a power cut leaves any part."""

    def __init__(self) -> None:
        self._synced: dict[str, bytearray] = {"d": bytearray()}
        self._pending: dict[str, list[Entry]] = {}

    def done(self, entry: Entry) -> None:
        if entry.kind == "u":
            self._synced.pop(entry.file, None)
            self._pending.pop(entry.file, None)
            return
        content = self._synced.setdefault(entry.file, bytearray())
        if entry.kind == "s":
            for earlier in self._pending.pop(entry.file, []):
                _apply(content, earlier, earlier.data)
        else:
            self._pending.setdefault(entry.file, []).append(entry)

    def after_a_cut(self, chance: random.Random) -> Iterator[tuple[str, bytes]]:
        for file, synced in self._synced.items():
            content = bytearray(synced)
            share = chance.choice((0.0, 0.5, 0.9, 1.0))
            for entry in self._pending.get(file, []):
                if chance.random() < share:
                    whole = chance.random() < 0.5
                    _apply(content, entry, entry.data if whole else entry.data[: chance.randrange(len(entry.data) + 1) // SECTOR * SECTOR])
            yield file, bytes(content)


def _apply(content: bytearray, entry: Entry, data: bytes) -> None:
    if entry.kind == "t":
        del content[entry.at :]
    end = entry.at + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[entry.at : end] = data


async def power_cuts(trial: Trial) -> None:
    events = trial.aim.get("events", EVENTS)
    careful = await _cut(trial, CAREFUL, trial.aim["cuts"], events)
    trial.violations += careful
    trial.done["cuts"] = trial.aim["cuts"]
    careless = await _cut(trial, CARELESS, CONTROL_CUTS, events // 4)
    trial.check(bool(careless), "the control, which does not sync its commits, lost nothing: this shows nothing")
    trial.done["losses of the control without sync"] = len(careless)


async def _cut(trial: Trial, program: tuple[str, ...], cuts: int, events: int) -> list[str]:
    folder = trial.folder / ("careful" if program is CAREFUL else "careless")
    record, acknowledged = await _recorded(trial, folder, program, events)
    if program is CAREFUL:
        trial.done["events"] += len(acknowledged)
    # In memory where there is one: thousands of databases are written and opened.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        return await asyncio.to_thread(_replay, record, acknowledged, cuts, trial.chance, Path(scratch))


async def _recorded(trial: Trial, folder: Path, program: tuple[str, ...], events: int) -> tuple[Path, Acknowledged]:
    """Bodies of some kilobytes, and some that are stored piece by piece, from several clients; killed at the end."""
    acknowledged: Acknowledged = []
    record = folder / "record"
    broker = Broker(folder, program=program)
    broker.environment = {
        "LD_PRELOAD": shim.build(trial.folder),
        "NOLAG_SHIM_FILE": str(broker.data.resolve() / "rooms.db"),
        "NOLAG_SHIM_RECORD": str(record),
    }

    async def write(client: int) -> None:
        async with joined(broker) as room:
            for number in range(events // CLIENTS):
                size = trial.chance.randrange(16, 16_000) if number % LARGE else trial.chance.randrange(70_000, 3 * PIECE)
                body = f"{client} {number} ".encode().ljust(size, b"x")
                sequence = await room.observe.emit("load.event", body)
                # The answer came after its commit, so the record holds it by now; to look later asks for no more than was promised.
                acknowledged.append((record.stat().st_size, sequence))

    with broker:
        async with asyncio.TaskGroup() as group:
            for client in range(CLIENTS):
                group.create_task(write(client))
    return record, acknowledged


def _replay(record: Path, acknowledged: Acknowledged, cuts: int, chance: random.Random, scratch: Path) -> list[str]:
    violations: list[str] = []
    entries = list(shim.entries(record))
    points = sorted(chance.choices(range(len(entries)), k=cuts))
    acknowledged = sorted(acknowledged)
    sizes = [size for size, _ in acknowledged]
    promised = [0, *accumulate((sequence for _, sequence in acknowledged), max)]
    at = 0
    disk = Disk()
    for point in points:
        for entry in entries[at : point + 1]:
            disk.done(entry)
        at = point + 1
        least = promised[bisect_right(sizes, entries[point].end)]
        folder = scratch / "data"
        folder.mkdir()
        for file, content in disk.after_a_cut(chance):
            (folder / {"d": "rooms.db", "w": "rooms.db-wal", "j": "rooms.db-journal"}[file]).write_bytes(content)
        violations += [f"cut at {point} of {len(entries)}: {wrong}" for wrong in _wrong(folder / "rooms.db", least)]
        shutil.rmtree(folder)
    return violations


def _wrong(file: Path, promised: int) -> list[str]:
    try:
        tables = Tables(file)
    except StorageFailed as error:
        return [f"does not open: {error}"]
    with contextlib.closing(tables):
        (sound,) = tables._sql.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            return [f"integrity check: {sound}"]
        last = tables.reads.rooms().get(ROOM, 0)
        if last < promised:
            return [f"event {promised} was acknowledged, the log ends at {last}"]
        after = 0
        while found := finish(tables.reads.events(ROOM, after, 10_000, 1 << 22)):
            if [event.seq for event in found] != list(range(after + 1, after + len(found) + 1)):
                return [f"a hole after event {after}"]
            after = found[-1].seq
            if lost := [event.seq for event in found if event.ct == BLOB and not _is_whole(tables, event.body or b"")]:
                return [f"the large value of event {lost[0]} is lost"]
        return [] if after == last else [f"the log says that it ends at {last}, and ends at {after}"]


def _is_whole(tables: Tables, body: bytes) -> bool:
    reference = Reference.from_body(body)
    numbers = range(-(-reference.size // PIECE))
    try:
        pieces = [finish(tables.blobs.piece(ROOM, reference.hash, number)) or b"" for number in numbers]
    except BlobDamaged:
        return False
    return Reference.to(b"".join(pieces)) == reference


ROWS = [
    Row(
        2,
        "power cut: the recorded writes, cut anywhere, unsynced ones torn or lost",
        "every acknowledged event is there, large values too, the database is sound; a broker with `synchronous=NORMAL` fails",
        power_cuts,
        full={"cuts": 10_000},
        short={"cuts": 30, "events": 200},
        needs=shim.missing,
    )
]
