"""The graphs that the parity tests run, in this process and over workers. Ordinary LangGraph: nothing here knows of workers."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import operator
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_store, get_stream_writer
from langgraph.errors import NodeError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph, add_messages
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, TimeoutPolicy, interrupt
from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]
    pids: Annotated[list[int], operator.add]
    file: str
    anything: Any


def chain(*nodes: Any, schema: Any = State, **options: Any) -> StateGraph:
    """One node after the other."""
    builder = StateGraph(schema, **options)
    before = START
    for node in nodes:
        name, function = node if isinstance(node, tuple) else (node.__name__, node)
        builder.add_node(name, function)
        builder.add_edge(before, name)
        before = name
    return builder


# --- plain nodes --------------------------------------------------------------------------------------------


def plus_one(state: State, config: RunnableConfig) -> State:
    conf = config["configurable"]
    seen = (conf.get("user"), sorted(config.get("tags") or ()), config["metadata"].get("from"), config["metadata"]["langgraph_node"])
    return {"x": state["x"] + 1, "log": [seen], "pids": [os.getpid()]}


async def times_ten(state: State) -> State:
    await asyncio.sleep(0)
    return {"x": state["x"] * 10, "pids": [os.getpid()]}


def double(state: State) -> State:
    return {"x": state["x"] * 2, "pids": [os.getpid()]}


sync_chain = chain(plus_one, double).compile()
mixed_chain = chain(plus_one, times_ten).compile()


def choose(state: State) -> str:
    return "double" if state["x"] > 1 else END


branching_builder = StateGraph(State)
branching_builder.add_node(plus_one)
branching_builder.add_node(double)
branching_builder.add_edge(START, "plus_one")
branching_builder.add_conditional_edges("plus_one", choose, ["double", END])
branching = branching_builder.compile()


# --- what values and schemas keep ---------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Box:
    size: int = 0
    name: str = "box"


class Inner(BaseModel):
    messages: list[BaseMessage]


class Model(BaseModel):
    n: int = 0
    messages: Annotated[list[AnyMessage], add_messages] = Field(default_factory=list)
    inner: Inner | None = None


def rich_values(state: State) -> State:
    return {"anything": {"t": (1, "a"), "s": {3, 4}, "k": {5: 6}, "e": Colour.RED, "p": Point(1, 2), "b": Box(7), "f": frozenset("ab")}}


def read_values(state: State) -> State:
    value = state["anything"]
    return {"log": [repr([value[key] for key in "tkepb"]), sorted(value["s"]), sorted(value["f"])]}


rich = chain(rich_values, read_values).compile()


def model_out(state: Model) -> dict[str, Any]:
    assert isinstance(state, Model)
    call = {"name": "t", "args": {"q": 1}, "id": "c1", "type": "tool_call"}
    return {
        "n": state.n + 1,
        "messages": [AIMessage("hi", id="a1", tool_calls=[call])],
        "inner": Inner(messages=[AIMessage("in", id="i1", tool_calls=[call])]),
    }


def model_in(state: Model) -> Model:
    assert state.inner is not None
    first = state.inner.messages[0]
    assert isinstance(first, AIMessage)
    return Model(n=state.n + 1, messages=[HumanMessage(f"{type(first).__name__} {len(first.tool_calls)}", id="h1")])


class OnlyN(TypedDict):
    n: int


def private_view(state: OnlyN) -> dict[str, int]:
    return {"n": state["n"] + 100}


pydantic_builder = chain(model_out, model_in, schema=Model)
pydantic_builder.add_node("private", private_view, input_schema=OnlyN)
pydantic_builder.add_edge("model_in", "private")
pydantic = pydantic_builder.compile()


def grow(state: Box) -> Box:
    assert isinstance(state, Box)
    return Box(size=state.size + 1, name=state.name + "!")


dataclass_state = chain(grow, schema=Box).compile()


# --- runtime, store, streams --------------------------------------------------------------------------------


@dataclasses.dataclass
class Context:
    user: str


def use_runtime(state: State, runtime: Runtime[Context]) -> State:
    assert runtime.store is not None
    assert runtime.execution_info is not None
    runtime.store.put(("ns",), "k", {"v": state["x"]})
    found = runtime.store.get(("ns",), "k")
    get_store().put(("ns",), "k2", {"w": 1})
    runtime.stream_writer({"from": "runtime"})
    get_stream_writer()({"from": "config"})
    info = runtime.execution_info
    same = info.task_id == info.checkpoint_ns.split(":")[1]
    return {
        "log": [
            runtime.context.user,
            found and found.value,
            sorted(item.key for item in runtime.store.search(("ns",))),
            info.node_attempt,
            same,
        ]
    }


async def ause_runtime(state: State, runtime: Runtime[Context]) -> State:
    assert runtime.store is not None
    await runtime.store.aput(("ns",), "k3", {"v": 3})
    found = await runtime.store.aget(("ns",), "k2")
    return {"log": [found and found.value, len(await runtime.store.asearch(("ns",)))]}


with_runtime = chain(use_runtime, ause_runtime, context_schema=Context).compile()


def tell_and_wait(state: State) -> State:
    """Writes a chunk, and goes on only once somebody who has seen it says so."""
    get_stream_writer()({"started": True})
    deadline = time.monotonic() + 20
    while not Path(state["file"]).exists():
        assert time.monotonic() < deadline, "nobody saw the chunk"
        time.sleep(0.01)
    return {"log": ["seen"]}


async def atell_and_wait(state: State) -> State:
    get_stream_writer()({"started": True})
    deadline = time.monotonic() + 20
    while not Path(state["file"]).exists():
        assert time.monotonic() < deadline, "nobody saw the chunk"
        await asyncio.sleep(0.01)
    return {"log": ["seen"]}


live_sync = chain(tell_and_wait).compile()
live_async = chain(atell_and_wait).compile()


def model() -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage("hello wide world", id="ai1")]))


def llm(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model().invoke(state["messages"])]}


async def allm(state: MessagesState) -> dict[str, Any]:
    await adispatch_custom_event("thought", {"a": 1})
    return {"messages": [await model().ainvoke(state["messages"], {"tags": ["mine"]})]}


tokens_sync = chain(llm, schema=MessagesState).compile()
tokens_async = chain(allm, schema=MessagesState).compile()


# --- interrupts ---------------------------------------------------------------------------------------------


def ask_twice(state: State) -> State:
    first = interrupt({"q": 1})
    second = interrupt({"q": 2})
    return {"log": [first, second], "pids": [os.getpid()]}


async def aask_twice(state: State) -> State:
    first = interrupt({"q": 1})
    second = interrupt({"q": 2})
    return {"log": [first, second], "pids": [os.getpid()]}


asking = chain(ask_twice).compile()
aasking = chain(aask_twice).compile()


def ask_a(state: State) -> State:
    return {"log": ["a " + interrupt("a?")]}


async def ask_b(state: State) -> State:
    return {"log": ["b " + interrupt("b?")]}


parallel_builder = StateGraph(State)
for _node in (ask_a, ask_b):
    parallel_builder.add_node(_node)
    parallel_builder.add_edge(START, _node.__name__)
asking_parallel = parallel_builder.compile()


class Age(BaseModel):
    age: int


def ask_age(state: State) -> State:
    return {"anything": interrupt("age?", response_schema=Age)}


validated = chain(ask_age).compile()


# --- control ------------------------------------------------------------------------------------------------


def jump(state: State) -> Command[Literal["left", "right"]]:
    return Command(goto=["left", Send("right", {"x": 7})], update={"log": ["jump"]})


def left(state: State) -> State:
    return {"log": ["left"]}


def right(state: State) -> State:
    return {"log": [("right", state["x"])]}


command_builder = StateGraph(State)
command_builder.add_node(jump)
command_builder.add_node(left)
command_builder.add_node(right)
command_builder.add_edge(START, "jump")
commanding = command_builder.compile()


def fan(state: State) -> State:
    return {"log": ["fan"]}


def part(state: dict[str, Any]) -> State:
    time.sleep(0.1)
    return {"log": [state["i"]], "pids": [os.getpid()]}


def total(state: State) -> State:
    return {"x": sum(i for i in state["log"] if isinstance(i, int))}


map_builder = StateGraph(State)
map_builder.add_node(fan)
map_builder.add_node(part)
map_builder.add_node("total", total, defer=True)
map_builder.add_edge(START, "fan")
map_builder.add_conditional_edges("fan", lambda state: [Send("part", {"i": i}) for i in range(6)], ["part"])
map_builder.add_edge("part", "total")
map_reduce = map_builder.compile()


# --- sub-graphs ---------------------------------------------------------------------------------------------


def sub_one(state: State) -> State:
    get_stream_writer()("from sub_one")
    return {"log": ["one"], "pids": [os.getpid()]}


def sub_ask(state: State) -> State:
    return {"log": [interrupt("sub?")], "pids": [os.getpid()]}


def sub_last(state: State) -> State:
    return {"log": ["last"]}


def after(state: State) -> State:
    return {"log": ["after"]}


inner_graph = chain(sub_one, sub_ask, sub_last).compile()
nested = chain(("sub", inner_graph), after).compile()


def call_inner(state: State) -> State:
    return {"log": inner_graph.invoke({"log": [], "pids": []})["log"]}


async def acall_inner(state: State) -> State:
    return {"log": (await inner_graph.ainvoke({"log": [], "pids": []}))["log"]}


called = chain(call_inner).compile()
acalled = chain(acall_inner).compile()


def count(state: State) -> State:
    return {"x": state.get("x", 0) + 1, "log": [state.get("x", 0)]}


counter_graph = chain(count).compile(checkpointer=True)


def call_counter(state: State) -> State:
    return {"log": [counter_graph.invoke({"log": []})["x"]]}


remembering = chain(call_counter).compile()


def to_parent(state: State) -> Command[Any]:
    return Command(goto="other", update={"log": ["to_parent"]}, graph=Command.PARENT)


def other(state: State) -> State:
    return {"log": ["other"]}


parent_builder = StateGraph(State)
parent_builder.add_node("child", chain(to_parent).compile(), destinations=("other",))
parent_builder.add_node(other)
parent_builder.add_edge(START, "child")
to_the_parent = parent_builder.compile()


# --- agents -------------------------------------------------------------------------------------------------


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def ask_human(question: str, runtime: ToolRuntime) -> str:
    """Ask somebody."""
    return f"{interrupt(question)} after {len(runtime.state['messages'])}"


@tool
def how_many(state: Annotated[dict[str, Any], InjectedState]) -> int:
    """Count the messages."""
    return len(state["messages"])


def _call(name: str, args: dict[str, Any], id: str) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


class Scripted(GenericFakeChatModel):
    """Calls the tools it was made with, once, then sums up what they said."""

    calls: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        said = sorted(str(message.content) for message in messages if isinstance(message, ToolMessage))
        message = AIMessage("done " + ", ".join(said), id="m2") if said else AIMessage("", id="m1", tool_calls=self.calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def scripted(*calls: dict[str, Any]) -> Scripted:
    return Scripted(messages=iter([]), disable_streaming=True, calls=list(calls))


agent = create_agent(
    scripted(_call("add", {"a": 1, "b": 2}, "c1"), _call("ask_human", {"question": "ok?"}, "c2"), _call("how_many", {}, "c3")),
    [add, ask_human, how_many],
)
careful_agent = create_agent(
    scripted(_call("add", {"a": 1, "b": 2}, "c1")), [add], middleware=[HumanInTheLoopMiddleware(interrupt_on={"add": True})]
)


# --- errors and policies ------------------------------------------------------------------------------------


class Broken(Exception):
    """Can't be made from its arguments alone."""

    def __init__(self, number: int, *, extra: Any) -> None:
        super().__init__(f"number {number}")
        self.number = number
        self.extra = extra


def breaks(state: State) -> State:
    try:
        {}["nothing"]
    except KeyError as error:
        raise Broken(7, extra={"k": (1,)}) from error
    return {}


failing = chain(breaks).compile()


def flaky(state: State, runtime: Runtime) -> State:
    assert runtime.execution_info is not None
    attempt = runtime.execution_info.node_attempt
    if attempt < 3:
        raise Broken(attempt, extra=None)
    return {"log": [attempt]}


retry_builder = StateGraph(State)
retry_builder.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=3, retry_on=Broken))
retry_builder.add_edge(START, "flaky")
retrying = retry_builder.compile()


def handle(state: State, error: NodeError) -> State:
    assert isinstance(error.error, Broken)
    return {"log": [error.node, error.error.number, error.error.extra]}


handler_builder = StateGraph(State)
handler_builder.add_node("breaks", breaks, error_handler=handle)
handler_builder.add_edge(START, "breaks")
handled = handler_builder.compile()


def once_a_moment(state: State) -> State:
    return {"log": [state["x"], time.time_ns()]}


cache_builder = StateGraph(State)
cache_builder.add_node("cached", once_a_moment, cache_policy=CachePolicy())
cache_builder.add_edge(START, "cached")
cached = cache_builder.compile()


def returns_a_lock(state: State) -> State:
    import threading

    return {"anything": {"deep": [threading.Lock()]}}


unencodable = chain(returns_a_lock).compile()


def exits(state: State) -> State:
    raise asyncio.CancelledError


cancels_itself = chain(exits).compile()


# --- time ---------------------------------------------------------------------------------------------------


async def until_cancelled(state: State) -> State:
    """Says that it began, and how it ended, in a file."""
    path = Path(state["file"])
    path.write_text("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        path.write_text("cancelled")
        raise
    return {}


slow = chain(until_cancelled).compile()


async def cleans_up(state: State, runtime: Runtime) -> State:
    """Says in a file what it came to. To clean up, it waits for another file and writes to the store."""
    path = Path(state["file"])

    def note(what: str) -> None:
        with path.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    note("began")
    try:
        await asyncio.sleep(60)
    finally:
        note("cancelled")
        while not path.with_suffix(".go").exists():
            await asyncio.sleep(0.01)
        try:
            await runtime.store.aput(("left",), "by", {})
        except Exception as error:
            note(type(error).__name__)
        else:
            note("stored")
    return {}


cleaning = chain(cleans_up).compile()
timeout_builder = StateGraph(State)
timeout_builder.add_node("until_cancelled", until_cancelled, timeout=1.0)
timeout_builder.add_edge(START, "until_cancelled")
timed = timeout_builder.compile()


async def beats(state: State, runtime: Runtime) -> State:
    for _ in range(8):
        await asyncio.sleep(0.1)
        runtime.heartbeat()
    return {"log": ["alive"]}


idle_builder = StateGraph(State)
idle_builder.add_node("beats", beats, timeout=TimeoutPolicy(idle_timeout=0.6))
idle_builder.add_edge(START, "beats")
beating = idle_builder.compile()


# --- crashes ------------------------------------------------------------------------------------------------


def first(state: State) -> State:
    with Path(state["file"]).open("a") as file:
        file.write(f"first {os.getpid()}\n")
    return {"log": ["first"]}


def long(state: State) -> State:
    """Runs until a file says that it may end."""
    path = Path(state["file"])
    with path.open("a") as file:
        file.write(f"long {os.getpid()}\n")
    deadline = time.monotonic() + 60
    while not path.with_suffix(".go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return {"log": ["long"]}


def last(state: State, name: str = "last") -> State:
    with Path(state["file"]).open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    return {"log": [name]}


crashing = chain(first, long, last).compile()
around_crashing = chain(("sub", crashing)).compile()
beside_builder = StateGraph(State)
for _side in ("left", "right"):
    beside_builder.add_node(_side, long)
    beside_builder.add_edge(START, _side)
long_beside = beside_builder.compile()


def take_and_wait(state: State) -> State:
    """Takes an answer, and then runs until a file says that it may end."""
    answer = interrupt("who?")
    long(state)
    return {"log": [answer]}


answered_and_killed = chain(take_and_wait).compile()


def _die(state: State, moment: str) -> None:
    """Once, if a file says so."""
    if (flag := Path(state["file"]).with_suffix(f".{moment}")).exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def hear(state: State) -> State:
    return {"x": state.get("x", 0) + 1}


def think(state: State) -> State:
    _die(state, "inside")
    return {"log": ["thought"]}


memory_graph = chain(hear, think).compile(checkpointer=True)


def call_memory(state: State) -> State:
    _die(state, "before")
    remembered = memory_graph.invoke({"file": state["file"], "log": [state["anything"]]})
    _die(state, "after")
    return {"log": [[remembered["x"], *remembered["log"]]]}


remembering_and_killed = chain(call_memory).compile()


def ask_one(state: State) -> State:
    return {"log": [interrupt("one?")]}


def ask_two(state: State) -> State:
    return {"log": [interrupt("two?")]}


asking_twice = chain(("sub", chain(ask_one, ask_two).compile())).compile()


@task
def noted(file: str, name: str) -> str:
    return last({"file": file}, name)["log"][0]


@task
def long_task(file: str) -> str:
    get_stream_writer()("begins")
    result = long({"file": file})["log"][0]
    get_stream_writer()("ends")
    return result


def calls_tasks(state: State) -> State:
    return {"log": [noted(state["file"], "first").result(), long_task(state["file"]).result(), noted(state["file"], "last").result()]}


crashing_tasks = chain(calls_tasks).compile()


@entrypoint()
def crashing_flow(state: State) -> State:
    return calls_tasks(state)


def keeps_asking(state: State, runtime: Runtime) -> State:
    """Uses the orchestrator's store all the time, until a file says that it may end."""
    path = Path(state["file"])
    assert runtime.store is not None
    with path.open("a") as file:
        file.write(f"keeps_asking {os.getpid()}\n")
    deadline, asked = time.monotonic() + 60, 0
    while not path.with_suffix(".go").exists():
        assert time.monotonic() < deadline
        runtime.store.put(("n",), "k", {"asked": asked})
        found = runtime.store.get(("n",), "k")
        assert found is not None
        asked += 1
        path.with_suffix(".asked").write_text(str(asked))
        time.sleep(0.01)
    return {"log": ["asked"]}


asking_back = chain(keeps_asking).compile()


@task
def task_that_keeps_asking(state: State, runtime: Runtime) -> State:
    return keeps_asking(state, runtime)


def calls_what_keeps_asking(state: State) -> State:
    noted(state["file"], "first").result()
    result: State = task_that_keeps_asking(state).result()
    return result


asking_back_in_a_task = chain(calls_what_keeps_asking).compile()


GRAPHS = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, Pregel) and name not in ("inner_graph", "counter_graph", "memory_graph")
}
