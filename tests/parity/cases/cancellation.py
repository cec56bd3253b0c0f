"""Nodes that are cancelled: by their caller, by a time-out, by a sibling that fails. Each says in the thread's ledger what it came to."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import RetryPolicy, Send

from ..case import ASYNC, SYNC, Cancelled, Late, case
from ..ledger import noted
from .build import State, beside, chain, single

CLEANING = 0.05  # seconds: what awaits in a `finally` is seen to be waited for


async def cleans_up(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note("began")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(CLEANING)
        note("finally")
    return {}


async def cleans_up_slowly(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note("began")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(7 * CLEANING)
        note("finally")
    return {}


async def cleans_up_at_once(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note("began")
    try:
        await asyncio.sleep(60)
    finally:
        note("finally")
    return {}


async def tells_the_store(state: State, config: RunnableConfig, runtime: Runtime[None]) -> State:
    note = noted(config)
    note("began")
    try:
        await asyncio.sleep(60)
    finally:
        assert runtime.store is not None
        await runtime.store.aput(("left",), "by", {"x": state["x"]})
        found = await runtime.store.aget(("left",), "by")
        get_stream_writer()("cleaned up")
        note(f"finally {found.value if found else None}")
    return {}


async def finishes_all_the_same(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("goes on")
    return {"log": ["half of it"]}


async def fails_otherwise(state: State, config: RunnableConfig) -> State:
    noted(config)("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise KeyError("another") from error
    return {}


def never(state: State, config: RunnableConfig) -> State:
    noted(config)("next node")
    return {}


def takes_its_time(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note("began")
    try:
        time.sleep(0.4)
    finally:
        note("finally")
    return {"log": ["slow"]}


async def fails(state: State, config: RunnableConfig) -> State:
    await noted(config).until("began")
    raise ValueError("no")


def fails_too(state: State, config: RunnableConfig) -> State:
    noted(config).wait("began")
    raise ValueError("no")


def within(graph: Any, seconds: float) -> Any:
    graph.step_timeout = seconds
    return graph


def fan_out(state: State) -> list[Send]:
    return [Send("one", {"x": 1}), Send("one", {"x": 2}), Send("breaks", {})]


async def one(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    note(f"began {state['x']}")
    try:
        await asyncio.sleep(60)
    finally:
        note(f"finally {state['x']}")
    return {}


async def breaks(state: State, config: RunnableConfig) -> State:
    note = noted(config)
    await note.until("began 1")
    await note.until("began 2")
    raise ValueError("no")


@task
async def cleaning(x: int, config: RunnableConfig) -> int:
    await cleans_up({}, config)
    return x


@entrypoint()
async def flow(x: int) -> int:
    return await cleaning(x)


inner = chain(cleans_up).compile()


async def calls(state: State) -> State:
    """The inner graph is run whole, where this body is."""
    await inner.ainvoke({})
    return {}


two = chain(cleans_up, never).compile()
beside_another = beside(cleans_up, finishes_all_the_same).compile()
nested = chain(("inner", inner), never).compile()
calling = chain(calls, never).compile()
storing = chain(tells_the_store).compile()
obstinate = chain(finishes_all_the_same).compile()
obstinate_then = chain(finishes_all_the_same, never).compile()
otherwise = chain(fails_otherwise).compile()
sibling = beside(cleans_up_at_once, fails).compile()
sibling_on_threads = beside(takes_its_time, fails_too).compile()
step = within(chain(cleans_up).compile(), 0.5)
obstinate_step = within(beside(cleans_up, finishes_all_the_same).compile(), 0.5)
step_on_threads = within(beside(takes_its_time, never).compile(), 0.2)
node_time = single(cleans_up_slowly, timeout=0.5).compile()
tried_again = single(cleans_up_slowly, timeout=0.6, retry_policy=RetryPolicy(initial_interval=0.1, jitter=False, max_attempts=2)).compile()
fan = chain(("start", lambda state: None))
fan.add_node(one)
fan.add_node(breaks)
fan.add_conditional_edges("start", fan_out)
fanned_out = fan.compile()


def kept(*args: Any, **more: Any) -> Any:
    return case(*args, **more, ledger=True)


CASES = [
    kept("by its caller", two, Cancelled({"x": 1}), how=ASYNC),
    kept("by its caller within a time", two, Cancelled({"x": 1}, by="timeout"), how=ASYNC),
    kept("by its caller and gone on with", obstinate_then, Cancelled({"x": 1}), None, how=ASYNC),
    kept("of several", beside_another, Cancelled({"x": 1}, began=2), how=ASYNC, ordered=False),
    kept("of a sub-graph", nested, Cancelled({"x": 1}), how=ASYNC),
    kept("of a graph that a body runs", calling, Cancelled({"x": 1}), how=ASYNC, subgraphs=False),  # what it streams may be on its way then
    kept("of a task", flow, Cancelled(1), how=ASYNC),
    kept("with the store at hand", storing, Cancelled({"x": 1}), how=ASYNC, attributes={"store": InMemoryStore}),
    kept("that finishes all the same", obstinate, Cancelled({"x": 1}), how=ASYNC),
    kept("that fails otherwise", otherwise, Cancelled({"x": 1}), how=ASYNC),
    kept("without a thread", two, Cancelled({"x": 1}), how=ASYNC, saver=False),
    kept("by a sibling", sibling, {"x": 1}, how=ASYNC, ordered=False),
    kept("by a sibling on threads", sibling_on_threads, {"x": 1}, how=SYNC, ordered=False),
    kept("by a sibling of a fan-out", fanned_out, {"x": 1}, how=ASYNC, ordered=False),
    kept("by a step that takes too long", step, {"x": 1}, how=ASYNC),
    kept("by a step of several", obstinate_step, {"x": 1}, how=ASYNC, ordered=False),
    kept("by a step on threads", step_on_threads, {"x": 1}, how=SYNC, ordered=False),
    kept("by its own time which nobody waits for", node_time, {"x": 1}, Late("finally"), how=ASYNC),
    kept("by its own time and tried again", tried_again, {"x": 1}, how=ASYNC),
]
