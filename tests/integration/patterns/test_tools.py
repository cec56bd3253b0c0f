from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, ToolException, tool

from langgraph_nolag import BadRequest, NotEncodable, NotSupported, TaskTimeout, ToolFailed, ToolNotFound
from langgraph_nolag.client.body import decode, encode
from langgraph_nolag.testing import eventually


@tool
def search(q: str, limit: int = 3) -> list[str]:
    """Search the archive."""
    return [f"{q} {n}" for n in range(limit)]


@tool
async def lookup(name: str) -> dict[str, Any]:
    """Look a name up."""
    await asyncio.sleep(0)
    return {"name": name}


@tool(response_format="content_and_artifact")
def fetch(url: str) -> tuple[str, dict[str, int]]:
    """Fetch a page."""
    return f"page of {url}", {"bytes": 5}


@tool
def broken(why: str) -> str:
    """Always fails."""
    raise KeyError(why)


def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper()


async def test_tools_are_listed_and_called_as_langchain_tools(join: Any) -> None:
    server, agent = await join("server"), await join("agent")
    async with server.tools.serve([search, lookup, fetch, shout]):
        tools = {each.name: each for each in await agent.tools.list()}
        assert sorted(tools) == ["fetch", "lookup", "search", "shout"]
        remote = tools["search"]
        assert isinstance(remote, BaseTool)
        assert remote.description == search.description
        assert remote.args == search.args
        assert await remote.ainvoke({"q": "tea", "limit": 2}) == ["tea 0", "tea 1"]
        assert await remote.ainvoke({"q": "tea"}) == ["tea 0", "tea 1", "tea 2"]
        assert await tools["lookup"].ainvoke({"name": "x"}) == {"name": "x"}
        assert await tools["shout"].ainvoke({"text": "tea"}) == "TEA"


async def test_a_proxy_answers_a_tool_call_as_the_tool_itself_would(join: Any) -> None:
    room = await join("server")
    async with room.tools.serve([search, fetch]):
        tools = {each.name: each for each in await room.tools.list()}
        for local in (search, fetch):
            args = {"q": "tea"} if local is search else {"url": "u"}
            tool_call = {"type": "tool_call", "id": "call-1", "name": local.name, "args": args}
            here, there = await local.ainvoke(tool_call), await tools[local.name].ainvoke(tool_call)
            assert isinstance(there, ToolMessage)
            assert (there.content, there.artifact, there.tool_call_id) == (here.content, here.artifact, "call-1")


async def test_proxies_work_from_sync_code(join: Any) -> None:
    room = await join("server")
    async with room.tools.serve([search]):
        remote = (await asyncio.to_thread(room.tools.list_blocking))[0]
        assert await asyncio.to_thread(remote.invoke, {"q": "tea", "limit": 1}) == ["tea 0"]


async def test_invoke_by_name_and_typed_failures(join: Any) -> None:
    room = await join("server")
    async with room.tools.serve([search, broken]):
        assert await room.tools.invoke("search", {"q": "tea", "limit": 1}) == ["tea 0"]
        with pytest.raises(ToolFailed) as caught:
            await room.tools.invoke("broken", {"why": "no reason"})
        assert (caught.value.error_type, caught.value.code) == ("KeyError", "tool_failed")
        assert "no reason" in caught.value.error_message
        with pytest.raises(ToolFailed, match="ValidationError"):
            await room.tools.invoke("search", {"limit": "many"})
        with pytest.raises(NotEncodable):
            await room.tools.invoke("search", {"q": object()})
        with pytest.raises(ToolNotFound):
            await room.tools.invoke("nothing")
    await eventually(lambda: _not_found(room))


async def _not_found(room: Any) -> bool:
    try:
        await room.tools.invoke("search", {"q": "tea"})
    except ToolNotFound:
        return True
    return False


async def test_a_failing_tool_is_not_tried_again(join: Any) -> None:
    room = await join("server")
    runs: list[int] = []

    def once(n: int) -> None:
        """Count."""
        runs.append(n)
        raise ToolException("no")

    async with room.tools.serve([once]):
        with pytest.raises(ToolFailed):
            await room.tools.invoke("once", {"n": 1})
    assert runs == [1]
    assert await room.handoff.dead_letters() == []


async def test_calls_are_spread_over_those_who_serve(join: Any) -> None:
    one, two, agent = await join("one"), await join("two"), await join("agent")

    def server(name: str) -> Any:
        async def who() -> str:
            """Say who serves."""
            await asyncio.sleep(0.02)
            return name

        return who

    async with one.tools.serve([server("one")], concurrency=2), two.tools.serve([server("two")], concurrency=2):
        answers = await asyncio.gather(*(agent.tools.invoke("who") for _ in range(8)))
    assert set(answers) == {"one", "two"}


async def test_a_call_that_takes_too_long_ends(join: Any) -> None:
    room = await join("server")
    ended = asyncio.Event()

    async def slow() -> None:
        """Never ends."""
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with room.tools.serve([slow]):
        with pytest.raises(TaskTimeout, match="slow"):
            await room.tools.invoke("slow", timeout=0.3)
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_caller_that_gives_up_cancels_the_call(join: Any) -> None:
    room = await join("server")
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        """Never ends."""
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with room.tools.serve([slow]):
        call = asyncio.create_task(room.tools.invoke("slow"))
        await began.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)


async def test_what_is_not_plain_travels_as_text(join: Any) -> None:
    room = await join("server")

    def give() -> Any:
        """Give an object."""
        return {"when": {1, 2}}

    async with room.tools.serve([give]):
        assert await room.tools.invoke("give") == "{'when': {1, 2}}"


async def test_two_tools_of_one_name_and_no_tool_are_refused(join: Any) -> None:
    room = await join("server")
    with pytest.raises(BadRequest, match="search"):
        room.tools.serve([search, search])
    with pytest.raises(BadRequest, match="not a tool"):
        room.tools.serve([5])


async def test_a_tool_that_is_badly_described_hides_no_other(join: Any, caplog: pytest.LogCaptureFixture) -> None:
    room, stranger = await join("server"), await join("stranger")
    specs = {"gibberish": b"\xc1", "number": encode(5), "odd": encode({"args": {"properties": [1]}}), "bare": encode({})}

    def on_task(task: Any) -> None:
        task.offer.complete(task, encode({"content": 1}))

    offer = stranger.link.serve(kind="tool", types=list(specs), specs=specs, on_task=on_task)
    await asyncio.wrap_future(offer.ready)
    async with room.tools.serve([search]):
        tools = {each.name: each for each in await room.tools.list()}
        assert sorted(tools) == ["bare", "search"]
        assert await tools["bare"].ainvoke({}) == 1
    assert all(name in caplog.text for name in ("number", "odd"))
    await asyncio.wrap_future(offer.close())


async def test_arguments_of_any_name(join: Any) -> None:
    room = await join("server")

    names = ("config", "run_manager", "self", "args", "_x", "a-b")
    schema = {"type": "object", "properties": {name: {} for name in names}, "required": ["_x"]}
    seen: list[Any] = []

    def on_task(task: Any) -> None:
        seen.append(decode(task.body))
        task.offer.complete(task, encode({"content": "ok"}))

    offer = room.link.serve(kind="tool", types=["odd"], specs={"odd": encode({"args": schema})}, on_task=on_task)
    await asyncio.wrap_future(offer.ready)
    (tool,) = await room.tools.list()
    given = {name: place for place, name in enumerate(names)}
    assert await tool.ainvoke(given) == "ok"
    assert await asyncio.to_thread(tool.invoke, given) == "ok"
    assert seen == [given, given]
    assert tool.get_input_schema()(**given).model_dump(by_alias=True) == given
    await asyncio.wrap_future(offer.close())


async def test_a_tool_that_wants_the_id_of_its_call(join: Any) -> None:
    room = await join("server")

    @tool
    def receipt(what: str, call: Annotated[str, InjectedToolCallId]) -> str:
        """Write a receipt."""
        return f"{what}: {call}"

    async with room.tools.serve([receipt]):
        (remote,) = await room.tools.list()
        assert list(remote.args) == ["what"]
        first, second = [await remote.ainvoke({"what": "tea"}) for _ in range(2)]
    assert first != second
    assert all(text.startswith("tea: ") and len(text) > 10 for text in (first, second))


async def test_what_code_beside_the_model_gives_does_not_travel(join: Any) -> None:
    """An argument of a served tool that no model may give is its server's to give: a default, or a refusal before anybody calls it."""
    room = await join("server")

    def look(q: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Look it up for somebody."""
        return f"{q} for {user}"

    def guess(q: str, user: Annotated[str, InjectedToolArg()] = "nobody") -> str:
        """Look it up for somebody, or nobody."""
        return f"{q} for {user}"

    for given in (look, tool(look)):
        with pytest.raises(NotSupported, match=r"'look'.*\(user, InjectedToolArg\)"):
            room.tools.serve([search, given])
    async with room.tools.serve([guess, tool("called")(guess)]):
        for remote in await room.tools.list():
            assert list(remote.args) == ["q"]
            assert await remote.ainvoke({"q": "tea"}) == "tea for nobody"
            assert await remote.ainvoke({"q": "tea", "user": "a model's idea"}) == "tea for nobody"
