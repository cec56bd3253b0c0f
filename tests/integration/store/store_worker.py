"""A graph whose nodes use the store, and the worker that serves it."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

from langgraph_nolag import Worker


class State(TypedDict, total=False):
    user: str
    seen: list[Any]
    count: int


def remember(state: State, runtime: Runtime[Any]) -> State:
    store: Any = runtime.store
    space = ("users", state["user"])
    store.put(space, "tea", {"text": "tea", "n": 1}, ttl=10)
    store.put(space, "coffee", {"text": "coffee", "n": 2}, index=False)
    store.put(space, "gone", {})
    store.delete(space, "gone")
    return {"seen": [store.supports_ttl, [item.key for item in store.search(space, filter={"n": {"$gte": 1}})]]}


async def recall(state: State) -> State:
    store: Any = get_store()
    found = await store.asearch(("users",), query="tea", limit=1)
    item = await store.aget(("users", state["user"]), "coffee")
    return {"seen": [*state["seen"], found[0].value, item.value, await store.alist_namespaces(suffix=(state["user"],))]}


def count(state: State, runtime: Runtime[Any]) -> State:
    store: Any = runtime.store
    for _ in range(3):
        item = store.update(("counts",), "all", lambda value: {"n": (value or {"n": 0})["n"] + 1})
    return {"count": item.value["n"]}


async def acount(state: State, runtime: Runtime[Any]) -> State:
    store: Any = runtime.store
    await store.aupdate(("counts",), "all", lambda value: {"n": value["n"] + 1})
    await store.aupdate(("counts",), "none", lambda value: None)
    try:
        store.watch(())
    except Exception as error:
        return {"seen": [*state["seen"], type(error).__name__]}
    return {}


builder = StateGraph(State).add_node("remember", remember).add_node("recall", recall).add_node("count", count).add_node("acount", acount)
builder.add_edge(START, "remember").add_edge("remember", "recall").add_edge("recall", "count").add_edge("count", "acount")
graph = builder.compile()

app = Worker(room="graphs", concurrency=2)
app.graph(graph)
