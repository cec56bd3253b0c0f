"""Tools that join and leave while an agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from models import ToldModel, calling

from langgraph_nolag import LocalBroker, NoLagError, live_tools

from .conftest import Join

GIVEN = {"messages": [HumanMessage("go")]}


@tool
def here(n: int) -> str:
    """A tool of the agent's own."""
    return f"here {n}"


@tool
def there(n: int) -> str:
    """A tool of the room."""
    return f"there {n}"


there_called_here = there.model_copy(update={"name": "here"})


class Director:
    """Tools that join and leave at given turns of the model; what it was offered then."""

    def __init__(self, *turns: tuple[AIMessage, Callable[[], Any] | None]) -> None:
        self.turns = turns
        self.offered: list[list[str]] = []
        self.loop = asyncio.get_running_loop()

    def __call__(self, messages: list[BaseMessage], bound: list[str]) -> AIMessage:
        self.offered.append(sorted(bound))
        reply, after = self.turns[len(self.offered) - 1]
        if after is not None:
            change = self.waiting = asyncio.run_coroutine_threadsafe(after(), self.loop)
            change.result(10)  # the model is on a thread: sync agents are, and so is what an async one asks a sync model
        return reply


async def test_they_follow_the_room(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    server, other = await agent("server"), await agent("other")
    first, second = server.tools.serve([there, there_called_here]), other.tools.serve([tool(_named("later"))])
    director = Director(
        (calling(("here", {"n": 1})), first.start),
        (calling(("there", {"n": 2}), ("later", {"n": 3})), second.start),
        (calling(("there", {"n": 4}), ("later", {"n": 5})), first.close),
        (AIMessage("done"), second.close),
    )
    model = create_agent(ToldModel(reply=director), [here], middleware=[live_tools(broker.room("desk"))])
    result = await invoke(model, GIVEN)
    assert director.offered == [["here"], ["here", "there"], ["here", "later", "there"], ["here", "later"]]
    answers = [(message.content, message.status) for message in result["messages"] if isinstance(message, ToolMessage)]
    gone = ("nobody serves the tool 'there' now", "error")
    assert answers == [("here 1", "success"), ("there 2", "success"), ("later 3", "success"), gone, ("later 5", "success")]


def _named(name: str) -> Callable[[int], str]:
    def made(n: int) -> str:
        """Comes later."""
        return f"{name} {n}"

    made.__name__ = name
    return made


async def test_an_agent_without_tools_of_its_own(broker: LocalBroker, agent: Join, invoke: Callable[..., Any]) -> None:
    director = Director((calling(("there", {"n": 1})), None), (AIMessage("done"), None))
    model = create_agent(ToldModel(reply=director), middleware=[live_tools(broker.room("desk"))])
    server = await agent("server")
    async with server.tools.serve([there]):
        result = await invoke(model, GIVEN)
    assert [message.content for message in result["messages"]] == ["go", "", "there 1", "done"]


class Loud(AgentMiddleware[Any, Any]):
    """Middleware beside ours sees the room's tools as any others."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(type(request.tool).__name__)
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(type(request.tool).__name__)
        return await handler(request)


@pytest.mark.parametrize("handle", [True, False])
async def test_beside_other_middleware(broker: LocalBroker, agent: Join, invoke: Callable[..., Any], handle: bool) -> None:
    """LangChain's retries see an error where failures are raised, and an answer where they are told."""
    tries: list[int] = []

    def shaky(n: int) -> str:
        """Fails twice."""
        tries.append(n)
        if len(tries) < 3:
            raise ConnectionError("no route")
        return "at last"

    loud = Loud()
    retry = ToolRetryMiddleware(max_retries=3, retry_on=(NoLagError,), initial_delay=0.0, jitter=False)
    live = live_tools(broker.room("desk"), handle_tool_error=handle)
    director = Director((calling(("shaky", {"n": 1})), None), (AIMessage("done"), None))
    model = create_agent(ToldModel(reply=director), middleware=[live, retry, loud])
    server = await agent("server")
    async with server.tools.serve([shaky]):
        result = await invoke(model, GIVEN)
    answer = result["messages"][2]
    assert (answer.status, len(tries)) == (("error", 1) if handle else ("success", 3))
    assert loud.seen == ["RemoteTool"] * len(tries)
