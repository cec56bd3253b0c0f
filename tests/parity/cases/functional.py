"""The functional API: `@entrypoint` and `@task`."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, StreamWriter, interrupt

from ..case import ASYNC, SYNC, case


@task
def double(x: int, *, plus: int = 0) -> int:
    return x * 2 + plus


@task
async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


@task
def writes(text: str, writer: StreamWriter, config: RunnableConfig) -> Any:
    writer(f"writer {text}")
    get_stream_writer()(("context", text))
    return [config["configurable"].get("user"), config["metadata"]["langgraph_node"]]


@task
def asks(question: str) -> str:
    return f"{question} {interrupt(question)}"


@task
def breaks(x: int) -> int:
    raise ValueError(f"no {x}")


@task(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3, retry_on=ValueError), name="flaky")
def flaky(runtime: Runtime[Any]) -> int:
    assert runtime.execution_info is not None
    if runtime.execution_info.node_attempt < 3:
        raise ValueError(runtime.execution_info.node_attempt)
    return runtime.execution_info.node_attempt


@entrypoint()
def one(x: int) -> int:
    return double(x, plus=1).result()


@entrypoint()
def several(x: int) -> list[int]:
    first = double(x).result()
    return [first, double(first).result(), double(x=first, plus=5).result()]


@entrypoint()
def fanned(x: int) -> list[int]:
    return [part.result() for part in [double(number) for number in range(x)]]


@entrypoint()
async def aone(x: int) -> int:
    return await adouble(x) + await double(x)


@entrypoint()
async def afanned(x: int) -> list[int]:
    return list(await asyncio.gather(*(adouble(number) for number in range(x))))


@entrypoint()
def writing(text: str) -> Any:
    return writes(text).result()


@entrypoint()
def asking(question: str) -> list[str]:
    before = double(3).result()
    own = interrupt(f"{before}?")
    return [own, asks(question).result(), asks(question + "!").result()]


@entrypoint()
def breaking(x: int) -> int:
    return breaks(x).result()


@entrypoint()
def rescuing(x: int) -> str:
    try:
        return str(breaks(x).result())
    except ValueError as error:
        return f"{type(error).__name__} {error}"


@entrypoint()
def retrying(x: int) -> int:
    return flaky().result()


@entrypoint()
def adding(x: int, *, previous: Any = None) -> entrypoint.final[Any, int]:
    return entrypoint.final(value=previous, save=double(x, plus=previous or 0).result())


CASES = [
    case("entrypoint with a task", one, 1),
    case("several tasks", several, 1),
    case("tasks side by side", fanned, 5, ordered=False),
    case("async entrypoint", aone, 4, how=ASYNC),
    case("async tasks side by side", afanned, 5, how=ASYNC, ordered=False),
    case("a task that writes", writing, "hello", config={"configurable": {"user": "ana"}}),
    case("questions of an entrypoint and of tasks", asking, "well", Command(resume="a"), Command(resume="b"), Command(resume="c")),
    case(
        "a task that breaks", breaking, 1, modes=("values", "updates", "custom")
    ),  # a note is put on the very error that `tasks` shows: before or after
    case("a task whose error is caught", rescuing, 1),
    case("a task that is retried", retrying, 1, how=SYNC),
    case("what was saved before", adding, 3, 4, 5),
]
