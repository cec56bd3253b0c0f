"""A worker process for test_crash: `crash_worker.py URL echo SECONDS` or `crash_worker.py URL late FILE`, its token in NOLAG_TOKEN."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from langgraph_nolag import connect
from langgraph_nolag.errors import NoLagError


async def main(url: str, mode: str, value: str) -> None:
    async with connect(url, token=os.environ["NOLAG_TOKEN"]) as client:
        room = await client.join("crash", capabilities=["work"], max_concurrency=4)

        async def echo(task: Any) -> dict[str, Any]:
            """Takes SECONDS, and says who did it under which token."""
            await asyncio.sleep(float(value))
            return {"number": task.payload["number"], "token": task.fencing_token, "pid": os.getpid()}

        async def late(task: Any) -> None:
            """Holds the task until FILE exists, and then tries to complete it whatever anybody says."""
            print("claimed", flush=True)
            try:
                while not Path(value).exists():
                    await asyncio.sleep(0.02)
            finally:
                try:
                    await room.link.acall("task.complete", task=task.id, token=task.fencing_token, body=b"\xc0")
                    print("ended: completed", flush=True)
                except NoLagError as error:
                    print("ended:", error.code, flush=True)

        async with room.handoff.serve(echo if mode == "echo" else late, capabilities=["work"], concurrency=4):
            print("serving", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
