"""One agent's day, with every call spelled as users are told to spell it."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.tools import tool

from langgraph_nolag import LocalBroker, connect


@tool
def search(q: str) -> str:
    """Search."""
    return f"found {q}"


def lookup(name: str) -> str:
    """Look up."""
    return name.title()


async def test_a_day(broker: LocalBroker) -> None:
    async with asyncio.timeout(30), connect(broker.url, token=broker.token("editor"), actor="editor") as other:
        editor = await other.join("newsroom")
        async with connect(broker.url, token=lambda: broker.token("writer"), actor="writer") as client:
            room = await client.join("newsroom", capabilities=["draft"], max_concurrency=5, metadata={"kind": "agent"})

            async def handler(task: Any) -> Any:
                await task.progress({"step": 1})
                assert not task.cancelled
                return {"topic": task.payload["topic"], "attempt": task.attempt, "token": task.fencing_token}

            async with room.handoff.serve(handler, capabilities=["draft"], concurrency=5):
                task = await room.handoff.dispatch(
                    "draft", {"topic": "tea"}, capabilities=["draft"], key="article-7",
                    priority=5, delay=0.0, timeout=60.0, max_attempts=3, concurrency_key=None,
                )  # fmt: skip
                result = await task.result(timeout=30)
                assert (result["topic"], result["attempt"]) == ("tea", 1)
                await task.cancel()
                assert (bool(task.id), task.state) == (True, "completed")
            async for ended in room.handoff.results(since=0):
                assert ended.value == result
                break
            assert await room.handoff.dead_letters() == []

            await room.inbox.send("editor", {"hello": 1})
            async for message in editor.inbox:
                assert (message.sender, message.body, message.seq > 0) == ("writer", {"hello": 1}, True)
                break

            entry = await room.blackboard.get("plan")
            assert entry is None
            entry = await room.blackboard.set("plan", {"v": 1})
            entry = await room.blackboard.set("plan", {"v": 2}, expected=entry.revision)
            entry = await room.blackboard.update("plan", lambda v: {"v": v["v"] + 1})
            assert (entry.value, entry.revision) == ({"v": 3}, 3)
            async for entry in room.blackboard.watch("plan*"):
                assert entry.value == {"v": 3}
                break
            await room.blackboard.delete("plan")
            assert len(await room.blackboard.history("plan")) == 4

            seq = await room.observe.emit("draft.started", {"n": 1}, severity="info")
            async for event in room.observe.stream("draft.**", since=seq - 1):
                assert (event.seq, event.type, event.body, event.sender, event.parent) == (seq, "draft.started", {"n": 1}, "writer", None)
                break

            request = await room.approve.request(
                "publish", {"title": "Tea"}, allow=["approve", "edit", "reject"], expires=3600, approvers=None, quorum=1
            )
            for pending in await editor.approve.pending():
                await editor.approve.decide(pending.id, "approve", by="ana", args=None, message=None)
            decision = await request.decision(timeout=None)
            assert (decision.approved, decision.type, decision.args) == (True, "approve", {"title": "Tea"})
            assert (decision.message, decision.by) == (None, "ana")

            async with room.tools.serve([search, lookup]):
                assert sorted(each.name for each in await editor.tools.list()) == ["lookup", "search"]
                assert await editor.tools.invoke("search", {"q": "tea"}) == "found tea"

            for agent in await room.presence.list():
                assert (agent.status, agent.load) == ("available", 0)
            async for change in room.presence.watch():
                assert change.kind == "join"
                break

            stream = await room.open_stream(to="editor")
            for chunk in ("All ", "about ", "tea"):
                await stream.write(chunk)
            await stream.close()
            async for incoming in editor.streams():
                assert "".join([chunk async for chunk in incoming]) == "All about tea"
                break

            stream = editor.subscribe("notes", since=None)
            await editor.presence.update(status="reading")
            await room.publish("notes", {"n": 1}, qos=1, retain=False, key=None)
            async for message in stream:
                assert message.body == {"n": 1}
                break
