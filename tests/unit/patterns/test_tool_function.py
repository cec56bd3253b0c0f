"""A served function is called without LangChain: it gives what the tool gives that LangChain makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import Callbacks, adispatch_custom_event
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, ToolException, tool
from langgraph.prebuilt import ToolRuntime
from pydantic import AfterValidator, BaseModel, Field

from langgraph_nolag.patterns.tool_function import as_function


class Place(BaseModel):
    name: str
    day: date = date(2026, 1, 1)


def slowly(value: str) -> str:
    time.sleep(0.001)
    return value.upper()


def weather(place: Place, days: int = 3, *, unit: str = "C") -> Any:
    """The weather."""
    return [place.name, str(place.day), days, unit]


async def there(where: Annotated[str, AfterValidator(slowly)], often: Annotated[int, Field(ge=1)] = 2) -> str:
    """There."""
    return f"{where} {often}"


def plot(func: str, executor_or_config: str = "", *, self: int = 0) -> str:
    """Has arguments with names that others use."""
    return func + executor_or_config


def fails(text: str) -> str:
    """Fails."""
    raise ToolException(text)


def stops(text: str) -> str:
    """Ends what nobody began."""
    raise StopIteration(text)


async def asks_around(text: str) -> Any:
    """Calls what looks around itself."""
    config = await RunnableLambda(lambda _: dict(ensure_config())).ainvoke(None)
    await adispatch_custom_event("halfway", {"text": text})
    return [text, config["tags"], config["configurable"], config["recursion_limit"], type(config["callbacks"]).__name__]


async def nothing() -> dict[str, int]:
    """Takes nothing."""
    return {"answer": 42}


CALLS: dict[Callable[..., Any], list[dict[str, Any]]] = {
    weather: [{"place": {"name": "Rome"}}, {"place": {"name": "Oslo", "day": "2026-02-03"}, "days": "5", "unit": "F"}],
    there: [{"where": "x"}, {"where": "y", "often": 1}],
    fails: [{"text": "no"}],
    asks_around: [{"text": "x"}],
    nothing: [{}, {"more": 1}],
}
WRONG: list[dict[str, Any]] = [{}, {"place": 3, "where": 3, "text": 3, "often": 0}, {"place": {"day": "never"}}]
CONFIGS: list[RunnableConfig | None] = [None, {"tags": ["t"], "configurable": {"k": 1}, "recursion_limit": 7}]


async def outcome(call: Any) -> Any:
    try:
        return await call
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("config", CONFIGS, ids=["alone", "configured"])
async def test_it_gives_what_langchain_gives(function: Callable[..., Any], config: RunnableConfig | None) -> None:
    made = tool(function)
    served = as_function(made)
    assert served is not None
    for args in [*CALLS[function], *WRONG]:
        assert await outcome(served.run({**args}, config)) == await outcome(made.ainvoke({**args}, config))


async def test_no_name_of_an_argument_is_taken() -> None:
    served, stopping = as_function(tool(plot)), as_function(tool(stops))
    assert served is not None
    assert stopping is not None
    assert await served.run({"func": "sin", "executor_or_config": "!", "self": 1}, None) == "sin!"
    with pytest.raises(RuntimeError, match="now"):
        await stopping.run({"text": "now"}, None)


def configured(text: str, config: RunnableConfig) -> str:
    """Wants its configuration."""
    return text


def calls_back(text: str, callbacks: Callbacks = None) -> str:
    """Wants callbacks."""
    return text


def numbered(text: str, id: Annotated[str, InjectedToolCallId]) -> str:
    """Wants the id of the call."""
    return text


def given(text: str, key: Annotated[str, InjectedToolArg] = "") -> str:
    """Is given something that the model does not see."""
    return text


def surrounded(text: str, runtime: ToolRuntime) -> str:
    """Wants what is around it."""
    return text


def variadic(*args: int, **kwargs: int) -> int:
    """Takes whatever comes."""
    return len(args) + len(kwargs)


@pytest.mark.parametrize("function", [configured, calls_back, numbered, given, surrounded, variadic])
def test_one_that_takes_more_than_its_caller_gives_is_left_to_langchain(function: Callable[..., Any]) -> None:
    assert as_function(tool(function)) is None
