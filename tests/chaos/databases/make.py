"""Makes `version-N.db.gz`, a database with something of every kind, as the code that runs this writes it. When the schema has changed, run
it under the commit before: `PYTHONPATH=that/checkout:that/checkout/broker python tests/chaos/databases/make.py`."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langgraph_nolag import LocalBroker, TaskFailed, connect


async def fill(broker: LocalBroker) -> None:
    async with (
        connect(broker.url, token=broker.token("ana"), actor="ana") as ana,
        connect(broker.url, token=broker.token("bob", roles=["editor"]), actor="bob") as bob,
    ):
        a, b = await ana.join("desk"), await bob.join("desk")
        await a.blackboard.set("plan", {"step": 1})
        await a.blackboard.set("plan", {"step": 2})
        await b.blackboard.set("gone", 1)
        await b.blackboard.delete("gone")

        async def handler(task: Any) -> Any:
            if task.type == "bad":
                raise RuntimeError("no luck")
            return {"done": task.payload}

        async with b.handoff.serve(handler, types=["work", "bad"]):
            for number in range(20):
                await (await a.handoff.dispatch("work", number)).result(20)
            await (await a.handoff.dispatch("work", "tea", key="tea")).result(20)
            with contextlib.suppress(TaskFailed):
                await (await a.handoff.dispatch("bad", "x", max_attempts=1)).result(20)
        await a.handoff.dispatch("later", "waits", key="waits", capabilities=["rare"], priority=3)
        await a.inbox.send("bob", "unread")
        await a.inbox.send("cem", "kept", keep=True)
        await a.approve.request("publish", {"title": "Tea"}, id="pending", approvers=["bob", "role:editor"])
        await a.approve.request("publish", {"title": "Old"}, id="decided")
        await b.approve.decide("decided", "approve", by="Bob")
        await a.publish("news", "retained", retain=True)
        await a.publish("news", "once", key="k1")
        await a.observe.emit("draft.done", {"n": 1}, key="k2")
        await a.link.acall("record.write", puts=[["checkpoint/thread/1", b"state", False], ["checkpoint/thread/2", b"more", False]])


def main() -> None:
    with TemporaryDirectory() as folder:
        with LocalBroker(folder) as broker:
            asyncio.run(fill(broker))
        file = Path(folder) / "rooms.db"
        content = file.read_bytes()
        with contextlib.closing(sqlite3.connect(file)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    Path(__file__).with_name(f"version-{version}.db.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
