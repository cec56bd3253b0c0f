"""Row 7: handlers that block."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from .history import Client, judged, new_history, unfinished, whole_log
from .processes import LEASE, Broker, Worker, joined
from .trial import Row, Trial
from .worker import blocked

WORKERS = 5  # that block at a time


async def blocked_handlers(trial: Trial) -> None:
    """Those that block their thread run once. Those that keep the interpreter to themselves may be taken for dead, and run again; they
    too are completed once."""
    tasks: list[str] = []
    history = new_history()
    runs: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    with Broker(trial.folder) as broker:
        async with joined(broker) as room:
            client = Client(history, room, "dispatcher")
            while trial.done["blocked"] < trial.aim["blocked"]:
                for keeps_interpreter in (False, True):
                    started = runs[keeps_interpreter]
                    with contextlib.ExitStack() as stack:
                        workers = [Worker(broker, blocked, 4 * LEASE, keeps_interpreter) for _ in range(WORKERS)]
                        for worker in workers:
                            stack.callback(worker.kill)
                            assert await worker.says() == "serving"
                        done = await asyncio.gather(*(client.work({"number": number}) for number in range(WORKERS)))
                        for worker in workers:
                            while worker.pipe.poll():
                                started[worker.pipe.recv()] += 1
                    tasks += [task.id for task, _ in done]
                    trial.done["blocked"] += WORKERS
            events = await whole_log(room)
    trial.violations += judged(history, events) + unfinished(tasks, events)
    trial.violations += [f"{task} ran {times} times" for task, times in runs[False].items() if times != 1]
    trial.done["of them run again, with the interpreter kept"] = sum(times > 1 for times in runs[True].values())
    trial.check(
        len(runs[False]) == len(runs[True]) == len(tasks) // 2, f"{len(tasks)} tasks, of which {len(runs[False])} and {len(runs[True])} ran"
    )


ROWS = [
    Row(
        7,
        "a sync handler blocks for 4 leases; half of them keep the interpreter lock",
        "one execution (with the lock kept perhaps more); one completion",
        blocked_handlers,
        full={"blocked": 100},
        short=None,
        least={"blocked": 1},
    )
]
