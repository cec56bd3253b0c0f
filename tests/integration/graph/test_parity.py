"""A distributed graph does what the same graph does in one process. Every case runs both ways."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
import remote_graphs as graphs
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tracers.base import BaseTracer
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeCancelledError, NodeTimeoutError
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langgraph_nolag import LocalBroker, NotEncodable, distribute

pytestmark = pytest.mark.usefixtures("workers")
HERE = os.getpid()

Make = Callable[..., Any]


@pytest.fixture(params=["local", "remote"])
def make(request: pytest.FixtureRequest, broker: LocalBroker) -> Make:
    """The graph of a name, here or over workers, with a saver and the like."""

    def build(name: str, **attributes: Any) -> Any:
        graph = graphs.GRAPHS[name]
        if request.param == "remote":
            graph = distribute(graph, broker.room("graphs"), name=name)
        return graph.copy(attributes)

    return build


@pytest.fixture
def pids_ok(make: Make, request: pytest.FixtureRequest) -> Callable[[list[int]], bool]:
    """Whether bodies ran where they should."""
    remote = request.node.callspec.params["make"] == "remote"
    return lambda pids: all((pid != HERE) == remote for pid in pids)


async def run(graph: Any, how: str, value: Any, config: Any = None, **options: Any) -> Any:
    if how == "sync":
        return await asyncio.to_thread(graph.invoke, value, config, **options)
    return await graph.ainvoke(value, config, **options)


both_ways = pytest.mark.parametrize("how", ["sync", "async"])


def ask(result: dict[str, Any]) -> list[Any]:
    return [asked.value for asked in result["__interrupt__"]]


# --- plain nodes and values ---------------------------------------------------------------------------------


@both_ways
async def test_chain_and_config(make: Make, pids_ok: Any, how: str) -> None:
    config = {"tags": ["T"], "metadata": {"from": "here"}, "configurable": {"user": "ana"}}
    result = await run(make("sync_chain"), how, {"x": 1}, config)
    assert result["x"] == 4
    assert result["log"] == [("ana", ["T"], "here", "plus_one")]
    assert len(result["pids"]) == 2
    assert pids_ok(result["pids"])


async def test_async_nodes(make: Make, pids_ok: Any) -> None:
    result = await make("mixed_chain").ainvoke({"x": 1})
    assert result["x"] == 20
    assert pids_ok(result["pids"])


def test_async_node_called_synchronously(make: Make) -> None:
    with pytest.raises(TypeError, match="No synchronous function"):
        make("mixed_chain").invoke({"x": 1})


async def test_sync_call_inside_a_running_loop(make: Make) -> None:
    assert make("sync_chain").invoke({"x": 1})["x"] == 4


def test_conditional_edges(make: Make) -> None:
    assert make("branching").invoke({"x": 1})["x"] == 4
    assert make("branching").invoke({"x": 0})["x"] == 1


def test_values_keep_their_types(make: Make) -> None:
    expected = repr([(1, "a"), {5: 6}, graphs.Colour.RED, graphs.Point(1, 2), graphs.Box(7)])
    assert make("rich").invoke({})["log"] == [expected, [3, 4], ["a", "b"]]


def test_pydantic_state(make: Make) -> None:
    result = make("pydantic").invoke({"n": 1})
    assert result["n"] == 103
    assert result["messages"][0].tool_calls[0]["args"] == {"q": 1}
    assert result["messages"][1] == HumanMessage("AIMessage 1", id="h1")
    assert isinstance(result["inner"], graphs.Inner)


def test_dataclass_state(make: Make) -> None:
    assert make("dataclass_state").invoke({"size": 1}) == {"size": 2, "name": "box!"}


def test_result_that_cannot_cross(make: Make, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["make"] == "local":
        assert make("unencodable").invoke({})["anything"]
        return
    with pytest.raises(NotEncodable, match=r"result of node 'returns_a_lock'\['anything'\]\['deep'\]\[0\]"):
        make("unencodable").invoke({})


# --- runtime, store, streams --------------------------------------------------------------------------------


async def test_runtime_store_and_writer(make: Make, thread: Any) -> None:
    store = InMemoryStore()
    graph = make("with_runtime", store=store, checkpointer=InMemorySaver())
    chunks = [
        chunk
        async for chunk in graph.astream(
            {"x": 5}, thread, context=graphs.Context("bob"), stream_mode=["custom", "updates"], durability="sync"
        )
    ]
    assert chunks == [
        ("custom", {"from": "runtime"}),
        ("custom", {"from": "config"}),
        ("updates", {"use_runtime": {"log": ["bob", {"v": 5}, ["k", "k2"], 1, True]}}),
        ("updates", {"ause_runtime": {"log": [{"w": 1}, 3]}}),
    ]
    found = store.get(("ns",), "k3")
    assert found is not None
    assert found.value == {"v": 3}


def test_custom_chunks_arrive_while_a_sync_node_runs(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "seen"
    chunks = []
    for mode, chunk in make("live_sync").stream({"file": str(file)}, stream_mode=["custom", "updates"]):
        chunks.append((mode, chunk))
        if mode == "custom":
            file.touch()  # the node goes on only now
    assert chunks == [("custom", {"started": True}), ("updates", {"tell_and_wait": {"log": ["seen"]}})]


async def test_custom_chunks_arrive_while_an_async_node_runs(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "seen"
    chunks = []
    async for mode, chunk in make("live_async").astream({"file": str(file)}, stream_mode=["custom", "updates"]):
        chunks.append((mode, chunk))
        if mode == "custom":
            file.touch()
    assert chunks == [("custom", {"started": True}), ("updates", {"atell_and_wait": {"log": ["seen"]}})]


WORDS = ["hello", " ", "wide", " ", "world"]


def test_tokens_of_a_sync_node(make: Make) -> None:
    got = list(make("tokens_sync").stream({"messages": [("user", "hi")]}, stream_mode="messages"))
    assert [message.content for message, _ in got if message.content] == WORDS
    assert {type(message).__name__ for message, _ in got} == {"AIMessageChunk"}
    assert {about["langgraph_node"] for _, about in got} == {"llm"}


async def test_tokens_of_an_async_node(make: Make) -> None:
    got = [item async for item in make("tokens_async").astream({"messages": [("user", "hi")]}, stream_mode="messages")]
    assert [message.content for message, _ in got if message.content] == WORDS
    assert got[0][1]["tags"] == ["mine"]


# --- interrupts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "how"), [("asking", "sync"), ("asking", "async"), ("aasking", "async")])
async def test_two_interrupts_in_a_node(make: Make, pids_ok: Any, thread: Any, name: str, how: str) -> None:
    graph = make(name, checkpointer=InMemorySaver())
    result = await run(graph, how, {"x": 1}, thread)
    assert ask(result) == [{"q": 1}]
    state = graph.get_state(thread)
    assert state.next == (name.replace("asking", "ask_twice"),)
    assert state.interrupts[0].id == result["__interrupt__"][0].id
    assert ask(await run(graph, how, Command(resume="A"), thread)) == [{"q": 2}]
    result = await run(graph, how, Command(resume="B"), thread)
    assert result["log"] == ["A", "B"]
    assert "__interrupt__" not in result
    assert pids_ok(result["pids"])


async def test_parallel_interrupts_and_a_resume_map(make: Make, thread: Any) -> None:
    graph = make("asking_parallel", checkpointer=InMemorySaver())
    result = await graph.ainvoke({"x": 1}, thread)
    ids = {asked.value: asked.id for asked in result["__interrupt__"]}
    assert set(ids) == {"a?", "b?"}
    assert ask(await graph.ainvoke(Command(resume={ids["b?"]: "two"}), thread)) == ["a?"]
    result = await graph.ainvoke(Command(resume="one"), thread)
    assert sorted(result["log"]) == ["a one", "b two"]


async def test_both_parallel_interrupts_answered_at_once(make: Make, thread: Any) -> None:
    graph = make("asking_parallel", checkpointer=InMemorySaver())
    result = await graph.ainvoke({"x": 1}, thread)
    answers = {asked.id: asked.value.upper() for asked in result["__interrupt__"]}
    result = await graph.ainvoke(Command(resume=answers), thread)
    assert sorted(result["log"]) == ["a A?", "b B?"]


def test_response_schema(make: Make, thread: Any) -> None:
    graph = make("validated", checkpointer=InMemorySaver())
    result = graph.invoke({"x": 1}, thread)
    assert result["__interrupt__"][0].response_schema["title"] == "Age"
    with pytest.raises(pydantic.ValidationError, match="valid integer"):
        graph.invoke(Command(resume={"age": "zz"}), thread)
    assert graph.invoke(Command(resume={"age": 3}), thread)["anything"] == graphs.Age(age=3)


def test_static_breakpoint(make: Make, thread: Any) -> None:
    graph = make("sync_chain", checkpointer=InMemorySaver(), interrupt_before_nodes=["double"])
    assert graph.invoke({"x": 1}, thread)["x"] == 2
    assert graph.get_state(thread).next == ("double",)
    assert graph.invoke(None, thread)["x"] == 4


# --- control ------------------------------------------------------------------------------------------------


@both_ways
async def test_command_and_send(make: Make, how: str) -> None:
    result = await run(make("commanding"), how, {"x": 1})
    assert sorted(map(str, result["log"])) == sorted(["jump", "left", "('right', 7)"])


@both_ways
async def test_map_reduce(make: Make, pids_ok: Any, how: str, request: pytest.FixtureRequest) -> None:
    result = await run(make("map_reduce"), how, {"x": 1})
    assert result["x"] == 15
    assert len(result["pids"]) == 6
    assert pids_ok(result["pids"])
    if request.node.callspec.params["make"] == "remote":
        assert len(set(result["pids"])) == 2  # four slots each


@both_ways
async def test_command_to_the_parent(make: Make, how: str) -> None:
    assert (await run(make("to_the_parent"), how, {}))["log"] == ["to_parent", "other"]


# --- sub-graphs ---------------------------------------------------------------------------------------------


@both_ways
async def test_subgraph_as_a_node(make: Make, pids_ok: Any, thread: Any, how: str) -> None:
    graph = make("nested", checkpointer=InMemorySaver())

    async def stream(value: Any) -> list[Any]:
        options: dict[str, Any] = {"stream_mode": ["updates", "custom"], "subgraphs": True}
        if how == "sync":
            return await asyncio.to_thread(lambda: list(graph.stream(value, thread, **options)))
        return [item async for item in graph.astream(value, thread, **options)]

    seen = [(tuple(part.split(":")[0] for part in ns), mode) for ns, mode, _ in await stream({"x": 1})]
    assert seen == [(("sub",), "custom"), (("sub",), "updates"), (("sub",), "updates"), ((), "updates")]
    state = graph.get_state(thread, subgraphs=True)
    assert state.next == ("sub",)
    assert state.tasks[0].state.next == ("sub_ask",)
    assert state.tasks[0].state.values["log"] == ["one"]
    await stream(Command(resume="R"))
    values = graph.get_state(thread).values
    assert values["log"] == ["one", "R", "last", "after"]
    assert pids_ok(values["pids"])


@pytest.mark.parametrize(("name", "how"), [("called", "sync"), ("called", "async"), ("acalled", "async")])
async def test_subgraph_that_a_body_calls(make: Make, thread: Any, name: str, how: str) -> None:
    graph = make(name, checkpointer=InMemorySaver())
    assert ask(await run(graph, how, {"x": 1}, thread)) == ["sub?"]
    assert (await run(graph, how, Command(resume="R"), thread))["log"] == ["one", "R", "last"]


def test_subgraph_with_a_memory_of_its_own(make: Make, thread: Any) -> None:
    graph = make("remembering", checkpointer=InMemorySaver())
    assert [graph.invoke({"x": 1}, thread)["log"] for _ in range(3)] == [[1], [1, 2], [1, 2, 3]]


def test_tokens_and_updates_of_a_called_subgraph(make: Make, thread: Any) -> None:
    graph = make("called", checkpointer=InMemorySaver())
    chunks = list(graph.stream({"x": 1}, thread, stream_mode=["updates", "custom"], subgraphs=True))
    assert [(tuple(part.split(":")[0] for part in ns), mode) for ns, mode, _ in chunks] == [
        (("call_inner",), "custom"),
        (("call_inner",), "updates"),
        (("call_inner",), "updates"),
        ((), "updates"),
    ]


# --- agents -------------------------------------------------------------------------------------------------


@both_ways
async def test_agent_with_tools_that_ask_and_read_state(make: Make, thread: Any, how: str) -> None:
    graph = make("agent", checkpointer=InMemorySaver())
    assert ask(await run(graph, how, {"messages": [("user", "q")]}, thread)) == ["ok?"]
    result = await run(graph, how, Command(resume="YES"), thread)
    assert result["messages"][-1].content == "done 2, 3, YES after 2"


@both_ways
async def test_agent_with_human_in_the_loop(make: Make, thread: Any, how: str) -> None:
    graph = make("careful_agent", checkpointer=InMemorySaver())
    asked = ask(await run(graph, how, {"messages": [("user", "q")]}, thread))
    assert asked[0]["action_requests"][0]["name"] == "add"
    result = await run(graph, how, Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert result["messages"][-1].content == "done 3"


# --- errors and policies ------------------------------------------------------------------------------------


@both_ways
async def test_exceptions_keep_class_fields_and_cause(make: Make, how: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(graphs.Broken, match="number 7") as caught:
        await run(make("failing"), how, {})
    assert caught.value.number == 7
    assert caught.value.extra == {"k": (1,)}
    assert isinstance(caught.value.__cause__, KeyError)
    if request.node.callspec.params["make"] == "remote":
        assert any("in breaks" in note for note in caught.value.__notes__)


@both_ways
async def test_retries_stay_with_the_orchestrator(make: Make, how: str) -> None:
    assert (await run(make("retrying"), how, {}))["log"] == [3]


def test_retries_in_a_thread(make: Make, thread: Any) -> None:
    assert make("retrying", checkpointer=InMemorySaver()).invoke({}, thread)["log"] == [3]


def test_error_handler(make: Make) -> None:
    assert make("handled").invoke({})["log"] == ["breaks", 7, {"k": (1,)}]


def test_invoking_again_after_an_error_runs_the_node_again(make: Make, thread: Any) -> None:
    graph = make("failing", checkpointer=InMemorySaver())
    for value in ({"x": 1}, None, None):
        with pytest.raises(graphs.Broken):
            graph.invoke(value, thread)


def test_cache(make: Make) -> None:
    graph = make("cached", cache=InMemoryCache())
    assert graph.invoke({"x": 3}) == graph.invoke({"x": 3})
    assert graph.invoke({"x": 3})["log"] != graph.invoke({"x": 4})["log"]


async def test_node_that_cancels_itself(make: Make) -> None:
    with pytest.raises(NodeCancelledError):
        await make("cancels_itself").ainvoke({})


async def until(says: str, file: Path) -> None:
    async with asyncio.timeout(10):
        while not file.exists() or file.read_text() != says:
            await asyncio.sleep(0.01)


async def test_timeout_reaches_the_body(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "state"
    with pytest.raises(NodeTimeoutError):
        await make("timed").ainvoke({"file": str(file)})
    await until("cancelled", file)


async def test_cancellation_reaches_the_body(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "state"
    running = asyncio.create_task(make("slow").ainvoke({"file": str(file)}))
    await until("began", file)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until("cancelled", file)


async def test_heartbeats_keep_an_idle_node_alive(make: Make) -> None:
    assert (await make("beating").ainvoke({}))["log"] == ["alive"]


# --- observers ----------------------------------------------------------------------------------------------


class Tree(BaseTracer):
    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.roots.append(self.shape(run))

    def shape(self, run: Any) -> Any:
        return run.name, run.run_type, bool(run.outputs), [self.shape(child) for child in run.child_runs]


def test_callbacks_form_one_tree(make: Make) -> None:
    tree = Tree()
    make("tokens_sync").invoke({"messages": [("user", "hi")]}, {"callbacks": [tree]})
    assert tree.roots == [("LangGraph", "chain", True, [("llm", "chain", True, [("GenericFakeChatModel", "llm", True, [])])])]


def test_failing_handler_that_wants_to_raise_stops_the_run(make: Make) -> None:
    class Strict(BaseCallbackHandler):
        raise_error = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("not allowed")

    with pytest.raises(RuntimeError, match="not allowed"):
        make("tokens_sync").invoke({"messages": [("user", "hi")]}, {"callbacks": [Strict()]})


async def test_astream_events(broker: LocalBroker) -> None:
    async def events(graph: Any) -> list[Any]:
        return [
            (event["event"], event["name"], len(event["parent_ids"]), sorted(event["tags"]))
            async for event in graph.astream_events({"messages": [("user", "hi")]}, version="v2")
        ]

    local = await events(graphs.tokens_async)
    assert {"on_chat_model_stream", "on_custom_event"} <= {event[0] for event in local}
    assert await events(distribute(graphs.tokens_async, broker.room("graphs"), name="tokens_async")) == local


@pytest.mark.parametrize("mode", ["values", "updates", "debug", "tasks", "checkpoints"])
async def test_all_stream_modes(broker: LocalBroker, mode: str) -> None:
    async def chunks(graph: Any) -> list[Any]:
        config = {"configurable": {"thread_id": uuid.uuid4().hex}}
        found = []
        for value in ({"x": 1}, Command(resume="R")):
            async for ns, chunk in graph.copy({"checkpointer": InMemorySaver()}).astream(value, config, stream_mode=mode, subgraphs=True):
                found.append((tuple(part.split(":")[0] for part in ns), sorted(chunk), chunk.get("type"), chunk.get("name")))
            if mode == "checkpoints":
                break
        return found

    local = await chunks(graphs.nested)
    assert local
    assert await chunks(distribute(graphs.nested, broker.room("graphs"), name="nested")) == local


# --- state --------------------------------------------------------------------------------------------------


def test_update_state(make: Make, thread: Any) -> None:
    graph = make("asking", checkpointer=InMemorySaver())
    graph.invoke({"x": 1}, thread)
    graph.update_state(thread, {"log": ["edited"]})
    assert ask(graph.invoke(None, thread)) == [{"q": 1}]
    graph.invoke(Command(resume="A"), thread)
    assert graph.invoke(Command(resume="B"), thread)["log"] == ["edited", "A", "B"]


def test_time_travel_runs_bodies_again(make: Make, thread: Any, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.with_suffix(".go").touch()
    graph = make("crashing", checkpointer=InMemorySaver())
    graph.invoke({"file": str(file)}, thread, durability="sync")
    before_long = next(state for state in graph.get_state_history(thread) if state.next == ("long",))
    graph.invoke(None, before_long.config, durability="sync")
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["first", "long", "last", "long", "last"]


def test_threads_in_parallel(make: Make) -> None:
    graph = make("asking", checkpointer=InMemorySaver())
    results: dict[int, Any] = {}

    def one(number: int) -> None:
        config = {"configurable": {"thread_id": f"parallel-{number}-{uuid.uuid4().hex}"}}
        graph.invoke({"x": number}, config)
        graph.invoke(Command(resume=number), config)
        results[number] = graph.invoke(Command(resume=-number), config)["log"]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for started in threads:
        started.start()
    for started in threads:
        started.join(30)
    assert results == {number: [number, -number] for number in range(6)}


def test_batch(make: Make) -> None:
    assert [result["x"] for result in make("sync_chain").batch([{"x": number} for number in range(4)])] == [2, 4, 6, 8]


# --- what it is ---------------------------------------------------------------------------------------------


def test_it_is_a_compiled_graph_still(broker: LocalBroker) -> None:
    remote = distribute(graphs.nested, broker.room("graphs"), name="nested")
    assert isinstance(remote, CompiledStateGraph)
    assert remote.get_graph(xray=True).draw_mermaid() == graphs.nested.get_graph(xray=True).draw_mermaid()
    assert [name for name, _ in remote.get_subgraphs()] == ["sub"]
    assert remote.with_config(tags=["x"]).distribution is remote.distribution


async def test_distributed_graph_as_a_node_of_another(broker: LocalBroker, thread: Any) -> None:
    remote = distribute(graphs.asking, broker.room("graphs"), name="asking")
    outer = graphs.chain(("team", remote), graphs.after).compile(checkpointer=InMemorySaver())
    assert ask(await outer.ainvoke({"x": 1}, thread)) == [{"q": 1}]
    await outer.ainvoke(Command(resume="A"), thread)
    assert (await outer.ainvoke(Command(resume="B"), thread))["log"] == ["A", "B", "after"]
