"""Row 29, the first half: databases that older versions of the broker wrote, and one of a newer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sqlite3
from pathlib import Path
from typing import Any

from langgraph_nolag import connect
from langgraph_nolag.errors import KeyConflict
from nolag_broker.engine.tables import VERSION

from .history import judged, new_history, whole_log
from .processes import Broker
from .trial import Trial

DATABASES = Path(__file__).with_name("databases")  # see `databases/make.py` for what is in them
ROOM = "desk"
EVENTS = 84


async def upgrades(trial: Trial) -> None:
    """Each older database is taken over, with everything in it, and lives on."""
    versions = {int(file.name.split("-")[1].split(".")[0]): file for file in DATABASES.glob("version-*.db.gz")}
    lacking = set(range(1, VERSION)) - versions.keys()
    trial.check(not lacking, f"there is no database of the versions {lacking} to try: make one with databases/make.py")
    for version, file in sorted(versions.items()):
        folder = trial.folder / f"version-{version}"
        (folder / "data").mkdir(parents=True, mode=0o700)
        (folder / "data" / "rooms.db").write_bytes(gzip.decompress(file.read_bytes()))
        with Broker(folder) as broker:
            wrong = await _used(broker)
            broker.kill()
            await asyncio.to_thread(broker.start)
            wrong += await _used_again(broker)
        trial.violations += [f"of version {version}: {what}" for what in wrong]
        trial.done["upgrades"] += 1


async def newer(trial: Trial) -> None:
    """Refused with one line, and not touched."""
    folder = trial.folder / "newer"
    with Broker(folder):
        pass
    file = folder / "data" / "rooms.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    broker = Broker(folder)
    said = await asyncio.to_thread(broker.try_start)
    code = await asyncio.to_thread(broker.wait)
    line = broker.said.strip().splitlines()[-1]
    trial.check((said, code) == ("", 1), f"a newer database was not refused: {said!r}, {code}")
    trial.check(f"schema is {VERSION + 1}, this broker knows up to {VERSION}" in line, f"it was refused with {line!r}")
    trial.check(file.read_bytes() == before, "a newer database was written to")
    trial.done["newer refused"] += 1


async def _used(broker: Broker) -> list[str]:
    """What is in it is there, and is worked with. What is wrong."""
    wrong: list[str] = []

    def same(what: str, found: Any, expected: Any) -> None:
        if found != expected:
            wrong.append(f"{what}: {found!r}, not {expected!r}")

    async with connect(path=broker.data, actor="bob") as client, connect(path=broker.data, actor="ana") as other:
        a, b = await other.join(ROOM), await client.join(ROOM, capabilities=["rare"])
        events = await whole_log(a)
        same("the log", len([event for event in events if event.seq <= EVENTS]), EVENTS)
        wrong += judged(new_history(), events)

        entry = await a.blackboard.get("plan")
        same("the blackboard", entry and (entry.value, entry.revision), ({"step": 2}, 2))
        same("its history", [entry.value for entry in await a.blackboard.history("plan")], [{"step": 2}, {"step": 1}])
        same("a deleted key", await a.blackboard.get("gone"), None)

        tea = await a.handoff.dispatch("work", "tea", key="tea")
        same("a kept result", (tea.attached, await tea.result(20)), (True, {"done": "tea"}))
        with contextlib.suppress(KeyConflict):
            await a.handoff.dispatch("work", "coffee", key="tea")
            wrong.append("another payload under a kept key was accepted")
        (dead,) = await a.handoff.dead_letters()
        same("a dead letter", (dead.type, [entry["error"]["message"] for entry in dead.errors]), ("bad", ["no luck"]))
        async with b.handoff.serve(_echo, types=["later"]):
            later = await a.handoff.dispatch("later", "waits", key="waits", capabilities=["rare"], priority=3)
            same("a waiting task", (later.attached, await later.result(20)), (True, "waits"))

        message = await asyncio.wait_for(anext(aiter(b.inbox)), 20)
        same("an inbox", (message.sender, message.body), ("ana", "unread"))
        same("what is pending", [(one.id, one.args) for one in await a.approve.pending()], [("pending", {"title": "Tea"})])
        same("a decision", await b.approve.decide("pending", "approve"), "decided")
        decided = (await a.approve.get("decided")).decision
        same("an older decision", decided and (decided.approved, decided.by), (True, "Bob"))

        async with a.subscribe("news", retained=True) as messages:
            same("a retained message", (await asyncio.wait_for(anext(messages), 20)).body, "retained")
        said = {event.data["key"]: event.seq for event in events if event.data.get("key") in ("k1", "k2")}
        same("a key of a message", await a.publish("news", "once", key="k1"), said["k1"])
        same("a key of an event", await a.observe.emit("draft.done", {"n": 1}, key="k2"), said["k2"])
        answer = await a.link.acall("record.read", keys=["checkpoint/thread/1", "checkpoint/thread/2"])
        same("records", answer["bodies"], [b"state", b"more"])
    return wrong


async def _used_again(broker: Broker) -> list[str]:
    async with connect(path=broker.data, actor="cem") as client:
        room = await client.join(ROOM)
        message = await asyncio.wait_for(anext(aiter(room.inbox)), 20)
        events = await whole_log(room)
    kinds = [event.type for event in events if event.seq > EVENTS]
    wrong = judged(new_history(), events)
    if message.body != "kept" or "task.completed" not in kinds or "approval.decided" not in kinds:
        wrong.append(f"after a kill: {message.body!r}, {kinds}")
    return wrong


async def _echo(task: Any) -> Any:
    return task.payload
