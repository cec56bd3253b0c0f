"""Handing a conversation over to another agent, by the conventions that LangGraph's multi-agent libraries share.

The tool is called `transfer_to_<agent>`; its metadata names the agent, so that a supervisor or a swarm knows where it leads; its answer is
a `Command` for the graph around the agent, which goes to the node of that name, with the history and a `ToolMessage` that answers the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.errors import ParentCommand
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, Send

from ..errors import NoLagError, TaskFailed
from ..patterns.tool_proxy import facts_of
from .agents import TIMEOUT, room_agent

DESTINATION: Final = "__handoff_destination"  # where supervisors and swarms look for it
AGENT_NAME: Final = "lc_agent_name"  # where LangChain's agents say who they are
HANDED_ON: Final = 25  # transfers in a row, at most, after an agent that stands alone has asked another


def handoff_tool(
    agent: str, *, room: Any = None, name: str | None = None, description: str | None = None, timeout: float | None = TIMEOUT
) -> BaseTool:
    """A tool that hands the conversation over to another agent: `transfer_to_editor` for `handoff_tool("editor")`.

    In an agent that is a node of another graph, it goes to the node `agent` of that graph: put `room_agent("editor", room)` there, and the
    agent may be in any process. An agent that a worker serves (`Worker.agent`) may hand over too: it goes on in its caller's graph. The
    other agent gets the whole history, with the call answered; of several calls in one message it gets its own.

    In an agent that stands alone there is nothing to go to: the room's agent of that name is asked, gets the same history, and its answer
    is the tool's.

    Args:
        agent: who takes over.
        room: where it is asked by an agent that stands alone; None: the room of the distributed graph, or of its `NoLagSaver`.
        name, description: of the tool, for the model.
        timeout: seconds that an agent that is asked may take.
    """
    called = name or f"transfer_to_{'_'.join(agent.split()).lower()}"

    def hand_over(runtime: ToolRuntime) -> Any:
        handover = _Handover(agent, called, runtime)
        while handover.answer is None:
            with handover.asking() as messages:
                handover.answered(room_agent(handover.agent, room, timeout=timeout).invoke({"messages": messages}))
        return handover.answer

    async def ahand_over(runtime: ToolRuntime) -> Any:
        handover = _Handover(agent, called, runtime)
        while handover.answer is None:
            with handover.asking() as messages:
                handover.answered(await room_agent(handover.agent, room, timeout=timeout).ainvoke({"messages": messages}))
        return handover.answer

    return StructuredTool.from_function(
        hand_over,
        ahand_over,
        name=called,
        description=description or f"Hand the conversation over to the agent {agent!r}.",
        metadata={DESTINATION: agent},
    )


class _Handover:
    """One call of the tool.

    Attributes:
        agent: who is next, where agents are asked.
        answer: the tool's; None: somebody is to be asked.
    """

    def __init__(self, agent: str, tool: str, runtime: ToolRuntime) -> None:
        self.agent = agent
        self.answer: Command[Any] | ToolMessage | None = None
        self._tool = tool
        self._call = str(runtime.tool_call_id)
        self._state = runtime.state
        self._own_name = (runtime.config.get("metadata") or {}).get(AGENT_NAME)
        self._asked = 0
        moved = self._message(f"Handed over to {agent}")
        before, last = self._messages()
        trimmed = _with_one_call(last, self._call)
        self._history: list[AnyMessage] = [*before, trimmed, moved]
        if not _has_parent(runtime):
            return
        if trimmed is last:
            update = {"messages": self._history, "active_agent": agent}
            self.answer = Command(graph=Command.PARENT, goto=agent, update=update)
        else:  # there may be other transfers in the same message: each has a history of its own
            self.answer = Command(graph=Command.PARENT, goto=[Send(agent, {**_fields(self._state), "messages": self._history})])

    def _messages(self) -> tuple[list[AnyMessage], AIMessage]:
        """What was said before, and the message that made this call."""
        messages = list(_fields(self._state)["messages"])
        for place in range(len(messages) - 1, -1, -1):
            message = messages[place]
            if isinstance(message, AIMessage) and any(call["id"] == self._call for call in message.tool_calls):
                return messages[:place], message
        raise ValueError(f"no message of the history made the call {self._call!r}")

    def _message(self, content: Any, **fields: Any) -> ToolMessage:
        return ToolMessage(content, name=self._tool, tool_call_id=self._call, **fields)

    # --- asking, where there is nowhere to go to ------------------------------------------------------------

    @contextmanager
    def asking(self) -> Iterator[list[AnyMessage]]:
        """The history to ask the agent with; knows what it means when the agent hands over itself, or can't be had."""
        self._asked += 1
        try:
            if self._asked > HANDED_ON:
                raise TaskFailed(f"{self.agent!r} and others hand the conversation over in circles", error_type="circles")
            yield self._history
        except ParentCommand as bubble:
            self._handed_on(bubble.args[0])
        except NoLagError as error:
            self.answer = self._message(str(error), artifact=facts_of(error), status="error")

    def answered(self, state: Mapping[str, Any]) -> None:
        """The agent has come to an end: what it said last is what the tool answers."""
        said = next((message for message in reversed(state["messages"]) if isinstance(message, AIMessage)), None)
        self.answer = self._message(said.content if said is not None else "", artifact={"agent": self.agent})

    def _handed_on(self, command: Command[Any]) -> None:
        goto = (
            command.goto[0] if isinstance(command.goto, Sequence) and not isinstance(command.goto, str) and command.goto else command.goto
        )
        update = goto.arg if isinstance(goto, Send) else command.update
        if isinstance(update, Mapping) and update.get("messages"):
            merged: Any = add_messages(cast(Any, self._history), cast(Any, update["messages"]))
            self._history = list(merged)
        to = goto.node if isinstance(goto, Send) else str(goto)
        if to == self._own_name:
            self.answered({"messages": self._history})
        self.agent = to


def _has_parent(runtime: ToolRuntime) -> bool:
    """Whether the agent whose tool this is runs in another graph: its tools' namespace has a graph's before it."""
    namespace = str((runtime.config.get("configurable") or {}).get("checkpoint_ns", ""))
    return sum(not part.isdigit() for part in namespace.split("|")) > 1


def _fields(state: Any) -> dict[str, Any]:
    if isinstance(state, Mapping):
        return dict(state)
    return {"messages": state} if isinstance(state, list) else dict(vars(state))


def _with_one_call(message: AIMessage, call: str) -> AIMessage:
    """The message as if this call were its only one, so that each call in the history has its answer; itself, where it is."""
    if len(message.tool_calls) == 1:
        return message
    content = message.content
    if isinstance(content, list):
        content = [part for part in content if not (isinstance(part, dict) and part.get("type") == "tool_use" and part.get("id") != call)]
    calls = [one for one in message.tool_calls if one["id"] == call]
    return AIMessage(content=content, tool_calls=calls, name=message.name, id=f"{message.id}-{call}")
