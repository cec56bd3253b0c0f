"""Errors, retries, caches, timeouts, error handlers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from langgraph.cache.memory import InMemoryCache
from langgraph.errors import NodeError
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import CachePolicy, Command, RetryPolicy, TimeoutPolicy
from pydantic import BaseModel

from ..case import ASYNC, case
from .build import State, beside, chain, single


class Broken(Exception):
    """Can't be made from its arguments alone."""

    def __init__(self, number: int, *, extra: Any) -> None:
        super().__init__(f"number {number}")
        self.number = number
        self.extra = extra


class Strict(BaseModel):
    n: int


def breaks(state: State) -> State:
    try:
        {}["nothing"]
    except KeyError as error:
        raise Broken(7, extra={"k": (1,)}) from error
    return {}


async def abreaks(state: State) -> State:
    error = ValueError("async", 2)
    error.add_note("a note")
    raise error


def does_not_validate(state: State) -> State:
    Strict(n="x")  # type: ignore[arg-type]
    return {}


def reads_a_file(state: State) -> State:
    with open("/not/there") as file:
        return {"log": [file.read()]}


def asserts(state: State) -> State:
    raise AssertionError


def several(state: State) -> State:
    raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])


def fine(state: State) -> State:
    return {"log": ["fine"]}


def flaky(state: State, runtime: Runtime[Any]) -> State:
    assert runtime.execution_info is not None
    attempt = runtime.execution_info.node_attempt
    if attempt < 3:
        raise Broken(attempt, extra=None)
    return {"log": [attempt]}


def asks_a_server(state: State, runtime: Runtime[Any]) -> State:
    assert runtime.execution_info is not None
    attempt = runtime.execution_info.node_attempt
    request = httpx.Request("GET", "http://model.example/v1")
    status = {1: 503, 2: 500}.get(attempt, state["x"])
    httpx.Response(status, json={"attempt": attempt}, request=request).raise_for_status()
    return {"log": [attempt]}


async def aflaky(state: State, runtime: Runtime[Any]) -> State:
    return flaky(state, runtime)


def handle(state: State, error: NodeError) -> State:
    assert isinstance(error.error, Broken)
    return {"log": [error.node, error.error.number, error.error.extra]}


def handle_and_go(state: State, error: NodeError) -> Command[Any]:
    return Command(goto="fine", update={"log": [type(error.error).__name__]})


async def too_long(state: State) -> State:
    await asyncio.sleep(60)
    return {}


def counted(state: State) -> State:
    return {"log": [state["x"], time.time_ns() > 0]}


def key_of(state: Any) -> str:
    return str(state["x"] % 2)


QUICK = {"initial_interval": 0.001, "jitter": False}
failing = chain(fine, breaks).compile()
afailing = chain(fine, abreaks).compile()
invalid = chain(does_not_validate).compile()
reading = chain(reads_a_file).compile()
asserting = chain(asserts).compile()
grouped = chain(several).compile()
half_failing = beside(too_long, abreaks).compile()
retrying = single(flaky, retry_policy=RetryPolicy(max_attempts=3, retry_on=Broken, **QUICK)).compile()
aretrying = single(aflaky, retry_policy=RetryPolicy(max_attempts=3, retry_on=Broken, **QUICK)).compile()
giving_up = single(flaky, retry_policy=RetryPolicy(max_attempts=2, retry_on=Broken, **QUICK)).compile()
by_default = single(asks_a_server, retry_policy=RetryPolicy(**QUICK)).compile()
not_retried = single(flaky, retry_policy=RetryPolicy(max_attempts=3, retry_on=KeyError, **QUICK)).compile()
two_policies = single(
    flaky, retry_policy=[RetryPolicy(retry_on=KeyError, **QUICK), RetryPolicy(max_attempts=3, retry_on=Broken, **QUICK)]
).compile()
handled = single(breaks, error_handler=handle).compile()

rescued_builder = StateGraph(State)
rescued_builder.add_node(breaks, error_handler=handle_and_go)
rescued_builder.add_node(fine)
rescued_builder.add_edge(START, "breaks")
rescued = rescued_builder.compile()

timed = single(too_long, timeout=0.2).compile()
idle = single(too_long, timeout=TimeoutPolicy(idle_timeout=0.2)).compile()
timed_and_retried = single(too_long, timeout=0.1, retry_policy=RetryPolicy(max_attempts=2, **QUICK)).compile()
cached = single(counted, cache_policy=CachePolicy()).compile()
cached_by_key = single(counted, cache_policy=CachePolicy(key_func=key_of)).compile()

CACHE = {"cache": InMemoryCache}

CASES = [
    case("error with fields, notes and cause", failing, {"x": 1}),
    case("running on after an error", failing, {"x": 1}, None),
    case("error of an async node", afailing, {"x": 1}, how=ASYNC),
    case("validation error", invalid, {"x": 1}),
    case("error of the operating system", reading, {"x": 1}),
    case("error without a text", asserting, {"x": 1}),
    case("group of errors", grouped, {"x": 1}),
    case("error beside a node that runs on", half_failing, {"x": 1}, how=ASYNC, ordered=False),
    case("retry", retrying, {"x": 1}),
    case("retry of an async node", aretrying, {"x": 1}, how=ASYNC),
    case("retries that do not help", giving_up, {"x": 1}),
    case("an error that is not retried", not_retried, {"x": 1}),
    case("retry of a server that is busy", by_default, {"x": 200}),
    case("a server that refuses is not asked again", by_default, {"x": 404}),
    case("two retry policies", two_policies, {"x": 1}),
    case("error handler", handled, {"x": 1}),
    case("error handler that goes elsewhere", rescued, {"x": 1}),
    case("timeout", timed, {"x": 1}, how=ASYNC),
    case("idle timeout", idle, {"x": 1}, how=ASYNC),
    case("timeout and retry", timed_and_retried, {"x": 1}, how=ASYNC),
    case("cache", cached, {"x": 3}, {"x": 3}, {"x": 4}, attributes=CACHE, saver=False),
    case("cache by key", cached_by_key, {"x": 3}, {"x": 5}, attributes=CACHE, saver=False),
]
