"""Row 4: a bit of the database's files flips, or one of them is cut short."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path
from typing import Any

from nolag_broker.core.turn import ScanAt
from nolag_broker.engine.reading import finish
from nolag_broker.engine.tables import Tables

from .processes import ROOM, Broker, joined
from .trial import Row, Trial

MANY = 1 << 30


async def damages(trial: Trial) -> None:
    killed, stopped = trial.folder / "killed", trial.folder / "stopped"
    await _filled(killed, signal.SIGKILL)
    await _filled(stopped, signal.SIGTERM)
    for _ in range(trial.aim["damages"]):
        whole = trial.chance.choice((killed, stopped)) / "data"
        await asyncio.to_thread(_damage, trial, whole)


async def _filled(folder: Path, end: signal.Signals) -> None:
    """A database with something of every kind, of a broker that was killed (its log is not yet moved into the database) or stopped."""
    with Broker(folder) as broker:
        async with joined(broker) as room:
            for number in range(60):
                await room.observe.emit("load.event", {"number": number, "text": "x" * 50 * number})
                await room.blackboard.set(f"key/{number % 10}", {"number": number})
                await room.link.acall("record.write", puts=[[f"checkpoint/thread/{number}", bytes(10 * number), False]])
                if number % 6 == 0:
                    await room.handoff.dispatch("work", {"number": number}, capabilities=["nobody"])
        assert broker.process is not None
        broker.process.send_signal(end)
        broker.wait()


def _damage(trial: Trial, whole: Path) -> None:
    folder = trial.folder / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    file = trial.chance.choice([file for file in folder.iterdir() if file.name.startswith("rooms.db")])
    content = bytearray(file.read_bytes())
    if trial.chance.random() < 0.8:
        at = trial.chance.randrange(len(content))
        content[at] ^= 1 << trial.chance.randrange(8)
        what = f"a bit at {at} of {len(content)} of {file.name} flipped"
    else:
        at = trial.chance.randrange(len(content))
        del content[at:]
        what = f"{file.name} cut to {at} bytes"
    file.write_bytes(content)
    trial.done["damages"] += 1
    try:
        found = _everything(folder / "rooms.db")
    except Exception:  # the engine makes a StorageFailed of whatever its thread meets
        trial.done["refused or named"] += 1
    else:
        if found == _everything_of(whole, trial):
            trial.done["without effect"] += 1
        else:
            trial.violations.append(f"({whole.parent.name}) {what}: other content, and nobody says so")


def _everything_of(whole: Path, trial: Trial) -> dict[str, Any]:
    copy = trial.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    return _everything(copy / "rooms.db")


def _everything(file: Path) -> dict[str, Any]:
    """All that a broker would ever read of it."""
    content: dict[str, Any] = {}
    with contextlib.closing(Tables(file)) as tables:
        for room, last in tables.reads.rooms().items():
            image = finish(tables.reads.load(room))
            events = finish(tables.reads.events(room, 0, MANY, MANY))
            content[room] = last, image, [event.encoded for event in events]
            content[room + " records"] = finish(tables.reads.scan(room, ScanAt("", limit=MANY), MANY))
    assert ROOM in content
    return content


ROWS = [
    Row(
        4,
        "a flipped bit, or a cut end, of the database's files",
        "what is lost is named, or the start refused; never other content in silence",
        damages,
        full={"damages": 500},
        short={"damages": 60},
    )
]
