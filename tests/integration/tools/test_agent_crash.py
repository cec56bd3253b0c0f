"""Agents in other processes, when processes die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from outer import THREAD, outer
from team import Trip

from langgraph_nolag import LocalBroker, room_agent
from langgraph_nolag.testing import eventually

HERE = Path(__file__).parent


async def _pid(folder: Path, what: str, *others: int) -> int:
    """Of the process that left such a file, and is not among the others."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for file in folder.glob(f"{what}-*") if (pid := int(file.name.partition("-")[2])) not in others]
        return bool(found)

    await eventually(there, timeout=30)
    return found[0]


async def test_an_agents_worker_dies(broker: LocalBroker, tmp_path: Path) -> None:
    """Another one goes on from the agent's last checkpoint, which is with its caller's."""
    workers = broker.spawn_worker("team:app", n=2)
    for worker in workers:
        await asyncio.to_thread(worker.wait_ready)
    agent = room_agent("traveller", broker.room("desk"), state_schema=Trip).copy({"checkpointer": InMemorySaver()})
    given = {"messages": [HumanMessage("go")], "folder": str(tmp_path)}
    running = asyncio.create_task(agent.ainvoke(given, THREAD, durability="sync"))
    first = await _pid(tmp_path, "ending")
    next(worker for worker in workers if worker.pid == first).kill()
    second = await _pid(tmp_path, "ending", first)
    (tmp_path / "go").touch()
    result = await asyncio.wait_for(running, 30)
    assert [message.content for message in result["messages"]] == ["go", f"begun by {first}", f"ended by {second}"]
    assert len(list(tmp_path.glob("begun-*"))) == 1


async def test_the_caller_dies(broker: LocalBroker, tmp_path: Path) -> None:
    """Whoever runs the thread next finds the agent at work; nothing of it runs twice."""
    (worker,) = broker.spawn_worker("team:app")
    await asyncio.to_thread(worker.wait_ready)
    command = [sys.executable, str(HERE / "outer.py"), f"{broker.url}/desk", broker.token("caller"), str(tmp_path)]
    caller = subprocess.Popen(command, cwd=HERE)
    try:
        assert await _pid(tmp_path, "ending") == worker.pid
    finally:
        caller.kill()
        caller.wait()
    running: asyncio.Task[Any] = asyncio.create_task(outer(broker.room("desk")).ainvoke(None, THREAD, durability="sync"))
    done, _ = await asyncio.wait({running}, timeout=0.5)
    assert not done
    (tmp_path / "go").touch()
    result = await asyncio.wait_for(running, 30)
    assert [message.content for message in result["messages"]] == ["go", f"begun by {worker.pid}", f"ended by {worker.pid}"]
