"""What `distribute()` and `Worker` refuse, before anything is sent."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
import sample
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph

from langgraph_nolag.client.rooms import RoomHandle
from langgraph_nolag.errors import BadRequest
from langgraph_nolag.graph import _compat
from langgraph_nolag.graph.agents import room_agent
from langgraph_nolag.graph.distribute import distribute
from langgraph_nolag.graph.errors import NoLagWarning, NotImportable, NotSupported
from langgraph_nolag.graph.remote.key import graph_name
from langgraph_nolag.graph.worker import Worker

ROOM = RoomHandle("ws://127.0.0.1:9", "room", "token")  # nothing is connected before a node runs


def test_unknown_nodes_are_named() -> None:
    with pytest.raises(ValueError, match=r"pools= names 'three', which is no node of this graph; its nodes are one, two"):
        distribute(sample.graph, ROOM, pools={"three": ["gpu"]})
    with pytest.raises(ValueError, match=r"local= names 'three'"):
        distribute(sample.graph, ROOM, local=["three"])
    with pytest.raises(ValueError, match=r"nodes= names 'three'"):
        Worker("room").graph(sample.graph, nodes=["three"])


def test_a_pool_is_a_list_of_capabilities() -> None:
    pools: Any = {"one": "gpu"}
    with pytest.raises(BadRequest, match=r"give \['gpu'\]"):
        distribute(sample.graph, ROOM, pools=pools)
    with pytest.raises(BadRequest, match=r"give \['gpu'\]"):
        Worker("demo").graph(sample.graph, resume=True, pools=pools)


def test_what_can_not_run_whole_is_named() -> None:
    around: Any = StateGraph(sample.State)
    around.add_node("sub", sample.graph).add_node("agent", room_agent("editor", ROOM)).add_edge(START, "sub")
    graph = around.compile()
    with pytest.raises(ValueError, match=r"whole= names 'sub/one', which is no sub-graph of this graph; its sub-graphs are sub, agent"):
        distribute(graph, ROOM, whole=["sub/one"])
    for elsewhere in ({"pools": {"sub/one": ["gpu"]}}, {"local": ["sub/one"]}, {"local": ["sub"]}):
        with pytest.raises(ValueError, match=r"'sub', which runs on one worker with all that is in it: 'sub(/one)?' can't be elsewhere"):
            distribute(graph, ROOM, whole=["sub"], **elsewhere)
    with pytest.raises(NotSupported, match="'agent' can't run whole on a worker: its node 'agent/agent' asks an agent of the room"):
        distribute(graph, ROOM, whole=["agent"])
    whole = distribute(graph, ROOM, whole=["sub"])
    assert distribute(whole, ROOM).distribution.name == whole.distribution.name


def test_only_compiled_state_graphs() -> None:
    @entrypoint()
    def flow(value: int) -> int:
        return value

    with pytest.raises(NotSupported, match="compile"):
        distribute(StateGraph(sample.State), ROOM)  # type: ignore[arg-type]
    with pytest.raises(NotSupported, match="not function"):
        distribute(lambda state: state, ROOM)  # type: ignore[arg-type]
    with pytest.raises(NotSupported, match="without resume=True"):
        Worker("room").graph(flow, resume=True)  # type: ignore[arg-type]


def test_worker_without_work() -> None:
    with pytest.raises(NotSupported, match="serves nothing"):
        Worker("room").run()


def test_class_of_the_state_inside_a_function() -> None:
    import dataclasses

    @dataclasses.dataclass
    class Local:
        x: int = 0

    builder = StateGraph(Local)
    builder.add_node("one", lambda state: {})
    builder.add_edge(START, "one")
    graph = builder.compile()
    with pytest.raises(NotImportable, match=r"the class .*Local in the state of nodes one is defined inside a function.*move it"):
        distribute(graph, ROOM)
    assert distribute(graph, ROOM, local=["one"]).name == graph.name


def test_node_in_main(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from sample import State
        from langgraph.graph import START, StateGraph
        from langgraph_nolag import distribute, NoLagError
        from langgraph_nolag.client.rooms import RoomHandle
        def mine(state): return {}
        builder = StateGraph(State); builder.add_node(mine); builder.add_edge(START, "mine")
        try: distribute(builder.compile(), RoomHandle("ws://127.0.0.1:9", "room", "token"))
        except NoLagError as error: print(type(error).__name__, error)
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("NotImportable node 'mine' is defined in __main__, where no worker can import it: move it")
    assert "local=['mine']" in done.stdout


def test_two_graphs_of_one_name() -> None:
    worker = Worker("room")
    worker.graph(sample.build())
    with pytest.raises(ValueError, match="give them a name="):
        worker.graph(sample.build())
    worker.graph(sample.build(), name="another")


def test_warning_about_agents_that_nothing_tells_apart() -> None:
    english, french = (create_agent(FakeListChatModel(responses=[words]), system_prompt=words) for words in ("Hello", "Bonjour"))
    assert graph_name(english) == graph_name(french)
    with pytest.warns(NoLagWarning, match=r"know this graph as LangGraph@.*create_agent\(..., name=") as told:
        distribute(english, ROOM)
    with pytest.warns(NoLagWarning, match="the same name= in distribute") as heard:
        Worker("room").graph(french)
    assert [warning.filename for warning in (*told, *heard)] == [__file__, __file__]
    distribute(english, ROOM, name="english")  # warnings are errors here
    Worker("room").graph(french, name="french")
    distribute(create_agent(FakeListChatModel(responses=["Hello"]), name="english"), ROOM)


def test_warning_about_durability_comes_once() -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    from langgraph_nolag.graph.distribute import DistributedGraph

    class FileSaver(InMemorySaver.__mro__[1]):  # type: ignore[misc]
        pass

    graph = distribute(sample.graph, ROOM, checkpointer=FileSaver())
    DistributedGraph._warned = False
    with pytest.warns(NoLagWarning, match="durability='async'") as told:
        graph._begin({"configurable": {"thread_id": "t"}}, {})
    assert told[0].filename == __file__, "it shows whoever asked, however deep LangGraph is between"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph._begin({"configurable": {"thread_id": "t"}}, {})
        DistributedGraph._warned = False
        graph._begin({"configurable": {"thread_id": "t"}}, {"durability": "sync"})


@pytest.mark.parametrize("installed", ["1.1.9", "1.3.0", "2.0.0"])
def test_other_releases_of_langgraph_are_refused(installed: str) -> None:
    with pytest.raises(NotSupported, match=rf"langgraph {installed} is installed; .*langgraph>=1.2,<1.3"):
        _compat.check_version(installed)
    _compat.check_version("1.2.0")


def test_copies_stay_distributed() -> None:
    graph = distribute(sample.graph, ROOM)
    copies: list[Any] = [graph.with_config(tags=["a"]), graph.copy(), graph.copy({"name": "b"})]
    assert all(copy.distribution is graph.distribution for copy in copies)
    graph.checkpointer = None
    assert sample.graph.nodes["one"].bound is not graph.nodes["one"].bound
