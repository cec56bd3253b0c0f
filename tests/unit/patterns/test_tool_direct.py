"""A served tool's function called without LangChain: nobody sees a difference, and where somebody would, it is not done."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, Callbacks
from langchain_core.globals import set_debug
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool, ToolException, tool
from pydantic import BaseModel, Field

from langgraph_nolag.patterns.tool_direct import direct


class Place(BaseModel):
    name: str
    day: date = date(2026, 1, 1)


class Renamed(BaseModel):
    """Where?"""

    where: str = Field(alias="place")
    often: int = Field(default=2, ge=1)


def weather(place: Place, days: int = 3, *, unit: str = "C") -> Any:
    """The weather."""
    return [place.name, str(place.day), days, unit]


async def there(where: str, often: int) -> str:
    """There."""
    return f"{where} {often}"


def fails(text: str) -> str:
    """Fails."""
    raise ToolException(text)


async def asks_around(text: str) -> Any:
    """Calls something that looks for its configuration."""
    config = await RunnableLambda(lambda _: dict(ensure_config())).ainvoke(None)
    return [text, config["tags"], config["configurable"], config["recursion_limit"]]


async def nothing() -> dict[str, int]:
    """Takes nothing."""
    return {"answer": 42}


PLAIN = {
    "a function": (
        StructuredTool.from_function(weather),
        [{"place": {"name": "Rome"}}, {"place": {"name": "Oslo", "day": "2026-02-03"}, "days": "5"}],
    ),
    "a coroutine, names of its own": (
        StructuredTool.from_function(coroutine=there, args_schema=Renamed),
        [{"place": "x"}, {"place": "y", "often": 1}],
    ),
    "its error": (tool(fails), [{"text": "no"}]),
    "its surroundings": (tool(asks_around), [{"text": "x"}]),
    "nothing": (tool(nothing), [{}, {"more": 1}]),
}
WRONG: list[dict[str, Any]] = [{}, {"place": 3, "text": 3, "often": 0}, {"place": {"day": "never"}}]
CONFIGS: list[RunnableConfig | None] = [None, {"tags": ["t"], "configurable": {"k": 1}, "recursion_limit": 7}]


async def outcome(call: Any) -> Any:
    try:
        return await call
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("config", CONFIGS, ids=["alone", "configured"])
async def test_it_gives_what_langchain_gives(name: str, config: RunnableConfig | None) -> None:
    plain, calls = PLAIN[name]
    called = direct(plain)
    assert called is not None
    assert not called.is_watched
    for args in [*calls, *WRONG]:
        assert await outcome(called.run({**args}, config)) == await outcome(plain.ainvoke({**args}, config))


def more_than_checked() -> dict[str, BaseTool]:
    @tool
    def configured(text: str, config: RunnableConfig) -> str:
        """Wants its configuration."""
        return text

    @tool
    def calls_back(text: str, callbacks: Callbacks = None) -> str:
        """Wants callbacks."""
        return text

    @tool
    def numbered(text: str, id: Annotated[str, InjectedToolCallId]) -> str:
        """Wants the id of the call."""
        return text

    @tool
    def given(text: str, key: Annotated[str, InjectedToolArg] = "") -> str:
        """Is given something that the model does not see."""
        return text

    @tool(response_format="content_and_artifact")
    def two(text: str) -> tuple[str, int]:
        """Gives two things."""
        return text, 2

    def variadic(*args: int, **kwargs: int) -> int:
        """Takes whatever comes."""
        return len(args) + len(kwargs)

    class Own(StructuredTool):
        pass

    described = {"type": "object", "properties": {"text": {"type": "string"}}}
    return {
        "configured": configured,
        "calls back": calls_back,
        "numbered": numbered,
        "given": given,
        "two": two,
        "variadic": tool(variadic),
        "answers for its errors": StructuredTool.from_function(fails, handle_tool_error=True),
        "answers for wrong arguments": StructuredTool.from_function(fails, handle_validation_error="no"),
        "a class of its own": Own.from_function(fails),
        "another class": Tool("t", fails, "one text"),
        "a JSON schema": StructuredTool.from_function(fails, args_schema=described),
    }


@pytest.mark.parametrize("name", more_than_checked())
def test_what_langchain_does_more_for_is_left_to_it(name: str) -> None:
    assert direct(more_than_checked()[name]) is None


class Listener(BaseCallbackHandler):
    pass


def test_who_listens_is_told() -> None:
    called = direct(tool(fails))
    heard = direct(StructuredTool.from_function(fails, callbacks=[Listener()]))
    assert called is not None
    assert heard is not None
    assert (called.is_watched, heard.is_watched) == (False, True)
    set_debug(True)
    try:
        assert called.is_watched
    finally:
        set_debug(False)
    assert not called.is_watched
