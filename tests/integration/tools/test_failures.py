"""How calls of remote tools end when something is wrong: typed, and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import served
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import interrupt
from models import ToldModel, calling, in_turn

from langgraph_nolag import LocalBroker, RequestTimeout, TaskTimeout, ToolFailed, ToolNotFound, connect, remote_tools
from langgraph_nolag.testing import eventually

from .conftest import Join


def broken(why: str) -> str:
    """Always fails."""
    raise KeyError(why)


async def slow() -> None:
    """Never ends."""
    await asyncio.sleep(60)


def doubtful() -> str:
    """Ask a person."""
    return str(interrupt("sure?"))


async def test_a_served_tool_asks_nobody(agent: Join) -> None:
    server = await agent("server")
    async with server.tools.serve([doubtful]):
        with pytest.raises(ToolFailed, match="ask in the graph"):
            await server.tools.invoke("doubtful")


def asking(tools: list[BaseTool], *calls: tuple[str, dict[str, Any]]) -> Any:
    return create_agent(ToldModel(reply=in_turn(calling(*calls), AIMessage("so be it"))), tools)


GIVEN = {"messages": [HumanMessage("go")]}


async def test_an_agent_goes_on_with_typed_errors(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server = await agent("server")
    async with server.tools.serve([broken, slow, served.refuse, served.fetch]):
        tools = await asyncio.to_thread(remote_tools, broker.room("desk"), timeout=1.0)
        calls = [("broken", {"why": "no reason"}), ("slow", {}), ("refuse", {"why": "not today"}), ("fetch", {})]
        result = await invoke(asking(tools, *calls), GIVEN)
    raised, late, refused, wrong = [message for message in result["messages"] if isinstance(message, ToolMessage)]
    assert [message.status for message in (raised, late, refused, wrong)] == ["error"] * 4
    assert (raised.artifact["code"], raised.artifact["error_type"], raised.artifact["maybe_applied"]) == ("tool_failed", "KeyError", False)
    assert "no reason" in raised.content
    assert (late.artifact["code"], late.artifact["maybe_applied"]) == ("task_timeout", True)
    assert (refused.content, refused.artifact) == ("not today", None)  # what the tool's own handler says
    assert (wrong.artifact["code"], wrong.artifact["error_type"]) == ("tool_failed", "ValidationError")
    assert result["messages"][-1].content == "so be it"
    gone = (await invoke(asking(tools, ("broken", {"why": "x"})), GIVEN))["messages"][2]
    assert (gone.status, gone.artifact["code"], gone.artifact["retryable"]) == ("error", "tool_not_found", False)


async def test_the_model_is_told_what_one_likes(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server = await agent("server")
    async with server.tools.serve([broken]):
        for handle, said in (("sorry", "sorry"), (lambda error: f"oh: {error}", "oh: tool 'broken' failed: KeyError: 'x'")):
            tools = await asyncio.to_thread(remote_tools, broker.room("desk"), handle_tool_error=handle)
            assert (await invoke(asking(tools, ("broken", {"why": "x"})), GIVEN))["messages"][2].content == said
        tools = await asyncio.to_thread(remote_tools, broker.room("desk"), handle_tool_error=False)
        with pytest.raises(ToolFailed):
            await invoke(asking(tools, ("broken", {"why": "x"})), GIVEN)
        (tool,) = await asyncio.to_thread(remote_tools, broker.room("desk"))
        with pytest.raises(ToolFailed):  # no agent asks: code is told in the way of code
            await invoke(tool, {"why": "x"})


async def _runner(folder: Path, others: Collection[str] = ()) -> int:
    """The process that runs `hold` and is not among these."""
    found: list[str] = []

    def there() -> bool:
        found[:] = [file.name for file in folder.glob("run-*") if file.name not in others]
        return bool(found)

    await eventually(there, timeout=20)
    return int(found[0].removeprefix("run-"))


async def test_a_tool_that_leaves_in_the_middle_of_a_call(broker: LocalBroker, tmp_path: Path, agent: Join) -> None:
    """One that stops hands the call back, and another one has it. Killed, another one has it where the tool may run again; else the
    caller is told, and knows that it may have happened."""
    workers = {worker.pid: worker for worker in broker.spawn_worker("served:app", n=3)}
    for worker in workers.values():
        await asyncio.to_thread(worker.wait_ready)
    caller = await agent("caller")
    tools = {tool.name: tool for tool in await caller.tools.list()}
    folders = [tmp_path / name for name in ("stopped", "again", "once")]
    for folder in folders:
        folder.mkdir()
    stopped, again, once = folders

    handed = asyncio.create_task(tools["hold"].ainvoke({"path": str(stopped)}))
    first = await _runner(stopped)
    workers[first].terminate()
    second = await _runner(stopped, {f"run-{first}"})
    (stopped / "go").touch()
    assert await asyncio.wait_for(handed, 20) == str(second)

    kept = asyncio.create_task(tools["hold_again"].ainvoke({"path": str(again)}))
    third = await _runner(again)
    workers[third].kill()
    (again / "go").touch()
    assert int(await asyncio.wait_for(kept, 20)) not in (first, third)

    lost = asyncio.create_task(tools["hold"].ainvoke({"path": str(once)}))
    workers[await _runner(once)].kill()
    with pytest.raises(ToolFailed, match="gone") as caught:
        await asyncio.wait_for(lost, 20)
    assert (caught.value.error_type, caught.value.retryable, caught.value.maybe_applied) == ("lease_expired", True, True)


async def test_the_last_server_stops(broker: LocalBroker, tmp_path: Path, invoke: Callable[..., Any]) -> None:
    """A call that it did not finish is handed back, and ends with the tool."""
    (worker,) = broker.spawn_worker("served:app")
    await asyncio.to_thread(worker.wait_ready)
    (tool,) = [tool for tool in await asyncio.to_thread(remote_tools, broker.room("desk")) if tool.name == "hold"]
    call = asyncio.create_task(invoke(tool, {"path": str(tmp_path)}))
    await _runner(tmp_path)
    worker.terminate()
    with pytest.raises(ToolNotFound):
        await asyncio.wait_for(call, 20)


async def test_a_broker_that_is_away_is_told_in_time(invoke: Callable[..., Any]) -> None:
    other = LocalBroker()
    async with connect(other.url, token=other.token("caller")) as client:
        room = await client.join("desk")
        async with room.tools.serve([broken]):
            (tool,) = await room.tools.list(timeout=0.5)
        other.close()
        began = time.monotonic()
        with pytest.raises((RequestTimeout, TaskTimeout)):
            await asyncio.wait_for(invoke(tool, {"why": "x"}), 20)
        assert time.monotonic() - began < 15
