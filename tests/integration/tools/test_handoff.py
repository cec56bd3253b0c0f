"""Conversations that go to agents in other processes: in swarms, under supervisors, in one's own graphs, from agents that stand alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import team
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_swarm
from models import ToldModel, calling, in_turn

from langgraph_nolag import LocalBroker, NoLagSaver, Worker, distribute, handoff_tool, room_agent
from langgraph_nolag.graph.errors import NotSupported


@pytest.fixture(scope="module")
def staffed() -> Iterator[LocalBroker]:
    """A broker with the agents `editor`, `printer` and `copier` on a worker."""
    with LocalBroker() as broker:
        (worker,) = broker.spawn_worker("team:app")
        worker.wait_ready()
        yield broker


@pytest.fixture
def room(staffed: LocalBroker) -> Any:
    return staffed.room("desk")


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def said(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def writer(room: Any = None) -> Any:
    return create_agent(ToldModel(reply=team.write), [handoff_tool("editor", room=room)], name="writer")


def shape(messages: list[BaseMessage]) -> list[str]:
    """Who spoke, and which calls were answered."""
    return [f"tool:{message.name}" if isinstance(message, ToolMessage) else message.type for message in messages]


def all_answered(messages: list[BaseMessage]) -> bool:
    """As model providers want it: after each message with calls come exactly their answers."""
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage) and message.tool_calls:
            answers = messages[place + 1 : place + 1 + len(message.tool_calls)]
            if {call["id"] for call in message.tool_calls} != {getattr(answer, "tool_call_id", None) for answer in answers}:
                return False
    return True


THERE_AND_BACK = ["human", "ai", "tool:transfer_to_editor", "ai", "tool:count_words", "ai", "tool:transfer_to_writer", "ai"]


async def test_in_a_swarm(room: Any, invoke: Callable[..., Any]) -> None:
    app = create_swarm([writer(), room_agent("editor", room)], default_active_agent="writer").compile(checkpointer=InMemorySaver())
    result = await invoke(app, said("one two three"), thread())
    assert result["active_agent"] == "editor"
    assert shape(result["messages"]) == ["human", "ai", "tool:transfer_to_editor", "ai", "tool:count_words", "ai"]
    pid = int(result["messages"][-1].content.split()[2].rstrip(":"))
    assert pid != os.getpid()
    assert result["messages"][-1].content.endswith("3 words; heard 5")  # the whole history was there
    again = await invoke(app, said("and more"), thread())  # the one who is active goes on
    assert (again["active_agent"], shape(again["messages"])[6:]) == ("editor", ["human", "ai", "tool:count_words", "ai"])


async def test_a_remote_agent_hands_back(room: Any, invoke: Callable[..., Any]) -> None:
    """Its command is for the graph around it, which is in another process."""
    app = create_swarm([writer(), room_agent("editor", room)], default_active_agent="writer").compile(checkpointer=InMemorySaver())
    result = await invoke(app, said("back please"), thread())
    assert (result["active_agent"], shape(result["messages"])) == ("writer", THERE_AND_BACK)
    assert all_answered(result["messages"])
    assert result["messages"][-1].content == "written, after 7"


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")  # the library's own
async def test_under_a_supervisor(room: Any, invoke: Callable[..., Any]) -> None:
    """Its own tool, and ours in its place."""
    for tools in (None, [handoff_tool("editor")]):

        def supervise(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
            done = any(str(message.name) == "editor" for message in messages)
            return AIMessage("the editor is done") if done else calling(("transfer_to_editor", {}))

        model = ToldModel(reply=supervise)
        app = create_supervisor([room_agent("editor", room)], model=model, tools=tools, output_mode="full_history").compile()
        result = await invoke(app, said("one two"))
        assert all_answered(result["messages"])
        assert shape(result["messages"])[:6] == ["human", "ai", "tool:transfer_to_editor", "ai", "tool:count_words", "ai"]
        assert result["messages"][-1].content == "the editor is done"


async def test_in_a_graph_of_ones_own(room: Any, invoke: Callable[..., Any]) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("writer", writer(), destinations=("editor",))
    builder.add_node("editor", room_agent("editor", room), destinations=("writer",))
    builder.add_edge(START, "writer")
    result = await invoke(builder.compile(), said("back please"))
    assert shape(result["messages"]) == THERE_AND_BACK


async def test_of_several_calls_each_has_its_history(room: Any, invoke: Callable[..., Any]) -> None:
    """The transfer is answered, the call beside it is not in the history that goes over."""

    def both(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
        return calling(("transfer_to_editor", {}), ("transfer_to_printer", {}))

    only = create_agent(ToldModel(reply=both), [handoff_tool("editor"), handoff_tool("printer")], name="writer")
    builder = StateGraph(MessagesState)
    builder.add_node("writer", only, destinations=("editor",))
    builder.add_node("editor", room_agent("editor", room))
    builder.add_node("printer", lambda state: {})
    builder.add_edge(START, "writer")
    result = await invoke(builder.compile(), said("one two"))
    assert all_answered(result["messages"])


async def test_from_an_agent_that_stands_alone(room: Any, invoke: Callable[..., Any]) -> None:
    """There is no graph to go on in: the other one is asked, and its answer is the tool's."""
    model = ToldModel(reply=in_turn(calling(("transfer_to_editor", {})), AIMessage("thanks")))
    alone = create_agent(model, [handoff_tool("editor", room=room)], name="writer")
    result = await invoke(alone, said("one two"))
    _, _, answer, last = result["messages"]
    assert (answer.status, answer.artifact, last.content) == ("success", {"agent": "editor"}, "thanks")
    assert "2 words; heard 5" in answer.content
    handed_back = await invoke(alone, said("back please"))
    assert [message.type for message in handed_back["messages"]] == ["human", "ai", "tool", "ai"]


async def test_an_agent_that_fails_or_is_not_there(room: Any, invoke: Callable[..., Any]) -> None:
    from langgraph_nolag import TaskTimeout

    with pytest.raises(ConnectionError, match="no paper"):
        await invoke(room_agent("copier", room), said("x"))
    with pytest.raises(TaskTimeout, match="nobody"):
        await invoke(room_agent("nobody", room, timeout=0.3), said("x"))
    model = ToldModel(reply=in_turn(calling(("transfer_to_nobody", {})), AIMessage("alone then")))
    alone = create_agent(model, [handoff_tool("nobody", room=room, timeout=0.3)], name="writer")
    answer, last = (await invoke(alone, said("x")))["messages"][2:]
    assert (answer.status, answer.artifact["code"], last.content) == ("error", "task_timeout", "alone then")


async def test_its_streams_are_the_callers(room: Any, stream: Callable[..., Any]) -> None:
    app = create_swarm([writer(), room_agent("editor", room)], default_active_agent="writer").compile()
    chunks = await stream(app, said("one two"), ["custom", "messages", "updates"], subgraphs=True)
    assert [chunk for _, mode, chunk in chunks if mode == "custom"] == [{"counting": "one two"}]
    spoken = [message.content for _, mode, (message, _) in (each for each in chunks if each[1] == "messages") if message.type == "ai"]
    assert any("2 words" in content for content in spoken)
    inner = [node for namespace, mode, chunk in chunks if mode == "updates" and len(namespace) > 1 for node in chunk]
    assert inner == ["model", "tools", "model"]


async def test_a_question_of_a_remote_agent(room: Any, invoke: Callable[..., Any]) -> None:
    """Asked in the caller's thread, answered there; from a tool as well as from a node."""
    builder = StateGraph(MessagesState)
    builder.add_node("printer", room_agent("printer", room))
    builder.add_edge(START, "printer")
    alone = create_agent(
        ToldModel(reply=in_turn(calling(("transfer_to_printer", {})), AIMessage("thanks"))),
        [handoff_tool("printer", room=room)],
        checkpointer=InMemorySaver(),
    )
    for number, app in enumerate((builder.compile(checkpointer=InMemorySaver()), alone)):
        config = thread(f"t-{number}")
        asked = await invoke(app, said("tea"), config)
        assert [each.value for each in asked["__interrupt__"]] == [{"question": "print tea?"}]
        result = await invoke(app, Command(resume="yes"), config)
        assert "printed: yes" in [message.content for message in result["messages"]]


@pytest.mark.parametrize("local", [["writer"], []])
async def test_in_a_distributed_graph(room: Any, local: list[str], stream: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    """The room is the graph's, and the agent is asked by whoever invokes the graph, wherever its other nodes run."""
    graph = distribute(team.desk, room, local=local, checkpointer=NoLagSaver(room))
    chunks = await stream(graph, said("back please"), ["values"], thread(request.node.name), durability="sync")
    assert shape(chunks[-1][1]["messages"]) == THERE_AND_BACK
    assert chunks[-1][1]["active_agent"] == "writer"


def test_what_is_no_agent_is_refused() -> None:
    worker = Worker(room="desk")
    with pytest.raises(NotSupported, match="name"):
        worker.agent(create_agent(ToldModel(reply=team.write)))
    numbers: Any = StateGraph(dict)
    numbers.add_node("n", lambda state: state)
    numbers.add_edge(START, "n")
    with pytest.raises(NotSupported, match="messages"):
        worker.agent(numbers.compile(name="numbers"))
    worker.agent(writer())
    with pytest.raises(ValueError, match="writer"):
        worker.agent(writer())


def test_content_that_names_other_calls_does_not_go_over() -> None:
    """Some providers write calls into the content too."""
    blocks: list[Any] = [{"type": "text", "text": "so"}, *({"type": "tool_use", "id": id, "name": "n", "input": {}} for id in "ab")]
    calls = [{"name": name, "args": {}, "id": id} for name, id in (("transfer_to_editor", "a"), ("search", "b"))]
    message = AIMessage(blocks, tool_calls=calls, id="m", name="writer")
    state = {"messages": [HumanMessage("go"), message], "mood": "fine"}
    config: Any = {"configurable": {"checkpoint_ns": "writer:1|tools:2"}}
    runtime: Any = ToolRuntime(state=state, context=None, config=config, stream_writer=print, tool_call_id="a", store=None)
    command: Any = handoff_tool("editor").func(runtime=runtime)  # type: ignore[attr-defined]
    (send,) = command.goto
    assert (command.graph, send.node, send.arg["mood"]) == (Command.PARENT, "editor", "fine")
    _, asked, answered = send.arg["messages"]
    assert [block.get("id") for block in asked.content] == [None, "a"]
    assert [call["id"] for call in asked.tool_calls] == ["a"] == [answered.tool_call_id]
    assert (asked.name, asked.id) == ("writer", "m-a")  # of two agents' histories neither replaces the other's


def test_it_says_where_it_leads() -> None:
    tool = handoff_tool("Chief Editor")
    assert (tool.name, tool.metadata) == ("transfer_to_chief_editor", {"__handoff_destination": "Chief Editor"})
    assert tool.args == {}
