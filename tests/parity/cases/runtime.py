"""`Runtime`: context, store, stream writer, execution info, heartbeat, drain."""

from __future__ import annotations

import dataclasses
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.runtime import RunControl, Runtime, get_runtime
from langgraph.store.base import BaseStore, GetOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from langgraph.types import StreamWriter, TimeoutPolicy
from pydantic import BaseModel
from typing_extensions import TypedDict

from ..case import ASYNC, case
from .build import State, chain, single


@dataclasses.dataclass
class Context:
    user: str
    tags: tuple[str, ...] = ()


class ContextModel(BaseModel):
    user: str


class ContextDict(TypedDict):
    user: str


def use_context(state: State, runtime: Runtime[Context]) -> State:
    return {"log": [repr(runtime.context), repr(get_runtime(Context).context)]}


async def ause_context(state: State, runtime: Runtime[Any]) -> State:
    return {"log": [repr(runtime.context)]}


def use_store(state: State, runtime: Runtime[Any], *, store: BaseStore) -> State:
    assert runtime.store is not None
    runtime.store.put(("ns",), "k", {"v": state["x"]})
    found = store.get(("ns",), "k")
    get_store().put(("ns", "deep"), "k2", {"w": [1, None]})
    store.batch([PutOp(("ns",), "gone", {"a": 1}), GetOp(("ns",), "k"), SearchOp(("ns",), limit=5)])
    store.delete(("ns",), "gone")
    return {
        "log": [
            found and [found.key, found.value, list(found.namespace)],
            store.get(("ns",), "gone") is None,
            sorted(item.key for item in store.search(("ns",), filter={"v": {"$gte": 0}})),
            [list(namespace) for namespace in store.list_namespaces(prefix=("ns",))],
        ]
    }


async def ause_store(state: State, store: BaseStore) -> State:
    await store.aput(("ns",), "k3", {"v": 3})
    found = await store.aget(("ns",), "k")
    items = await store.asearch(("ns",))
    return {"log": [found and found.value, sorted(item.key for item in items)]}


def store_fails(state: State, store: BaseStore) -> State:
    store.put(("with.dot",), "k", {})
    return {}


def no_store(state: State, runtime: Runtime[Any]) -> State:
    return {"log": [runtime.store is None]}


def write(state: State, runtime: Runtime[Any], writer: StreamWriter) -> State:
    runtime.stream_writer({"from": "runtime"})
    get_stream_writer()(("from", "config"))
    writer("from the parameter")
    return {"log": ["written"]}


async def awrite(state: State, runtime: Runtime[Any]) -> State:
    for number in range(20):
        runtime.stream_writer(number)
    return {"log": ["written"]}


def tell(state: State, runtime: Runtime[Any], config: RunnableConfig) -> State:
    info = runtime.execution_info
    assert info is not None
    same = [info.task_id == info.checkpoint_ns.split(":")[1], info.thread_id == config["configurable"].get("thread_id")]
    return {"log": [info.node_attempt, same, info.node_first_attempt_time is not None, runtime.previous, runtime.server_info]}


def drains(state: State, runtime: Runtime[Any]) -> State:
    assert runtime.control is not None
    return {"log": [runtime.drain_requested, runtime.drain_reason]}


def asks_to_drain(state: State, runtime: Runtime[Any]) -> State:
    assert runtime.control is not None
    runtime.control.request_drain("enough")
    return {"log": ["asked"]}


async def beats(state: State, runtime: Runtime[Any]) -> State:
    runtime.heartbeat()
    return {"log": ["alive"]}


def sees_config(state: State) -> State:
    config = get_config()
    return {"log": [sorted(key for key in config["configurable"] if not key.startswith("__")), sorted(config["metadata"])]}


def drained() -> RunControl:
    control = RunControl()
    control.request_drain("at once")
    return control


with_context = chain(use_context, ause_context, context_schema=Context).compile()
with_context_sync = chain(use_context, context_schema=Context).compile()
with_context_model = chain(ause_context, context_schema=ContextModel).compile()
with_context_dict = chain(ause_context, context_schema=ContextDict).compile()
with_store = chain(use_store, ause_store).compile()
with_store_sync = chain(use_store).compile()
failing_store = chain(store_fails).compile()
storeless = chain(no_store).compile()
writing = chain(write).compile()
awriting = chain(awrite).compile()
telling = chain(tell, ("again", tell)).compile()
draining = chain(drains).compile()
asking_to_drain = chain(asks_to_drain, drains).compile()
beating = single(beats, timeout=TimeoutPolicy(idle_timeout=30)).compile()
seeing = chain(sees_config).compile()


def _store() -> dict[str, Any]:
    return {"store": InMemoryStore}


CASES = [
    case("context", with_context, {"x": 1}, how=ASYNC, options={"context": lambda: Context("bob", ("a",))}),
    case("context in a sync node", with_context_sync, {"x": 1}, options={"context": lambda: Context("bob")}),
    case("context as a model", with_context_model, {"x": 1}, how=ASYNC, options={"context": lambda: ContextModel(user="eve")}),
    case("context as a dict", with_context_dict, {"x": 1}, how=ASYNC, options={"context": lambda: {"user": "eve"}}),
    case("context that is made from a dict", with_context, {"x": 1}, how=ASYNC, options={"context": lambda: {"user": "eve"}}),
    case("no context", with_context, {"x": 1}, how=ASYNC),
    case("store", with_store, {"x": 1}, how=ASYNC, attributes=_store()),
    case("store in a sync node", with_store_sync, {"x": 1}, {"x": 2}, attributes=_store()),
    case("store that refuses", failing_store, {"x": 1}, attributes=_store()),
    case("no store", storeless, {"x": 1}),
    case("stream writer", writing, {"x": 1}),
    case("many custom chunks", awriting, {"x": 1}, how=ASYNC),
    case("stream writer without custom mode", writing, {"x": 1}, modes=("updates",)),
    case("execution info", telling, {"x": 1}),
    case("execution info with a run id", telling, {"x": 1}, config={"run_id": "00000000-0000-4000-8000-000000000001"}),
    case("drained before it begins", draining, {"x": 1}, options={"control": drained}, remote=None),
    case("a node that asks to drain", asking_to_drain, {"x": 1}, None),
    case("heartbeat", beating, {"x": 1}, how=ASYNC),
    case("configuration as seen from inside", seeing, {"x": 1}, config={"metadata": {"k": "v"}, "configurable": {"user": "ana"}}),
]
