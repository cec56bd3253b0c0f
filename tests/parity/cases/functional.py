"""The functional API: `@entrypoint` and `@task`."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.config import get_stream_writer
from langgraph.errors import NodeTimeoutError
from langgraph.func import entrypoint, task
from langgraph.runtime import Runtime
from langgraph.types import CachePolicy, Command, RetryPolicy, StreamWriter, interrupt

from ..case import ASYNC, SYNC, BackTo, Events, Traced, case
from .build import State, beside, chain, single


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


# --- called in nodes and in other tasks -----------------------------------------------------------------------


def one_task(state: State) -> State:
    return {"log": [double(state["x"], plus=1).result()]}


async def one_async_task(state: State) -> State:
    return {"log": [await adouble(state["x"]), await double(state["x"])]}


def tasks_beside(state: State) -> State:
    return {"log": [part.result() for part in [double(number) for number in range(state["x"])]]}


async def async_tasks_beside(state: State) -> State:
    return {"log": list(await asyncio.gather(*(adouble(number) for number in range(state["x"]))))}


def a_task_that_writes(state: State) -> State:
    return {"log": [writes("hello").result()]}


def asks_between(state: State) -> State:
    before = double(state["x"]).result()
    own = interrupt(f"{before}?")
    return {"log": [own, asks("well").result(), asks("well").result(), double(before).result()]}


async def asks_between_async(state: State) -> State:
    before = await adouble(state["x"])
    own = interrupt(f"{before}?")
    return {"log": [own, await asks("well"), *await asyncio.gather(adouble(1), asks("again"))]}


def a_broken_task(state: State) -> State:
    return {"log": [breaks(1).result()]}


def a_rescued_task(state: State) -> State:
    try:
        breaks(1).result()
    except ValueError as error:
        return {"log": [f"{type(error).__name__} {error}"]}
    return {}


def a_retried_task(state: State) -> State:
    return {"log": [flaky().result()]}


@task(cache_policy=CachePolicy(key_func=lambda x: str(x)))
def kept(x: int) -> int:
    return x


def a_cached_task(state: State) -> State:
    return {"log": [kept(1).result(), kept(2).result(), kept(1).result()]}


@task(timeout=0.05)
async def late() -> None:
    await asyncio.sleep(60)


async def a_late_task(state: State) -> State:
    try:
        await late()
    except NodeTimeoutError as error:
        return {"log": [type(error).__name__]}
    return {}


def a_task_of_its_own(state: State) -> State:
    factor = 3

    @task
    def times(x: int) -> int:
        return factor * x

    return {"log": [times(state["x"]).result()]}


@task
def doubles(x: int) -> list[int]:
    return [double(x).result(), double(x + 1).result()]


@task
async def adoubles(x: int) -> list[int]:
    return [await adouble(x), *await doubles(x)]


def tasks_in_tasks(state: State) -> State:
    return {"log": doubles(state["x"]).result()}


async def async_tasks_in_tasks(state: State) -> State:
    return {"log": await adoubles(state["x"])}


def a_task_that_nobody_waits_for(state: State) -> State:
    double(state["x"])
    return {"log": ["done"]}


def fails_once(state: State, runtime: Runtime[Any]) -> State:
    found = double(state["x"]).result()
    assert runtime.execution_info is not None
    if runtime.execution_info.node_attempt == 1:
        raise ValueError("once")
    return {"log": [found]}


def a_task_of_a_runnable(state: State) -> State:
    return {"log": [RunnableLambda(lambda x: double(x).result(), name="inside").invoke(state["x"])]}


def _node(function: Any, **options: Any) -> Any:
    return single(function, **options).compile()


in_node, in_async_node, beside_in_node, beside_in_async_node = map(_node, (one_task, one_async_task, tasks_beside, async_tasks_beside))
writing_in_node, asking_in_node, asking_in_async_node = map(_node, (a_task_that_writes, asks_between, asks_between_async))
breaking_in_node, rescued_in_node, retried_in_node, cached_in_node = map(
    _node, (a_broken_task, a_rescued_task, a_retried_task, a_cached_task)
)
late_in_node, own_in_node, nested_in_node, nested_in_async_node = map(
    _node, (a_late_task, a_task_of_its_own, tasks_in_tasks, async_tasks_in_tasks)
)
unheard_in_node, in_runnable = map(_node, (a_task_that_nobody_waits_for, a_task_of_a_runnable))
failing_once = _node(fails_once, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ValueError))
two_callers = beside(one_task, tasks_beside).compile()
around_asking = chain(("sub", asking_in_node), one_task).compile()


@entrypoint()
def nesting(x: int) -> list[int]:
    return doubles(x).result()


@entrypoint()
async def anesting(x: int) -> list[int]:
    return await adoubles(x)


ANSWERS = [Command(resume=answer) for answer in "abc"]
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
    case("a task in a node", in_node, {"x": 2}),
    case("async tasks in a node", in_async_node, {"x": 2}, how=ASYNC),
    case("a task in a node without a saver", in_node, {"x": 2}, saver=False),
    case("a task in a node that is listened to", in_node, Traced({"x": 2})),
    case("events of tasks in a node", in_async_node, Events({"x": 2}), how=ASYNC),
    case("a task in a runnable in a node", in_runnable, Traced({"x": 2})),
    case("tasks beside each other in a node", beside_in_node, {"x": 5}, ordered=False),
    case("async tasks beside each other in a node", beside_in_async_node, {"x": 5}, how=ASYNC, ordered=False),
    case("a task in a node that writes", writing_in_node, {"x": 2}, config={"configurable": {"user": "ana"}}),
    case("questions of a node and of its tasks", asking_in_node, {"x": 2}, *ANSWERS),
    case("questions of an async node and of its tasks", asking_in_async_node, {"x": 2}, *ANSWERS, how=ASYNC, ordered=False),
    case("a task in a node that breaks", breaking_in_node, {"x": 2}, modes=("values", "updates", "custom")),
    case("a task in a node whose error is caught", rescued_in_node, {"x": 2}),
    case("a task in a node that is retried", retried_in_node, {"x": 2}, how=SYNC),
    case("a task in a node that is cached", cached_in_node, {"x": 2}, {"x": 2}, attributes={"cache": InMemoryCache}),
    case("a task in a node that is late", late_in_node, {"x": 2}, how=ASYNC),
    case("a task inside a function, in a node", own_in_node, {"x": 2}),
    case("tasks in tasks in a node", nested_in_node, {"x": 2}),
    case("async tasks in tasks in a node", nested_in_async_node, {"x": 2}, how=ASYNC),
    case("a task in a node that nobody waits for", unheard_in_node, {"x": 2}, ordered=False),
    case("a task in a node that is tried again", failing_once, {"x": 2}),
    case("tasks in nodes side by side", two_callers, {"x": 3}, ordered=False),
    case("tasks in a node of a sub-graph", around_asking, {"x": 2}, *ANSWERS),
    case(
        "tasks in a node of a whole sub-graph",
        around_asking,
        {"x": 2},
        *ANSWERS,
        distribution={"whole": ["sub"]},
    ),
    case(
        "time travel with tasks in a node", asking_in_node, {"x": 2}, Command(resume="a"), BackTo("asks_between"), None, Command(resume="A")
    ),
    case("tasks in tasks of an entrypoint", nesting, 2),
    case("async tasks in tasks of an entrypoint", anesting, 2, how=ASYNC),
]
