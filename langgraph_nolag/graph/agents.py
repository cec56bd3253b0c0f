"""Agents in other processes: a graph of messages that a worker serves under a name, and what stands for it in another graph.

An agent runs as a node of a distributed graph does, whole: what it streams, its interrupts and its commands for the graph around it reach
the caller as if it ran there, and its checkpoints are with the caller's. Its task's type is `agent/<name>`, so that caller and worker need
to agree on nothing but the name, and on the keys of the state that go over: `messages`, unless more are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import ParentCommand
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from ..client.names import names
from ..client.rooms import open_room
from .errors import NotSupported
from .remote.nodes_of import Resident
from .remote.place import Place
from .remote.proxy import RemoteNode
from .rooms import room_here
from .serde.codec import Codec
from .serde.trust import trust_of

KIND: Final = "agent"  # stands where graphs have name and fingerprint
UNNAMED: Final = "LangGraph"  # what LangGraph calls a graph that has no name
TIMEOUT: Final = 600.0  # seconds an agent may take to answer, unless the caller says otherwise


def room_agent(
    name: str,
    room: Any = None,
    *,
    token: str | None = None,
    capabilities: Sequence[str] = (),
    timeout: float | None = TIMEOUT,
    state_schema: type[Any] = MessagesState,
    allow: Iterable[type] = (),
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """An agent that workers of the room serve (`Worker.agent`), as a graph: a node of your own graph, or one of the agents that
    `create_supervisor` and `create_swarm` take.

    It gets the whole history, and gives back what came of it. A `Command(graph=Command.PARENT)` of its own tools, such as that of a
    `handoff_tool`, is one for the graph that this one is a node of. In a distributed graph it is called from where the graph is invoked,
    once over crashes.

    Args:
        name: the agent's name, and this graph's.
        room: a room handle, a joined room, an address, or None: the room of the distributed graph, or of its `NoLagSaver`.
        token: for an address.
        capabilities: what the worker must have.
        timeout: seconds that the agent may take, waiting for a worker included; then `TaskTimeout`. None: no bound. A wait for a person
            does not count.
        state_schema: whose keys go over, and come back where the agent has them; `messages` among them.
        allow: further classes in the values of those keys, where the schema does not name them.
    """
    where = room if token is None else open_room(room, token=token)
    called = _Called(name, where, tuple(names(capabilities, "capabilities")), timeout)
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(state_schema)
    builder.add_node("agent", called)
    builder.add_edge(START, "agent")
    graph = builder.compile(name=name)
    called.keys = sorted(graph.get_input_jsonschema()["properties"])
    called.codec = Codec(trust_of(graph, allow))
    return graph


class _Called(Resident):
    """Asks the agent, wherever the graph it is in runs."""

    keys: list[str]
    codec: Codec

    def __init__(self, agent: str, room: Any, capabilities: tuple[str, ...], timeout: float | None) -> None:
        self.name = agent
        self._agent = agent
        self._room = room
        self._capabilities = capabilities
        self._timeout = timeout

    def _node(self) -> RemoteNode:
        place = Place(room_here(self._room), KIND, self._agent, self._capabilities, self.codec, self._timeout)
        return RemoteNode(place, self)

    def _asked(self, state: Any) -> dict[str, Any]:
        values = state if isinstance(state, dict) else vars(state)
        return {"state": {key: values[key] for key in self.keys if values.get(key) is not None}, "keys": self.keys}

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        try:
            return self._node().invoke(self._asked(input), config)
        except ParentCommand as bubble:
            raise _for_our_parent(bubble) from None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        try:
            return await self._node().ainvoke(self._asked(input), config)
        except ParentCommand as bubble:
            raise _for_our_parent(bubble) from None


def _for_our_parent(bubble: ParentCommand) -> ParentCommand:
    """The agent's parent is not the graph that only stands for it, but the one around that."""
    command: Command[Any] = bubble.args[0]
    return ParentCommand(replace(command, graph=Command.PARENT))


class ServedAgent(Runnable[Any, Any]):
    """On the worker: the agent, and which keys of its state are wanted.

    Raises:
        NotSupported: it has no name, or no messages.
    """

    def __init__(self, graph: CompiledStateGraph[Any, Any, Any, Any], name: str | None) -> None:
        if not isinstance(graph, CompiledStateGraph):
            raise NotSupported(f"an agent is a compiled graph, as create_agent makes it, not {type(graph).__name__}")
        if (name or graph.name) == UNNAMED:
            raise NotSupported("an agent needs a name: create_agent(..., name='editor'), or Worker.agent(graph, name='editor')")
        if "messages" not in graph.channels:
            raise NotSupported(f"the agent {name or graph.name!r} has no key 'messages' in its state")
        self.name: str = name or graph.name
        self._graph = graph

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return _wanted(self._graph.invoke(input["state"], config), input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return _wanted(await self._graph.ainvoke(input["state"], config), input)


def _wanted(output: Any, input: dict[str, Any]) -> dict[str, Any]:
    return {key: output[key] for key in input["keys"] if key in output}
