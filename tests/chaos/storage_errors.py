"""Row 3: a write or a sync of the database fails."""

from __future__ import annotations

import asyncio
import errno
import subprocess

from langgraph_nolag.errors import NoLagError
from langgraph_nolag.testing.history import History

from . import shim
from .history import Client, judged, new_history, whole_log
from .processes import Broker, joined
from .trial import Row, Trial

FIRST_CALLS = 100
PATIENCE = 10.0  # seconds until a broker whose disk failed has ended


async def storage_errors(trial: Trial) -> None:
    library = shim.build(trial.folder)
    opening = (4, errno.ENOSPC)  # in the middle of it: always among them
    plans = [(call, error) for call in range(1, FIRST_CALLS + 1) for error in (errno.EIO, errno.ENOSPC) if (call, error) != opening]
    plans = [opening, *trial.chance.sample(plans, trial.aim["faults"] - 1)]
    for call, error in plans:
        name = f"{errno.errorcode[error]} at call {call}"
        broker = Broker(trial.folder / name.replace(" ", "-"))
        database = broker.data.resolve() / "rooms.db"
        broker.environment = {"LD_PRELOAD": library, "NOLAG_SHIM_FILE": str(database), "NOLAG_SHIM_FAIL": f"{call}:{error}"}
        history = new_history()
        try:
            await _until_it_fails(trial, broker, history, name)
        finally:
            if broker.process is not None and broker.process.poll() is None:
                broker.kill()
        broker.environment = {}
        broker.port = 0
        with broker:
            async with joined(broker) as room:
                events = await whole_log(room)
        trial.violations += [f"{name}: {violation}" for violation in judged(history, events)]
        trial.done["acknowledged"] += sum(operation.ok is not None for operation in history.operations)


async def _until_it_fails(trial: Trial, broker: Broker, history: History, name: str) -> None:
    line = await asyncio.to_thread(broker.try_start)
    try:
        async with asyncio.TaskGroup() as group:
            if line:
                broker.port = int(line.rsplit(":", 1)[1])
                load = group.create_task(_load(broker, history))
            code = await asyncio.to_thread(broker.wait, PATIENCE)
            if line:
                load.cancel()  # a client looks for a broker that is gone without end
    except* subprocess.TimeoutExpired:
        trial.violations.append(f"{name}: the broker goes on")
    else:
        trial.done["stopped" if line else "starts refused"] += 1
        trial.check(code == 1, f"{name}: the broker ended with {code}")
        trial.check("Traceback" not in broker.said, f"{name}: the broker says {broker.said[-500:]}")


async def _load(broker: Broker, history: History) -> None:
    """One write after the other, until one is refused."""
    try:
        async with joined(broker) as room:
            client = Client(history, room, "writer")
            for number in range(FIRST_CALLS):  # each is several calls
                await client.ask("event.emit", type="load.event", body=number.to_bytes(2), timeout=5.0)
    except NoLagError:
        pass


ROWS = [
    Row(
        3,
        "EIO or ENOSPC of one of the first 100 writes and syncs",
        "nothing is acknowledged that is not kept, the broker stops, and starts again",
        storage_errors,
        full={"faults": 2 * FIRST_CALLS},
        short={"faults": 2},
        needs=shim.missing,
    )
]
